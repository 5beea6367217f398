"""Purging on S3: nothing is removed from a wrong bucket or below a wrong prefix."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.test.utils import override_settings

from devilry_storage.deletion import Event, Result, purge
from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.storages import FsHierDeliveryStore, S3DeliveryStore
from devilry_storage.store_info import probed
from devilry_storage.testing import override_deliverystore
from tests.testapp.models import Note

from ..harness import s3servers
from ..harness.http_faults import Answer
from ..harness.http_proxy import HttpProxy
from ..harness.purging import delivered, left, past_due, purged

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

_numbers = count(1)


@pytest.fixture(scope="module")
def buckets() -> tuple[str, str]:
    """The buckets of the site and of another site. Each test has its own prefix in them."""
    server = s3servers.need("seaweedfs")
    return server.bucket(), server.bucket()


@pytest.fixture
def location() -> str:
    return f"site{next(_numbers)}"


def _using(**options: Any) -> override_settings:
    """Let all models use a store on S3 with these options."""
    given = {**s3servers.get("seaweedfs").options(options.pop("bucket_name")), **options}
    backend = "devilry_storage.storages.S3DeliveryStore"
    filesystem = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    return override_settings(
        STORAGES={
            "default": filesystem,
            "deliveries": {"BACKEND": backend, "OPTIONS": {"deadline": 1, **given}},
        }
    )


@pytest.fixture(autouse=True)
def site(buckets: tuple[str, str], location: str) -> Iterator[None]:
    with _using(bucket_name=buckets[0], location=location):
        yield


def _store() -> S3DeliveryStore:
    store = store_for(FileMeta)
    assert isinstance(store, S3DeliveryStore)
    return store


def _deleted(delivery: Delivery) -> None:
    """Delete the delivery, and end its retention."""
    delivery.delete()
    past_due()


def _one_deleted_of_two() -> str:
    """Store two deliveries, delete one, and return the name of its file."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    _deleted(delivery)
    return str(Tombstone.objects.get().name)


def _names() -> set[str]:
    return {entry.name for entry in _store().scan()}


def _emptied() -> None:
    """Remove all objects below the prefix, including the store's own."""
    store, client = _store(), s3servers.get("seaweedfs").client()
    found = client.list_objects_v2(Bucket=store.bucket_name, Prefix=store.remote.prefix)
    for content in found.get("Contents", ()):
        client.delete_object(Bucket=store.bucket_name, Key=content["Key"])


def _refused(why: str, names: Callable[[], set[str]] = _names) -> None:
    """Assert that a purge removes nothing, and reports the reason."""
    before, tombstones = names(), Tombstone.objects.count()
    out, err = purged()
    assert why in err
    assert "Nothing was removed" in err
    assert "Removed 0 files" in out
    assert names() == before
    assert Tombstone.objects.count() == tombstones > 0


def _no_names() -> set[str]:
    """Return no names, for a bucket that cannot be listed."""
    return set()


def test_purge_removes_a_delivery_and_keeps_its_neighbour() -> None:
    """The other tests depend on this."""
    name = _one_deleted_of_two()
    assert name in _names()
    out, err = purged()
    assert ("Removed 1 files" in out, err) == (True, "")
    assert not left()
    row = FileMeta.objects.get()
    assert _names() == {row.content.name}
    with row.content.open() as file:
        assert file.read() == b"2"


# -- Wrong stores --


def test_missing_bucket_is_refused(location: str) -> None:
    """The bucket was removed, or its name was mistyped."""
    _one_deleted_of_two()
    with _using(bucket_name="missing-deliveries", location=location):
        _refused("missing-deliveries", _no_names)


def test_emptied_bucket_is_refused() -> None:
    """All objects were removed."""
    _one_deleted_of_two()
    _emptied()
    _refused("the store is empty")


def test_emptied_bucket_is_refused_without_rows() -> None:
    """Otherwise files that come back from a backup would never be removed."""
    _deleted(delivered(a=b"1"))
    _emptied()
    _refused("the store is empty")


def test_emptied_bucket_with_a_new_file_is_refused() -> None:
    """The oldest rows are looked up, too."""
    delivered(a=b"1")
    _one_deleted_of_two()
    _emptied()
    delivered(c=b"3")
    _refused("only 1 of the newest 3 files")


def test_wrong_bucket_is_refused(buckets: tuple[str, str], location: str) -> None:
    """It is the bucket of another site, whose files have the same keys."""
    name = _one_deleted_of_two()
    with _using(bucket_name=buckets[1], location=location):
        _store().save(name, ContentFile(b"1"))
        _refused("none of the newest 1 files")


def test_wrong_bucket_is_refused_for_sizes_without_rows(
    buckets: tuple[str, str], location: str
) -> None:
    """No row can be looked up, but the files have other sizes."""
    _deleted(delivered(a=b"1", b=b"1"))
    with _using(bucket_name=buckets[1], location=location):
        for tombstone in Tombstone.objects.all():
            _store().save(tombstone.name, ContentFile(b"another's"))
        _refused("9 bytes in the store, but 1 were recorded")


def test_file_of_another_size_is_removed_only_with_also() -> None:
    """It does not stop other removals."""
    delivery, _ = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    name = delivery.files[0].content.name
    _deleted(delivery)
    _store().delete(name)
    _store().save(name, ContentFile(b"another's"))
    for removed in ("Removed 1 files", "Removed 0 files"):
        out, err = purged()
        assert removed in out
        assert f"kept: {name}" in err
    assert [tombstone.name for tombstone in left()] == [name]
    purged(also=[name])
    assert name not in _names()
    assert not left()


def test_wrong_prefix_is_refused(buckets: tuple[str, str], location: str) -> None:
    """The store of a staging site is in the same bucket."""
    name = _one_deleted_of_two()
    with _using(bucket_name=buckets[0], location=f"{location}-staging"):
        _store().save(name, ContentFile(b"1"))
        _refused("none of the newest 1 files")


def test_bucket_without_the_prefix_is_refused(buckets: tuple[str, str]) -> None:
    """The settings have no location any more, so the bucket has other names."""
    _one_deleted_of_two()
    with _using(bucket_name=buckets[0]):
        _refused("none of the newest 1 files")


def test_server_that_does_not_respond_is_refused(buckets: tuple[str, str], location: str) -> None:
    """Its files are unknown."""
    _one_deleted_of_two()
    closed = "http://127.0.0.1:1"
    with _using(bucket_name=buckets[0], location=location, endpoint_url=closed, attempts=1):
        _refused(closed, _no_names)


def test_wrong_credentials_are_refused(buckets: tuple[str, str], location: str) -> None:
    """The store cannot be read."""
    _one_deleted_of_two()
    with _using(bucket_name=buckets[0], location=location, secret_key="wrong"):
        _refused("Check access key and secret key", _no_names)


def test_file_that_the_server_keeps_stays_with_its_error(
    buckets: tuple[str, str], location: str
) -> None:
    """The request for the batch is denied, and the next purge removes the files."""
    delivery, _ = delivered(a=b"1", b=b"2"), delivered(c=b"3")
    _deleted(delivery)
    with HttpProxy(s3servers.get("seaweedfs").endpoint_url) as proxy:
        endpoint = {"endpoint_url": proxy.endpoint_url}
        with _using(bucket_name=buckets[0], location=location, **endpoint):
            proxy.fault("DeleteObjects", Answer(403, "AccessDenied"))
            _out, err = purged()
            assert "2 removals failed" in err
            assert "s3:DeleteObject" in err
            for tombstone in Tombstone.objects.all():
                assert tombstone.attempts == 1
                assert "s3:DeleteObject" in tombstone.last_error
            assert len(_names()) == 3
            _out, err = purged()
            assert err == ""
            assert len(_names()) == 1


# -- Stale uploads --


def _begun(*keys: str) -> None:
    """Begin uploads that are never finished."""
    store, client = _store(), s3servers.get("seaweedfs").client()
    for key in keys:
        client.create_multipart_upload(Bucket=store.bucket_name, Key=key)


def _uploads() -> set[str]:
    found = s3servers.get("seaweedfs").client().list_multipart_uploads(Bucket=_store().bucket_name)
    return {upload["Key"] for upload in found.get("Uploads", ())}


def _old_enough() -> Any:
    """Wait until the uploads are older than the grace time, which is set to 0."""
    time.sleep(1.1)  # the server returns times in seconds
    return override_settings(DELIVERY_STORE_GRACE_HOURS=0)


def test_uploads_are_aborted_after_the_grace_time(location: str) -> None:
    """Younger uploads may be running, and uploads below other prefixes are not the store's."""
    delivered(a=b"1")
    ours, others = f"{location}/0/1/1005/17", f"not-{location}/0/1/1005/17"
    _begun(ours, others)
    assert list(purge()) == []
    with _old_enough():
        assert list(purge(dry_run=True)) == [Event(Result.UPLOAD, "0/1/1005/17")]
        assert {ours, others} <= _uploads()
        assert list(purge()) == [Event(Result.UPLOAD, "0/1/1005/17")]
    assert ours not in _uploads()
    assert others in _uploads()


@override_settings(USE_TZ=False)
def test_uploads_are_aborted_without_time_zones(location: str) -> None:
    """S3 returns aware datetimes, and Django naive ones."""
    delivered(a=b"1")
    _begun(f"{location}/0/1/1005/17")
    with override_settings(DELIVERY_STORE_GRACE_HOURS=1):
        assert list(purge()) == []
        assert not any(finding.remedy for finding in probed(_store()))
    with _old_enough():
        assert any("purge_deliveries" in finding.remedy for finding in probed(_store()))
        assert list(purge()) == [Event(Result.UPLOAD, "0/1/1005/17")]


def test_uploads_that_cannot_be_listed_are_reported(
    buckets: tuple[str, str], location: str, tmp_path: Path
) -> None:
    """A permission is missing. The command fails, but purges the next store."""
    other = FsHierDeliveryStore(location=tmp_path / "notes")
    with (
        HttpProxy(s3servers.get("seaweedfs").endpoint_url) as proxy,
        _using(bucket_name=buckets[0], location=location, endpoint_url=proxy.endpoint_url),
        override_deliverystore(other, model=Note),
    ):
        delivered(a=b"1")
        Note.objects.create(content=ContentFile(b"note", "a"))
        left = tmp_path / "notes/.devilry-storage/tmp/left"
        left.write_bytes(b"half")
        proxy.fault("ListMultipartUploads", Answer(403, "AccessDenied"))
        with _old_enough():
            out, err = purged()
    assert "failed: devilry_deliveries.filemeta (stale uploads: list_multipart_uploads of" in err
    assert "s3:ListBucketMultipartUploads" in err
    assert "1 removals failed" in err
    assert "were refused" not in err
    assert "1 stale uploads" in out
    assert not left.exists()


def test_unused_store_is_not_an_error() -> None:
    """A new site may purge before its first delivery."""
    assert list(purge()) == []


def test_store_without_files_left_is_not_an_error() -> None:
    """The store is empty, and may be."""
    _deleted(delivered(a=b"1"))
    assert [event.result for event in purge()] == ["removed"]
    assert list(purge()) == []


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"endpoint_url": "http://127.0.0.1:1", "attempts": 1}, "http://127.0.0.1:1"),
        ({"bucket_name": "missing-deliveries"}, "missing-deliveries"),
        ({"secret_key": "wrong"}, "Check access key and secret key"),
    ],
    ids=["gone", "bucket", "credentials"],
)
def test_store_that_fails_is_reported_if_nothing_is_due(
    buckets: tuple[str, str], location: str, wrong: dict[str, Any], why: str
) -> None:
    """Only the server could show that the store was never used."""
    with _using(**{"bucket_name": buckets[0], "location": location, **wrong}):
        _out, err = purged()
    assert err.count("refused: devilry_deliveries.filemeta (") == 1
    assert why in err
    assert "1 models were refused" in err


def test_emptied_bucket_is_reported_if_nothing_is_due() -> None:
    """The file of a row is missing."""
    delivered(a=b"1")
    _emptied()
    _out, err = purged()
    assert "(the store is empty" in err


def test_uploads_in_a_wrong_bucket_are_kept(buckets: tuple[str, str], location: str) -> None:
    """Another site may be uploading."""
    name = _one_deleted_of_two()
    with _using(bucket_name=buckets[1], location=location):
        _store().save(name, ContentFile(b"1"))
        _begun(f"{location}/0/1/1005/17")
        with _old_enough():
            _refused("none of the newest 1 files")
        assert f"{location}/0/1/1005/17" in _uploads()
