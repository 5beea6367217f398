"""Save to S3 through a proxy that breaks the network, and compare the bucket with the saves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.config import Config
from django.core.files.base import ContentFile

from devilry_storage.exceptions import StoreUnavailable
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3.writing import require_conditions
from devilry_storage.testing import PlainFileMeta
from tests.harness.http_proxy import HttpProxy
from tests.harness.s3servers import need

from . import s3stores
from .locations import BucketLocation, bucket_location

SMALL = s3stores.THRESHOLD // 2
"""Bytes of a file that is sent in one request."""

ONE_PART = s3stores.THRESHOLD + 1
"""Bytes of a multipart upload with a single part."""

SHORT = 100_000
"""Bytes of the last of two parts."""

TWO_PARTS = s3stores.PART + SHORT

ALWAYS = 1000
"""The number of times that a permanent fault occurs."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def network(**config: Any) -> Config:
    """Return a client configuration without signed bodies, as used over TLS.

    Changed bodies must then be detected by checksums alone.
    """
    unsigned = {"addressing_style": "path", "payload_signing_enabled": False}
    return Config(s3=unsigned, **config)


@dataclass
class Wire:
    """A bucket, the proxy in front of it, and the files that the bucket should contain."""

    location: BucketLocation
    proxy: HttpProxy
    expected: dict[str, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def store(self, make: Callable[..., Any] = S3DeliveryStore, **options: Any) -> Any:
        """Return a store behind the proxy that has already tested the server's capabilities."""
        store = make(
            **{
                **s3stores.options(self.location.bucket),
                "endpoint_url": self.proxy.endpoint_url,
                "transfer_config": s3stores.small_parts(),
                "client_config": network(),
                **options,
            }
        )
        require_conditions(store.remote)
        self.proxy.forget()
        return store

    def saves(self, store: Any, name: str, data: bytes) -> str:
        """Save a file, which must succeed; return its name.

        A small file must get the requested name.
        """
        saved_as: str = name
        with self._complaining(f"save of {name}"):
            saved_as = store.save(name, ContentFile(data))
            self.expect(saved_as, data)
            if saved_as != name and len(data) <= store.transfer.threshold:
                self.complaints.append(f"{name} was saved as {saved_as}")
        return saved_as

    def takes_another_name(self, store: Any, name: str, data: bytes) -> None:
        """Save under a name that is in use, which must succeed under another name."""
        with self._complaining(f"save of {name}"):
            saved_as = store.save(name, ContentFile(data))
            if saved_as == name:
                self.complaints.append(f"{name} was reported as free")
            self.expect(saved_as, data)

    def fails_to_save(self, store: Any, name: str, data: bytes) -> None:
        """Save a file, which must raise StoreUnavailable and leave nothing behind."""
        self.fails(lambda: store.save(name, ContentFile(data)), f"save of {name}")

    def fails(self, act: Callable[[], Any], what: str) -> str:
        """Call ``act``, which must raise StoreUnavailable, and return the message."""
        message = ""
        with self._complaining(what):
            try:
                self.complaints.append(f"{what} returned {act()!r:.99}")
            except StoreUnavailable as error:
                message = str(error)
        return message

    def returns(self, act: Callable[[], Any], expected: Any, what: str) -> None:
        """Call ``act``, which must return the expected value."""
        with self._complaining(what):
            if act() != expected:
                self.complaints.append(f"{what} is wrong")

    def expect(self, name: str, data: bytes) -> None:
        """Expect these bytes under this name in the bucket from now on."""
        self.expected[name] = sha256(data)

    def put(self, name: str, data: bytes) -> None:
        """Store these bytes as another writer, without the proxy."""
        self.location.server.client().put_object(Bucket=self.location.bucket, Key=name, Body=data)
        self.expect(name, data)

    def stored(self, store: Any, file: int, data: bytes) -> Any:
        """Store a file of a delivery, and return its FileMeta."""
        filemeta = PlainFileMeta(store, 1005, file)
        with store.write_open(filemeta) as writer:
            writer.write(data)
        self.expect(filemeta.content or "", data)
        return filemeta

    def bad(self) -> list[str]:
        """Return all complaints, and the differences between the bucket and the expected files."""
        found = {name: sha256(data) for name, data in self.location.visible()}
        return [
            *self.complaints,
            *(f"{name} is missing" for name in self.expected.keys() - found.keys()),
            *(f"{name} should not be there" for name in found.keys() - self.expected.keys()),
            *(
                f"{name} has wrong bytes"
                for name in found.keys() & self.expected.keys()
                if found[name] != self.expected[name]
            ),
            *(f"{name} has an unfinished upload" for name in self.location.uploads()),
        ]

    @contextmanager
    def _complaining(self, what: str) -> Iterator[None]:
        try:
            yield
        # Every error is a finding.
        except Exception as error:  # noqa: BLE001
            self.complaints.append(f"{what} failed: {type(error).__name__}: {error}")


@contextmanager
def wire() -> Iterator[Wire]:
    """Create a bucket and a proxy in front of it."""
    server = need(s3stores.SERVER)
    with (
        bucket_location(server, s3stores.in_parts) as location,
        HttpProxy(server.endpoint_url) as proxy,
    ):
        yield Wire(location, proxy)
