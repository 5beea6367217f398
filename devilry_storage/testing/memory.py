"""A delivery store in memory, for tests."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.files import File
from django.core.files.storage import Storage
from django.utils import timezone

from ..exceptions import NoURL
from ..storages.base import DeliveryStoreMixin
from ..storages.chunks import read_chunks
from ..storages.options import validate_options
from ..storages.protocols import Entry
from ..storages.reader import Reader
from ..storages.writer import Writer


@dataclass(frozen=True)
class _Blob:
    data: bytes
    created: datetime = field(default_factory=timezone.now)


class _BlobStorage(Storage):
    """Django's Storage API on a dictionary, for validated names.

    It is not an InMemoryStorage, in which readers and writers share open files.
    """

    def __init__(self) -> None:
        self._blobs: dict[str, _Blob] = {}
        self._lock = threading.Lock()

    def _blob(self, name: str) -> _Blob:
        try:
            return self._blobs[name]
        except KeyError:
            raise FileNotFoundError(2, os.strerror(2), name) from None

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        return Reader(self, name, io.BytesIO(self._blob(name).data), mode)

    def exists(self, name: str) -> bool:
        return name in self._blobs

    def delete(self, name: str) -> None:
        with self._lock:
            self._blobs.pop(name, None)

    def size(self, name: str) -> int:
        return len(self._blob(name).data)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        prefix = f"{path}/" if path else ""
        rests = [name[len(prefix) :] for name in list(self._blobs) if name.startswith(prefix)]
        folders = dict.fromkeys(rest.split("/")[0] for rest in rests if "/" in rest)
        return list(folders), [rest for rest in rests if "/" not in rest]

    def get_accessed_time(self, name: str) -> datetime:
        return self._blob(name).created

    get_created_time = get_modified_time = get_accessed_time

    def url(self, name: str | None) -> str:
        raise NoURL(f"{name!r} has no URL, because it is in memory.")


class MemoryDeliveryStore(DeliveryStoreMixin, _BlobStorage):
    """Store files in the memory of this process, for tests.

    Keys and the option ``interval`` are those of ``FsHierDeliveryStore``. Raises
    ImproperlyConfigured for an unknown option or an invalid value.
    """

    atomic_create = True
    whole_or_absent = True
    durable = False
    confined = True
    bounded_memory = False
    atomic_copy = True

    def __init__(self, *, interval: int | None = None, **unknown: Any) -> None:
        validate_options(self, unknown, interval=interval)
        self._interval = interval
        super().__init__()

    def _save(self, name: str, content: File[Any]) -> str:
        return self._create_first(self._candidates(name), content)

    def _create(self, name: str, content: File[Any]) -> str:
        data = b"".join(read_chunks(content))
        with self._lock:
            if name in self._blobs:
                raise FileExistsError(f"{name!r} is taken.")
            self._blobs[name] = _Blob(data)
        return name

    @property
    def has_own_url(self) -> bool:
        return False

    def _is_folder(self, name: str) -> bool:
        return False  # a dictionary has no folders

    def _open_to_write(self, name: str, mode: str) -> Writer:
        def publish(writer: Writer) -> None:
            data = b"".join(sink.chunks())
            with self._lock:
                self._blobs[name] = _Blob(data)

        sink = self._spool()
        return Writer(sink, name, publish, mode)

    def _scan(self, prefix: str) -> Iterator[Entry]:
        for name, blob in list(self._blobs.items()):
            if not prefix or name.startswith(f"{prefix}/"):
                yield Entry(name, len(blob.data), blob.created)

    def unavailable_reason(self) -> str:
        return ""

    def location_text(self) -> str:
        return "the memory of this process"

    def configuration(self) -> dict[str, Any]:
        return {"interval": self._interval}
