"""The stores on S3 under proof, and stores that break one promise each.

Each function makes one over a bucket of the server that runs; the tests have asked for it.
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

from .processes import FORK

SERVER = "seaweedfs"

Make = Callable[[str], Storage]
"""Gets a bucket's name."""

PART = 5 << 20
"""Bytes of a part, the fewest that S3 allows; of the last one it may have fewer."""
THRESHOLD = 100_000
"""A file that has more bytes goes in parts, if only in one."""


def options(bucket: str) -> dict[str, Any]:
    """Return the options of a store over a bucket."""
    return s3servers.get(SERVER).options(bucket)


def small_parts() -> TransferConfig:
    return TransferConfig(
        multipart_threshold=THRESHOLD, multipart_chunksize=PART, max_concurrency=3
    )


def default(bucket: str) -> Storage:
    """Return the store as a site has it that sets nothing."""
    return S3DeliveryStore(**options(bucket))


def in_parts(bucket: str) -> Storage:
    """Return the store with parts as short as S3 allows."""
    return S3DeliveryStore(transfer_config=small_parts(), **options(bucket))


_completing = FORK.Lock()


def in_parts_completed_in_turn(bucket: str) -> Storage:
    """Return the store with short parts, of whose completions one at a time reaches the server.

    SeaweedFS (4.48) looks whether the name is free and then completes, without a lock. On S3 a
    completion is one step; so it is here, among the processes forked from this one.
    """
    store = S3DeliveryStore(transfer_config=small_parts(), **options(bucket))
    events, operation = store.remote.client.meta.events, "s3.CompleteMultipartUpload"
    name = "tests-in-turn"
    events.register(f"before-call.{operation}", lambda **kwargs: _acquire(), f"{name}-before")
    for outcome in ("after-call", "after-call-error"):
        events.register(f"{outcome}.{operation}", lambda **kwargs: _release(), f"{name}-{outcome}")
    return store


def _acquire() -> None:
    # What a handler of before-call returns would be taken for the answer.
    _completing.acquire()


def _release() -> None:
    _completing.release()


def check_then_act(bucket: str) -> Storage:
    """Return the store without conditions: it looks whether a name is free, and then writes."""
    return S3DeliveryStore(transfer_config=small_parts(), allow_races=True, **options(bucket))


def django_storages(bucket: str) -> Storage:
    """Return django-storages' own storage, told never to overwrite."""
    storage: Storage = S3Storage(
        transfer_config=small_parts(), file_overwrite=False, **options(bucket)
    )
    return storage


class Piecemeal(S3DeliveryStore):
    """Shows the first half of a file under its name before it has the whole."""

    def _create(self, name: str, content: File[Any]) -> str:
        whole = content.read()
        client, location = self.remote.client, {"Bucket": self.bucket_name, "Key": name}
        client.put_object(**location, Body=whole[: len(whole) // 2])
        client.put_object(**location, Body=whole)
        return name


def piecemeal(bucket: str) -> Storage:
    return Piecemeal(**options(bucket))


class Littering(S3DeliveryStore):
    """Knows nothing of what a writer that died has left behind."""

    remove_stale_uploads = DeliveryStoreMixin.remove_stale_uploads


def littering(bucket: str) -> Storage:
    return Littering(transfer_config=small_parts(), **options(bucket))


class Hoarder(S3DeliveryStore):
    """Holds a whole file in memory, whatever is asked of it."""

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        whole = ContentFile(b"".join(content.chunks()))
        return super().save(name, whole, max_length)

    def _stream(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        yield b"".join(super()._stream(name, start, stop))

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        with super()._open(name, mode) as file:
            return ContentFile(file.read())


def hoarder(bucket: str) -> Storage:
    return Hoarder(max_memory_size=1 << 40, **options(bucket))
