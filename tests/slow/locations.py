"""Locations of the stores under test, and access to their files without the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from django.core.files.storage import Storage

from tests.harness.s3servers import Server

OWN_FOLDER = ".devilry-storage"


class Location(Protocol):
    """The location of a store, as a harness needs it. It is used across fork()."""

    def store(self) -> Storage:
        """Return a new store for this location, initialised and connected."""

    def visible(self) -> Iterator[tuple[str, bytes]]:
        """Yield (name, bytes) for every file under a final name."""

    def unfinished(self) -> int:
        """Return the number of temporary files or uploads that saves have left behind."""

    def clear(self) -> None:
        """Remove all visible and unfinished files."""


@dataclass(frozen=True)
class DiskLocation:
    """A folder on disk, read without the store."""

    root: Path
    make: Callable[[Path], Storage]

    def store(self) -> Storage:
        return self.make(self.root)

    def visible(self) -> Iterator[tuple[str, bytes]]:
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root)
            if name.parts[0] != OWN_FOLDER and not path.is_dir():
                yield name.as_posix(), path.read_bytes()

    def unfinished(self) -> int:
        return sum(1 for path in self._own().rglob("*") if path.is_file())

    def clear(self) -> None:
        for path in [*self.root.iterdir()] if self.root.is_dir() else []:
            if path != self._own():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self._own().rglob("*"):
            if path.is_file() and path.parent.name == "tmp":
                path.unlink()

    def _own(self) -> Path:
        return self.root / OWN_FOLDER


@dataclass(frozen=True)
class BucketLocation:
    """A bucket, read with a separate client. ``make`` takes the bucket's name."""

    server: Server
    bucket: str
    make: Callable[[str], Storage]

    def store(self) -> Storage:
        store = self.make(self.bucket)
        store.exists("0/0/0/0")  # creates its client and connects
        return store

    def visible(self) -> Iterator[tuple[str, bytes]]:
        for key in self._keys():
            if not key.startswith(f"{OWN_FOLDER}/"):
                body = self._client.get_object(Bucket=self.bucket, Key=key)["Body"]
                yield key, body.read()

    def unfinished(self) -> int:
        return len(self.uploads())

    def uploads(self) -> list[str]:
        """Return the names of the multipart uploads that are neither completed nor aborted."""
        return [upload["Key"] for upload in self._uploads()]

    def clear(self) -> None:
        for key in self._keys():
            if not key.startswith(f"{OWN_FOLDER}/"):
                self._client.delete_object(Bucket=self.bucket, Key=key)
        for upload in self._uploads():
            self._client.abort_multipart_upload(
                Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
            )

    def remove(self) -> None:
        """Remove the bucket and its contents."""
        self.clear()
        for key in self._keys():
            self._client.delete_object(Bucket=self.bucket, Key=key)
        self._client.delete_bucket(Bucket=self.bucket)

    @property
    def _client(self) -> Any:
        return self.server.client()

    def _keys(self) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def _uploads(self) -> list[dict[str, Any]]:
        found = self._client.list_multipart_uploads(Bucket=self.bucket)
        return [*found.get("Uploads", ())]


@contextmanager
def bucket_location(server: Server, make: Callable[[str], Storage]) -> Iterator[BucketLocation]:
    """Create a bucket for a store, and remove it at the end."""
    location = BucketLocation(server, server.bucket(), make)
    try:
        yield location
    finally:
        location.remove()
