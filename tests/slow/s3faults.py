"""A store on S3 behind a proxy that breaks the network, judged by what lies in the bucket."""

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
from devilry_storage.storages.s3.conditions import REMEDIES, require
from devilry_storage.testing import PlainFileMeta
from tests.harness.http_proxy import HttpProxy
from tests.harness.s3servers import need

from . import s3stores
from .locations import BucketLocation, bucket_location

SMALL = s3stores.THRESHOLD // 2
"""Bytes of a file that goes in one request."""

ONE_PART = s3stores.THRESHOLD + 1
"""Bytes of a file that goes in parts, in as few as can be."""

SHORT = 100_000
"""Bytes of the last of two parts."""

TWO_PARTS = s3stores.PART + SHORT

ALWAYS = 1000
"""So many times a fault strikes that is there to stay."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def network(**config: Any) -> Config:
    """Return a client's configuration that signs no bodies, as over TLS.

    What happens to them has to be found by checksums alone.
    """
    unsigned = {"addressing_style": "path", "payload_signing_enabled": False}
    return Config(s3=unsigned, **config)


@dataclass
class Wire:
    """A bucket, the proxy before it, and what the bucket has to hold in the end."""

    location: BucketLocation
    proxy: HttpProxy
    expected: dict[str, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def store(self, make: Callable[..., Any] = S3DeliveryStore, **options: Any) -> Any:
        """Return a store behind the proxy, which knows already what its server honours."""
        store = make(
            **{
                **s3stores.options(self.location.bucket),
                "endpoint_url": self.proxy.endpoint_url,
                "transfer_config": s3stores.small_parts(),
                "client_config": network(),
                **options,
            }
        )
        for operation in REMEDIES:
            require(store.remote, operation)
        self.proxy.forget()
        return store

    def saves(self, store: Any, name: str, data: bytes) -> None:
        """Save, which has to succeed under the name asked for."""
        with self._complaining(f"save of {name}"):
            told = store.save(name, ContentFile(data))
            self.holds(told, data)
            if told != name:
                self.complaints.append(f"{name} was saved as {told}")

    def takes_another_name(self, store: Any, name: str, data: bytes) -> None:
        """Save under a name that is taken."""
        with self._complaining(f"save of {name}"):
            told = store.save(name, ContentFile(data))
            if told == name:
                self.complaints.append(f"{name} is said to be free")
            self.holds(told, data)

    def fails_to_save(self, store: Any, name: str, data: bytes) -> None:
        """Save, which has to end with StoreUnavailable, and leave nothing behind."""
        self.fails(lambda: store.save(name, ContentFile(data)), f"save of {name}")

    def fails(self, act: Callable[[], Any], what: str) -> str:
        """Do what has to end with StoreUnavailable, and return what that says."""
        said = ""
        with self._complaining(what):
            try:
                self.complaints.append(f"{what} told {act()!r:.99}")
            except StoreUnavailable as error:
                said = str(error)
        return said

    def gives(self, act: Callable[[], Any], expected: Any, what: str) -> None:
        """Do what has to return this."""
        with self._complaining(what):
            if act() != expected:
                self.complaints.append(f"{what} is wrong")

    def holds(self, name: str, data: bytes) -> None:
        """Note that the bucket has these bytes under this name from now on."""
        self.expected[name] = sha256(data)

    def put(self, name: str, data: bytes) -> None:
        """Let somebody else store these bytes, past the proxy."""
        self.location.server.client().put_object(Bucket=self.location.bucket, Key=name, Body=data)
        self.holds(name, data)

    def stored(self, store: Any, file: int, data: bytes) -> Any:
        """Store a file of a delivery, and return its FileMeta."""
        filemeta = PlainFileMeta(store, 1005, file)
        with store.write_open(filemeta) as writer:
            writer.write(data)
        self.holds(filemeta.content or "", data)
        return filemeta

    def bad(self) -> list[str]:
        """Return all complaints, and in what the bucket is not what it has to be."""
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
            *(f"{name} was left in parts" for name in self.location.uploads()),
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
    """Give a bucket of its own, behind a proxy of its own."""
    server = need(s3stores.SERVER)
    with (
        bucket_location(server, s3stores.in_parts) as location,
        HttpProxy(server.endpoint_url) as proxy,
    ):
        yield Wire(location, proxy)
