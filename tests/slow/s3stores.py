"""The S3 stores under test, and stores that each break one promise.

Each function returns a store for a bucket. The server must be running already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from boto3.s3.transfer import TransferConfig
from django.core.files.base import ContentFile, File
from django.core.files.storage import Storage
from storages.backends.s3 import S3Storage

from devilry_storage.storages import DeliveryStoreMixin, S3DeliveryStore
from tests.harness import s3servers

SERVER = "seaweedfs"

Make = Callable[[str], Storage]
"""Takes the name of a bucket."""

PART = 5 << 20
"""Bytes of a part: the minimum that S3 allows for all parts but the last."""
THRESHOLD = 100_000
"""Files with more bytes are sent as a multipart upload, possibly with a single part."""


def options(bucket: str, server: str = SERVER) -> dict[str, Any]:
    """Return the options of a store for a bucket."""
    return s3servers.get(server).options(bucket)


def small_parts() -> TransferConfig:
    return TransferConfig(
        multipart_threshold=THRESHOLD, multipart_chunksize=PART, max_concurrency=3
    )


def default(bucket: str) -> Storage:
    """Return a store with default options."""
    return S3DeliveryStore(**options(bucket))


def in_parts(bucket: str) -> Storage:
    """Return a store with the smallest parts that S3 allows."""
    return S3DeliveryStore(transfer_config=small_parts(), **options(bucket))


def in_parts_on_ceph(bucket: str) -> Storage:
    """Return such a store on Ceph, which ignores conditions of uploads in parts and of copies."""
    return S3DeliveryStore(transfer_config=small_parts(), **options(bucket, "ceph"))


class SharesNames(S3DeliveryStore):
    """A store that checks whether a name is free and then writes, without conditions."""

    def _publish(self, name: str, content: File[Any], sha256: str, *, create: bool) -> str:
        return super()._publish(
            self._unshared(name) if create else name, content, sha256, create=False
        )

    def _unshared(self, name: str) -> str:
        if self.exists(name):
            raise FileExistsError(name)
        return str(name)


def check_then_act(bucket: str) -> Storage:
    return SharesNames(transfer_config=small_parts(), **options(bucket))


def django_storages(bucket: str) -> Storage:
    """Return the storage of django-storages with ``file_overwrite=False``."""
    storage: Storage = S3Storage(
        transfer_config=small_parts(), file_overwrite=False, **options(bucket)
    )
    return storage


class ShowsIncompleteFiles(S3DeliveryStore):
    """A store that writes the first half of a file under its final name before the whole file."""

    def _create(self, name: str, content: File[Any]) -> str:
        whole = content.read()
        client, target = self.remote.client, {"Bucket": self.bucket_name, "Key": name}
        client.put_object(**target, Body=whole[: len(whole) // 2])
        client.put_object(**target, Body=whole)
        return name


def shows_incomplete_files(bucket: str) -> Storage:
    return ShowsIncompleteFiles(**options(bucket))


class IgnoresStaleUploads(S3DeliveryStore):
    """A store that ignores uploads left behind by killed writers."""

    remove_stale_uploads = DeliveryStoreMixin.remove_stale_uploads


def ignores_stale_uploads(bucket: str) -> Storage:
    return IgnoresStaleUploads(transfer_config=small_parts(), **options(bucket))


class LoadsWholeFiles(S3DeliveryStore):
    """A store that keeps the whole file in memory in every operation."""

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        whole = ContentFile(b"".join(content.chunks()))
        return super().save(name, whole, max_length)

    def _stream(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        yield b"".join(super()._stream(name, start, stop))

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        with super()._open(name, mode) as file:
            return ContentFile(file.read())


def loads_whole_files(bucket: str) -> Storage:
    return LoadsWholeFiles(max_memory_size=1 << 40, **options(bucket))
