"""Follow six call paths through the package; count functions, modules and upward calls.

::

    python benchmarks/trips.py

For each trip it prints the number of different functions of the package that are entered, of
their modules, the greatest number of the package's functions on the stack, and the calls that go
up: from a module to one of a higher layer (those of ``tests/test_architecture.py``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "devilry_storage"
KEYS = {"AWS_ACCESS_KEY_ID": "trips", "AWS_SECRET_ACCESS_KEY": "trips"}


class Trip:
    """What happened in one trip."""

    def __init__(self) -> None:
        self.functions: set[tuple[str, str]] = set()
        self.upward: set[tuple[str, str]] = set()
        self.depth = 0

    @property
    def modules(self) -> set[str]:
        return {module for module, _function in self.functions}

    def enter(self, frame: FrameType, event: str, argument: Any) -> None:
        """Record a call, as a profile function of Python."""
        module = _module(frame)
        if event != "call" or module is None:
            return
        self.functions.add((module, frame.f_code.co_qualname))
        callers = list(_callers(frame))
        self.depth = max(self.depth, 1 + len(callers))
        if callers and _layer(module) > _layer(callers[0]):
            self.upward.add((callers[0], f"{module}.{frame.f_code.co_name}"))


def _module(frame: FrameType) -> str | None:
    path = Path(frame.f_code.co_filename)
    if not path.is_relative_to(PACKAGE):
        return None
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def _callers(frame: FrameType) -> Iterator[str]:
    """Yield the modules of the package's functions on the stack, innermost first."""
    caller = frame.f_back
    while caller is not None:
        if (module := _module(caller)) is not None:
            yield module
        caller = caller.f_back


@cache
def _layer(module: str) -> int:
    from tests import test_architecture

    return test_architecture._layer(module)


@contextmanager
def followed() -> Iterator[Trip]:
    """Follow the calls of a block."""
    trip = Trip()
    sys.setprofile(trip.enter)
    try:
        yield trip
    finally:
        sys.setprofile(None)


def stored_on_disk() -> Trip:
    """Store a file on disk: ``objects.create()`` to ``os.link()`` and back."""
    from django.core.files.base import ContentFile

    from devilry_storage.deliveries.models import FileMeta

    delivery = _delivery()
    delivery.add_file("first.txt", b"1")  # the store's mark is made
    with followed() as trip:
        FileMeta.objects.create(delivery=delivery, content=ContentFile(b"1", "a.txt"))
    return trip


def published_on_s3(store: Any) -> Trip:
    """Publish a file on S3: ``close()`` of a writer and back."""
    from devilry_storage.testing import PlainFileMeta

    with store.write_open(PlainFileMeta(store, 1, 1)) as writer:
        writer.write(b"1")  # the server's conditional writes are tested
    writer = store.write_open(PlainFileMeta(store, 1, 2))
    writer.write(b"1")
    with followed() as trip:
        writer.close()
    return trip


def downloaded() -> Trip:
    """Download a file: view to last byte."""
    delivery = _delivery()
    row = delivery.add_file("a.txt", b"1")
    delivery.finish()
    client = _client()
    url = row.content.url
    b"".join(client.get(url).streaming_content)
    with followed() as trip:
        assert b"".join(client.get(url).streaming_content) == b"1"
    return trip


def deleted() -> Trip:
    """Delete a row."""
    delivery = _delivery()
    row = delivery.add_file("a.txt", b"1")
    with followed() as trip:
        row.delete()
    return trip


def purged() -> Trip:
    """Purge a deleted file."""
    from django.core.management import call_command
    from django.utils import timezone

    from devilry_storage.models import Tombstone

    deleted()
    Tombstone.objects.update(due=timezone.now() - timedelta(days=1))
    with followed() as trip:
        call_command("purge_deliveries", stdout=StringIO())
    return trip


def browsed() -> Trip:
    """Show a page of the store browser."""
    from django.urls import reverse

    url = reverse("admin:devilry_storage_storebrowser_changelist")
    client = _client()
    row = _delivery().add_file("a.txt", b"1")
    folder = row.content.name.rpartition("/")[0]
    address = f"{url}devilry_deliveries.filemeta/?folder={folder}"
    assert client.get(address).status_code == 200
    with followed() as trip:
        assert b"a.txt" in client.get(address).content
    return trip


def _delivery() -> Any:
    from devilry_storage.deliveries.models import AssignmentGroup, Delivery

    return Delivery.begin(AssignmentGroup.objects.create(name="group"))


def _client() -> Any:
    from django.contrib.auth import get_user_model
    from django.test import Client

    user = get_user_model().objects.filter(username="trips").first()
    client = Client()
    client.force_login(user or get_user_model().objects.create_superuser("trips", password="x"))
    return client


@contextmanager
def s3_store() -> Iterator[Any]:
    """Give a store in a bucket of a moto server."""
    from moto.server import ThreadedMotoServer

    from devilry_storage.storages import S3DeliveryStore

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        store = S3DeliveryStore(
            bucket_name="trips",
            endpoint_url=f"http://{host}:{port}",
            access_key="trips",
            secret_key="trips",
            region_name="us-east-1",
        )
        store.connection.meta.client.create_bucket(Bucket="trips")
        yield store
    finally:
        server.stop()


def main() -> None:
    """Print the table of the trips."""
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    os.environ.update(KEYS)
    import django
    import django.test.utils
    from django.core.management import call_command

    django.setup()
    django.test.utils.setup_test_environment()
    call_command("migrate", verbosity=0)
    trips: list[tuple[str, Callable[[], Trip]]] = [
        ("store on disk", stored_on_disk),
        ("download", downloaded),
        ("delete", deleted),
        ("purge", purged),
        ("page of the store browser", browsed),
    ]
    results = [(name, trip()) for name, trip in trips]
    with s3_store() as store:
        results.insert(1, ("publish on S3", published_on_s3(store)))
    for name, result in results:
        counts = (len(result.functions), len(result.modules), result.depth, len(result.upward))
        print(f"{name:27}", *(f"{count:4}" for count in counts))
        for caller, called in sorted(result.upward):
            print(f"    up: {caller} -> {called}")


if __name__ == "__main__":
    main()
