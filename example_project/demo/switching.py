"""Deliver the same files to S3, in a process with other settings but the same code."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devilry_storage.names import RESERVED

from .server import BUCKET, Server
from .verifying import sha256_of
from .workspace import MANAGE


@dataclass(frozen=True)
class Stored:
    """Size in bytes and SHA-256 (hexadecimal) of a stored file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Compared:
    """Differences between two stores: keys of only one store, and keys with other bytes."""

    only_on_disk: list[str]
    only_on_s3: list[str]
    other_bytes: list[str]

    @property
    def other_keys(self) -> int:
        """The number of keys that only one of the stores has."""
        return len(self.only_on_disk) + len(self.only_on_s3)


def on_disk(folder: Path) -> dict[str, Stored]:
    """Return the files in the folder of a store by key, read without the package."""
    return {
        path.relative_to(folder).as_posix(): Stored(path.stat().st_size, sha256_of(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _is_ours(path.relative_to(folder).as_posix())
    }


def on_s3(server: Server) -> dict[str, Stored]:
    """Return the objects in the server's bucket by key, read with boto3 only."""
    client = server.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    found = {}
    for key in keys:
        if not _is_ours(key):
            data = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            found[key] = Stored(len(data), hashlib.sha256(data).hexdigest())
    return found


def _is_ours(key: str) -> bool:
    # The folder of temporary files and marks.
    return key.split("/", maxsplit=1)[0] == RESERVED


def compare(disk: Mapping[str, Stored], s3: Mapping[str, Stored]) -> Compared:
    """Compare the keys of two stores, and the content of common keys."""
    return Compared(
        only_on_disk=[key for key in disk if key not in s3],
        only_on_s3=[key for key in s3 if key not in disk],
        other_bytes=[key for key in disk if key in s3 and disk[key] != s3[key]],
    )


def deliver(server: Server, source: Path) -> str:
    """Run this demo in a process that uses the server; return the error, or ``""``."""
    with subprocess.Popen(
        [sys.executable, str(MANAGE), "demo", "--source", str(source)],
        env={
            # Without the user's configuration of other buckets.
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **server.environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as running:
        try:
            stdout, stderr = running.communicate()
        finally:
            # After Ctrl-C the process must not outlive its data.
            running.kill()
            running.wait()
    if running.returncode == 0:
        return ""
    last = ((stderr or stdout).strip() or "no output").splitlines()[-1]
    return f"exit code {running.returncode}: {last}"
