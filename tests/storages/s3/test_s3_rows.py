"""Deliveries on S3, selected by settings alone: same keys, no migration and few requests."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import transaction
from django.test import override_settings

from devilry_storage.deletion import purge, purging
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore
from devilry_storage.storages import S3DeliveryStore
from tests.testapp.pictures import stored

from ...harness import s3servers
from ...harness.http_proxy import HttpProxy

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

S3 = "devilry_storage.storages.S3DeliveryStore"
DISK = "devilry_storage.storages.FsHierDeliveryStore"
OTHERS = {key: value for key, value in settings.STORAGES.items() if key != "deliveries"}

Options = dict[str, Any]
Way = Callable[[Options], dict[str, Any]]

_locations = count(1)


@pytest.fixture
def options(proxy: HttpProxy, bucket: str) -> Options:
    """Options of a store behind the proxy, with a location of its own."""
    return {
        **s3servers.get("seaweedfs").options(bucket),
        "endpoint_url": proxy.endpoint_url,
        "location": f"rows{next(_locations)}",
    }


# -- Ways to configure the store --


def as_settings(options: Options) -> dict[str, Any]:
    """Return the equivalent settings AWS_* of django-storages."""
    names = {
        "bucket_name": "AWS_STORAGE_BUCKET_NAME",
        "location": "AWS_LOCATION",
        "access_key": "AWS_S3_ACCESS_KEY_ID",
        "secret_key": "AWS_S3_SECRET_ACCESS_KEY",
    }
    return {names.get(key, f"AWS_S3_{key.upper()}"): value for key, value in options.items()}


def by_alias(options: Options) -> dict[str, Any]:
    return {"STORAGES": {**OTHERS, "deliveries": {"BACKEND": S3, "OPTIONS": options}}}


def by_alias_and_settings(options: Options) -> dict[str, Any]:
    return {"STORAGES": {**OTHERS, "deliveries": {"BACKEND": S3}}, **as_settings(options)}


def by_backend(options: Options) -> dict[str, Any]:
    return {"STORAGES": OTHERS, "DELIVERY_STORE_BACKEND": S3, **as_settings(options)}


def by_default(options: Options) -> dict[str, Any]:
    return {"STORAGES": {**OTHERS, "default": {"BACKEND": S3}}, **as_settings(options)}


WAYS = (by_alias, by_alias_and_settings, by_backend, by_default)


@pytest.mark.parametrize("way", WAYS)
def test_settings_alone_select_s3(way: Way, options: Options) -> None:
    """With each kind of configuration, deliveries are stored, replaced, copied and deleted."""
    group = AssignmentGroup.objects.create(name="group")
    with override_settings(**way(options)):
        store = store_for(FileMeta)
        assert isinstance(store, S3DeliveryStore)
        assert (store.bucket_name, store.location) == (options["bucket_name"], options["location"])
        delivery = Delivery.begin(group)
        row = delivery.add_file("hello.txt", ["hello", "world"])
        delivery.add_files({"a.bin": b"\x00" * 70_000, "empty": b""})
        row.content.save("again.txt", ContentFile(b"again"))
        delivery.finish()
        twin = delivery.copy(group)
        for owner in (delivery, twin):
            rows = list(FileMeta.objects.filter(delivery=owner).order_by("pk"))
            assert [file.content.read() for file in rows] == [b"again", b"\x00" * 70_000, b""]
            for file in rows:
                assert store.layout.parse(file.content.name) == (owner.pk, file.pk)
                file.content.close()
        delivery.delete()
        assert len(stored(store)) == 7  # three files, the replaced one, three of the copy


def test_store_follows_settings_that_change_one_by_one(options: Options) -> None:
    """Some combinations are invalid and raise; later ones work again."""
    with override_settings(**as_settings(options)):
        store = S3DeliveryStore()
        with override_settings(AWS_STORAGE_BUCKET_NAME="", AWS_LOCATION="elsewhere"):
            for _ in range(2):
                with pytest.raises(ImproperlyConfigured, match="no bucket"):
                    store.exists("a.txt")
        assert store.save("a.txt", ContentFile(b"data")) == "a.txt"
        assert store.location == options["location"]


@pytest.mark.parametrize("way", WAYS)
def test_changing_the_store_needs_no_migration(way: Way, options: Options) -> None:
    """Migrations contain no store, and so no bucket and no key."""
    output = io.StringIO()
    with override_settings(**way(options)):
        call_command("makemigrations", check=True, dry_run=True, stdout=output)
    assert output.getvalue() == "No changes detected\n"


# -- Same keys --


def deliver() -> tuple[dict[str, bytes], Any]:
    """Store the same deliveries, with the same ids, in the configured store.

    Return the files in the store and the columns of the rows. The rows are rolled back.
    """
    with transaction.atomic():
        group = AssignmentGroup.objects.create(pk=1, name="group")
        for pk in (1, 999, 1000, 1005, 1_000_000, 2**40):
            delivery = Delivery.objects.create(pk=pk, assignment_group=group)
            for number in (17, 2**31):
                data = f"{pk} {number}".encode() * number.bit_length()
                row = FileMeta(pk=pk + number, delivery=delivery, filename=f"{number}.txt")
                row.content.save("upload.txt", ContentFile(data))
        found = stored(store_for(FileMeta))
        columns = list(FileMeta.objects.order_by("pk").values("pk", "content", "size", "sha256"))
        transaction.set_rollback(True)
    return found, columns


def on_disk(tmp_path: Path) -> override_settings:
    deliveries = {"BACKEND": DISK, "OPTIONS": {"location": str(tmp_path)}}
    return override_settings(STORAGES={**OTHERS, "deliveries": deliveries})


@pytest.mark.django_db(transaction=True)
def test_keys_on_disk_and_on_s3_are_equal(options: Options, tmp_path: Path) -> None:
    """The files and the columns of the rows are equal, too."""
    with on_disk(tmp_path):
        disk = deliver()
    with override_settings(**by_alias(options)):
        assert deliver() == disk
    assert "0/1/1005/1022" in disk[0]
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path).as_posix() for path in files} >= {*disk[0]}
    client, prefix = s3servers.get("seaweedfs").client(), f"{options['location']}/"
    listed = client.list_objects_v2(Bucket=options["bucket_name"], Prefix=prefix)["Contents"]
    keys = {entry["Key"].removeprefix(prefix) for entry in listed}
    assert {key for key in keys if not key.startswith(".devilry-storage/")} == {*disk[0]}


@pytest.mark.parametrize("from_disk", [True, False], ids=["disk to S3", "S3 to disk"])
def test_site_moves_by_copying_its_files(
    from_disk: bool, options: Options, tmp_path: Path
) -> None:
    """Files that any tool has copied can be read and deleted; no row is changed."""
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
    disk, s3 = on_disk(tmp_path), override_settings(**by_alias(options))
    before, after = (disk, s3) if from_disk else (s3, disk)
    with before:
        delivery.add_files({"a.txt": b"a", "b.bin": os.urandom(100_000)})
        tree = stored(store_for(FileMeta))
    with after:
        if from_disk:
            client = s3servers.get("seaweedfs").client()
            for name, data in tree.items():
                key = f"{options['location']}/{name}"
                client.put_object(Bucket=options["bucket_name"], Key=key, Body=data)
        else:
            for name, data in tree.items():
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_bytes(data)
        rows = FileMeta.objects.filter(delivery=delivery)
        for row in rows:
            read = b"".join(store_for(row).stream(row.content.name, sha256=row.sha256))
            assert read == tree[row.content.name]
        delivery.finish()
        with transaction.atomic():
            delivery.delete()
        assert Tombstone.objects.count() == 2


# -- Few requests --


@contextmanager
def sends(proxy: HttpProxy, *operations: str) -> Iterator[None]:
    """Check that the block sends exactly these requests, in any order."""
    proxy.forget()
    yield
    assert sorted(proxy.operations()) == sorted(operations)


@pytest.fixture
def site(options: Options, proxy: HttpProxy) -> Iterator[Delivery]:
    """A delivery on S3, whose server has been tested for conditional writes."""
    with override_settings(**by_alias(options)):
        delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
        delivery.add_file("first.txt", b"first")
        delivery.finish()
        delivery.copy(delivery.assignment_group)
        yield Delivery.begin(delivery.assignment_group)


def test_storing_a_file_is_one_request(site: Delivery, proxy: HttpProxy) -> None:
    """This applies to each way to store a file, and to each of many files."""
    with sends(proxy, "PutObject"):
        site.add_file("a.txt", b"a")
    with sends(proxy, "PutObject"):
        FileMeta.objects.create(delivery=site, content=ContentFile(b"b", "b.txt"))
    with sends(proxy, *["PutObject"] * 5):
        site.add_files({f"{number}.txt": b"data" for number in range(5)})
    row = FileMeta.objects.get(filename="b.txt")
    with sends(proxy, "PutObject"):
        row.content.save("new.txt", ContentFile(b"new"))


@pytest.mark.usefixtures("without_downloads")
def test_reading_a_row_is_one_request(site: Delivery, proxy: HttpProxy) -> None:
    """The size in the store is one request, too. Values of columns need none."""
    pk = site.add_file("a.txt", b"a" * 5000).pk
    row = FileMeta.objects.get(pk=pk)
    with sends(proxy):
        assert (row.size, getattr(row.content, "url", None)) == (5000, None)
    with sends(proxy, "HeadObject"):
        assert row.content.size == 5000
    with sends(proxy, "GetObject"), row.content.open() as file:
        assert file.read() == b"a" * 5000


def test_finishing_a_delivery_is_one_listing(site: Delivery, proxy: HttpProxy) -> None:
    """The listing has the sizes of all files."""
    site.add_files({f"{number}.txt": b"data" for number in range(30)})
    with sends(proxy, "ListObjectsV2"):
        site.finish()


def test_copying_a_delivery_is_two_requests_per_file(site: Delivery, proxy: HttpProxy) -> None:
    """There is also one listing, as for every delivery that is finished."""
    site.add_files({f"{number}.txt": b"data" for number in range(5)})
    site.finish()
    with sends(proxy, "ListObjectsV2", *["HeadObject", "CopyObject"] * 5):
        site.copy(site.assignment_group)


def test_restore_is_three_requests(site: Delivery, proxy: HttpProxy) -> None:
    """S3 copies the bytes."""
    site.add_file("a.txt", b"data").delete()
    tombstone = Tombstone.objects.get()
    with sends(proxy, "HeadObject", "HeadObject", "CopyObject"):
        restore(tombstone)


@pytest.mark.django_db(transaction=True)
@override_settings(DELIVERY_STORE_RETENTION_DAYS=0)
def test_delete_without_retention_sends_three_requests(site: Delivery, proxy: HttpProxy) -> None:
    """The file and its size are checked; the store's mark and site once in five minutes."""
    first, second, _ = site.add_files(dict.fromkeys("abc", b"data"))
    with sends(proxy, *["GetObject"] * 2, *["HeadObject"] * 2, "PutObject", "DeleteObjects"):
        first.delete()
    with sends(proxy, *["HeadObject"] * 2, "DeleteObjects"):
        second.delete()


def test_delete_sends_nothing_and_purge_sends_batches(
    site: Delivery, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch has a thousand files, here three."""
    monkeypatch.setattr(purging, "REMOVED_AT_ONCE", 3)
    site.add_files({f"{number}.txt": b"data" for number in range(8)})
    with sends(proxy):
        site.delete()
    proxy.forget()
    with override_settings(DELIVERY_STORE_RETENTION_DAYS=0):
        Tombstone.objects.update(due="2000-01-01T00:00Z")
        assert [event.result for event in purge()] == ["removed"] * 8
    assert proxy.operations().count("DeleteObjects") == 3
    assert {"DeleteObject", "GetObject"}.isdisjoint(proxy.operations())
