"""The same files on S3: the project starts anew under other settings, and nothing else changes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devilry_storage.names import RESERVED

from .place import MANAGE
from .server import BUCKET, Server
from .verifying import sha256_of


@dataclass(frozen=True)
class Stored:
    """What lies under a key: its size in bytes, its SHA-256 (hexadecimal)."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Compared:
    """The keys of two stores, and those of both under which the bytes are not the same."""

    only_on_disk: list[str]
    only_on_s3: list[str]
    other_bytes: list[str]

    @property
    def other_keys(self) -> int:
        """How many keys one of them has, and the other one has not."""
        return len(self.only_on_disk) + len(self.only_on_s3)


def on_disk(folder: Path) -> dict[str, Stored]:
    """Return what lies in the folder of a store, by key, as the file system knows it."""
    return {
        path.relative_to(folder).as_posix(): Stored(path.stat().st_size, sha256_of(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _is_ours(path.relative_to(folder).as_posix())
    }


def on_s3(server: Server) -> dict[str, Stored]:
    """Return what lies in the server's bucket, by key, as boto3 alone lists and reads it."""
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
    # Where a store has its temp files and marks: nothing that was delivered.
    return key.split("/", maxsplit=1)[0] == RESERVED


def compare(disk: Mapping[str, Stored], s3: Mapping[str, Stored]) -> Compared:
    """Compare keys byte for byte, and the bytes of those that both have."""
    return Compared(
        only_on_disk=[key for key in disk if key not in s3],
        only_on_s3=[key for key in s3 if key not in disk],
        other_bytes=[key for key in disk if key in s3 and disk[key] != s3[key]],
    )


def deliver(server: Server, source: Path) -> str:
    """Run this demo in a process whose settings name the server; return why it failed, if so."""
    with subprocess.Popen(
        [sys.executable, str(MANAGE), "demo", "--source", str(source)],
        env={
            # Nothing of what the user has for other buckets.
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
            printed, said = running.communicate()
        finally:
            # After Ctrl-C nothing else waits for it, and it must not outlive its data.
            running.kill()
            running.wait()
    if running.returncode == 0:
        return ""
    last = ((said or printed).strip() or "nothing").splitlines()[-1]
    return f"it ended with {running.returncode} and said: {last}"
