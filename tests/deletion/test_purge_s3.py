"""Removing for good from S3: nothing at all from the wrong bucket, or below the wrong prefix."""

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

_places = count(1)


@pytest.fixture(scope="module")
def buckets() -> tuple[str, str]:
    """The site's bucket and another's; each test has a prefix of its own in them."""
    server = s3servers.need("seaweedfs")
    return server.bucket(), server.bucket()


@pytest.fixture
def location() -> str:
    return f"site{next(_places)}"


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
    """Delete it, and let the retention be over."""
    delivery.delete()
    past_due()


def _one_deleted_of_two() -> str:
    """Return the name of the deleted one's file."""
    delivery, _ = delivered(a=b"1"), delivered(b=b"2")
    _deleted(delivery)
    return str(Tombstone.objects.get().name)


def _names() -> set[str]:
    return {entry.name for entry in _store().scan()}


def _emptied() -> None:
    """Remove all below the prefix, the store's own marker with it."""
    store, client = _store(), s3servers.get("seaweedfs").client()
    found = client.list_objects_v2(Bucket=store.bucket_name, Prefix=store.remote.prefix)
    for each in found.get("Contents", ()):
        client.delete_object(Bucket=store.bucket_name, Key=each["Key"])


def _refused(why: str, names: Callable[[], set[str]] = _names) -> None:
    """Assert that a purge removes nothing and says why."""
    before, tombstones = names(), Tombstone.objects.count()
    out, err = purged()
    assert why in err
    assert "Nothing was removed" in err
    assert "Removed 0 files" in out
    assert names() == before
    assert Tombstone.objects.count() == tombstones > 0


def _nobody() -> set[str]:
    """Return the names where nobody can ask for them."""
    return set()


def test_what_is_due_goes_and_the_neighbour_stays() -> None:
    """As on disk; else nothing that follows would show anything."""
    name = _one_deleted_of_two()
    assert name in _names()
    out, err = purged()
    assert ("Removed 1 files" in out, err) == (True, "")
    assert not left()
    row = FileMeta.objects.get()
    assert _names() == {row.content.name}
    with row.content.open() as file:
        assert file.read() == b"2"


# -- The wrong place --


def test_a_missing_bucket_is_refused(location: str) -> None:
    """It was removed, or its name was misspelt."""
    _one_deleted_of_two()
    with _using(bucket_name="deliveries-of-nobody", location=location):
        _refused("deliveries-of-nobody", _nobody)


def test_an_emptied_bucket_is_refused() -> None:
    """Somebody removed all that was there."""
    _one_deleted_of_two()
    _emptied()
    _refused("the store is empty")


def test_an_emptied_bucket_is_refused_though_no_row_is_left_to_look_up() -> None:
    """Else the tombstones would be forgotten, and what comes back from a backup stays for ever."""
    _deleted(delivered(a=b"1"))
    _emptied()
    _refused("the store is empty")


def test_an_emptied_bucket_to_which_somebody_wrote_is_refused() -> None:
    """The oldest rows are looked up, too."""
    delivered(a=b"1")
    _one_deleted_of_two()
    _emptied()
    delivered(c=b"3")
    _refused("only 1 of the newest 3 files")


def test_a_wrong_bucket_is_refused(buckets: tuple[str, str], location: str) -> None:
    """Another site's, where other files have the same keys."""
    name = _one_deleted_of_two()
    with _using(bucket_name=buckets[1], location=location):
        _store().save(name, ContentFile(b"1"))
        _refused("none of the newest 1 files")


def test_a_wrong_bucket_is_refused_by_the_sizes_where_no_row_is_left(
    buckets: tuple[str, str], location: str
) -> None:
    """There is no row to look up, and the files of these names have other sizes."""
    _deleted(delivered(a=b"1", b=b"1"))
    with _using(bucket_name=buckets[1], location=location):
        for tombstone in Tombstone.objects.all():
            _store().save(tombstone.name, ContentFile(b"another's"))
        _refused("9 bytes in the store, but 1 were recorded")


def test_file_that_differs_is_kept_until_it_is_named() -> None:
    """It stops no other removal, today or tomorrow, and --also removes it."""
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


def test_a_wrong_prefix_is_refused(buckets: tuple[str, str], location: str) -> None:
    """Staging lies beside production."""
    name = _one_deleted_of_two()
    with _using(bucket_name=buckets[0], location=f"{location}-staging"):
        _store().save(name, ContentFile(b"1"))
        _refused("none of the newest 1 files")


def test_the_prefix_above_is_refused(buckets: tuple[str, str]) -> None:
    """The location was lost from the settings: the bucket is full, but of other names."""
    _one_deleted_of_two()
    with _using(bucket_name=buckets[0]):
        _refused("none of the newest 1 files")


def test_a_server_that_is_gone_is_refused(buckets: tuple[str, str], location: str) -> None:
    """Nobody can say what is there."""
    _one_deleted_of_two()
    closed = "http://127.0.0.1:1"
    with _using(bucket_name=buckets[0], location=location, endpoint_url=closed, attempts=1):
        _refused(closed, _nobody)


def test_wrong_credentials_are_refused(buckets: tuple[str, str], location: str) -> None:
    """Who may not read cannot know what would be removed."""
    _one_deleted_of_two()
    with _using(bucket_name=buckets[0], location=location, secret_key="wrong"):
        _refused("Check access key and secret key", _nobody)


def test_what_the_server_does_not_remove_stays_with_its_error(
    buckets: tuple[str, str], location: str
) -> None:
    """The request for the batch was denied: each file is still named by its tombstone."""
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
    """Begin uploads which nobody will end."""
    store, client = _store(), s3servers.get("seaweedfs").client()
    for key in keys:
        client.create_multipart_upload(Bucket=store.bucket_name, Key=key)


def _uploads() -> set[str]:
    found = s3servers.get("seaweedfs").client().list_multipart_uploads(Bucket=_store().bucket_name)
    return {each["Key"] for each in found.get("Uploads", ())}


def _old_enough() -> Any:
    """Wait until what was begun is older than the grace time, and return that as a setting."""
    time.sleep(1.1)  # the server tells the time in seconds
    return override_settings(DELIVERY_STORE_GRACE_HOURS=0)


def test_uploads_are_aborted_after_the_grace_time(location: str) -> None:
    """A younger one may be somebody's who is still sending; others' prefixes are not ours."""
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
def test_without_time_zones_uploads_are_aborted_after_the_grace_time(location: str) -> None:
    """S3 tells times with a zone, Django without: both mean the same moment."""
    delivered(a=b"1")
    _begun(f"{location}/0/1/1005/17")
    with override_settings(DELIVERY_STORE_GRACE_HOURS=1):
        assert list(purge()) == []
        assert all(finding.holds for finding in probed(_store()))
    with _old_enough():
        assert not all(finding.holds for finding in probed(_store()))
        assert list(purge()) == [Event(Result.UPLOAD, "0/1/1005/17")]


def test_uploads_that_cannot_be_listed_are_told_and_the_next_store_is_purged(
    buckets: tuple[str, str], location: str, tmp_path: Path
) -> None:
    """The permission is missing: that store's failure, and the command's."""
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


def test_a_store_that_was_never_used_is_no_error() -> None:
    """A new site runs its first purge before its first delivery."""
    assert list(purge()) == []


def test_a_store_whose_last_file_was_purged_is_no_error() -> None:
    """Nothing should be there, and nothing is."""
    _deleted(delivered(a=b"1"))
    assert [event.result for event in purge()] == ["removed"]
    assert list(purge()) == []


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"endpoint_url": "http://127.0.0.1:1", "attempts": 1}, "http://127.0.0.1:1"),
        ({"bucket_name": "deliveries-of-nobody"}, "deliveries-of-nobody"),
        ({"secret_key": "wrong"}, "Check access key and secret key"),
    ],
    ids=["gone", "bucket", "credentials"],
)
def test_a_store_that_cannot_be_asked_is_told_though_nothing_is_due(
    buckets: tuple[str, str], location: str, wrong: dict[str, Any], why: str
) -> None:
    """Even one that was never used: only its server could say so."""
    with _using(**{"bucket_name": buckets[0], "location": location, **wrong}):
        _out, err = purged()
    assert err.count("refused: devilry_deliveries.filemeta (") == 1
    assert why in err
    assert "1 models were refused" in err


def test_an_emptied_bucket_is_told_though_nothing_is_due() -> None:
    """A row's file is missing."""
    delivered(a=b"1")
    _emptied()
    _out, err = purged()
    assert "(the store is empty" in err


def test_in_a_wrong_bucket_no_upload_is_aborted(buckets: tuple[str, str], location: str) -> None:
    """Somebody else may be in the middle of it."""
    name = _one_deleted_of_two()
    with _using(bucket_name=buckets[1], location=location):
        _store().save(name, ContentFile(b"1"))
        _begun(f"{location}/0/1/1005/17")
        with _old_enough():
            _refused("none of the newest 1 files")
        assert f"{location}/0/1/1005/17" in _uploads()
