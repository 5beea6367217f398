"""Bulk deletion on S3, with all kinds of names."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from django.core.files.base import ContentFile

from devilry_storage.exceptions import InvalidName, StoreDenied, StoreFailure, StoreUnavailable
from devilry_storage.names import validate_storage_name
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3.store import NOT_IN_XML

from ...harness import s3servers
from ...harness.http_faults import Answer, Replace
from ...harness.http_proxy import HttpProxy
from ...harness.odd_responses import wire
from ..test_hostile_names import ACCEPTED, REFUSED

pytestmark = pytest.mark.servers

NONCHARACTERS = ["a\ufffeb.txt", "\uffff/c.txt"]


@pytest.fixture(scope="module")
def options(proxy: HttpProxy) -> dict[str, Any]:
    server = s3servers.get("seaweedfs")
    return {**server.options(server.bucket()), "endpoint_url": proxy.endpoint_url}


@pytest.fixture
def store(
    options: dict[str, Any], proxy: HttpProxy, request: pytest.FixtureRequest
) -> S3DeliveryStore:
    store = S3DeliveryStore(location=request.node.name, **options)
    store.save("warm.txt", ContentFile(b"x"))
    proxy.forget()
    return store


def empty_result(carried_out: bool) -> Replace:
    """Return a fault that removes all keys from the response."""
    return Replace(
        lambda reply: wire(replace(reply, body=b"<DeleteResult/>")), reaches=carried_out
    )


def _save(store: S3DeliveryStore, proxy: HttpProxy, *names: str) -> None:
    for name in names:
        assert store.save(name, ContentFile(b"x")) == name
    proxy.forget()


def test_hostile_names_are_deleted_and_invalid_ones_reported(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """One request deletes all names of the table except the few that are invalid in XML."""
    # On SeaweedFS a name cannot be both a file and a folder.
    folders = {
        folder.rstrip("/")
        for line in ACCEPTED
        for folder in itertools.accumulate(f"{part}/" for part in line.name.split("/")[:-1])
    }
    names = [line.name for line in ACCEPTED if line.name not in folders]
    _save(store, proxy, *names)
    invalid = [line.name for line in REFUSED]
    failures = store.delete_many([*invalid, *names])
    assert {name: type(failure) for name, failure in failures.items()} == dict.fromkeys(
        invalid, InvalidName
    )
    alone = sum(bool(NOT_IN_XML.search(name)) for name in names)
    assert alone >= 2
    assert sorted(proxy.operations()) == ["DeleteObject"] * alone + ["DeleteObjects"]
    assert [entry.name for entry in store.scan()] == ["warm.txt"]


def test_file_of_unknown_size_is_kept(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The error is reported for that file; the others are deleted."""
    _save(store, proxy, "a.txt", "b.txt")
    proxy.fault("HeadObject", Answer(403, "AccessDenied"), 1)
    failures = store.delete_many(["a.txt", "b.txt"], sizes={"a.txt": 1, "b.txt": 1})
    assert {name: type(failure) for name, failure in failures.items()} == {"a.txt": StoreDenied}
    assert {entry.name for entry in store.scan()} == {"a.txt", "warm.txt"}


def test_name_invalid_in_xml_does_not_block_other_names(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """S3 responds with 400 to a whole batch that contains such a name."""
    _save(store, proxy, "a.txt", *NONCHARACTERS)
    assert store.delete_many(["a.txt", *NONCHARACTERS]) == {}
    assert [store.exists(name) for name in ("a.txt", *NONCHARACTERS)] == [False] * 3


def test_failed_single_deletion_is_reported_by_name(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    _save(store, proxy, "a.txt", *NONCHARACTERS)
    proxy.fault("DeleteObject", Answer(403, "AccessDenied"))
    failures = store.delete_many(["a.txt", *NONCHARACTERS])
    assert list(failures) == NONCHARACTERS[:1]
    assert isinstance(failures[NONCHARACTERS[0]], StoreDenied)


# -- Servers without DeleteObjects --

BATCH, SINGLE = "DeleteObjects", "DeleteObject"

#: Responses of servers that do not support DeleteObjects, or not as botocore sends it.
REFUSALS = [
    (400, "MissingContentMD5"),
    (400, "InvalidArgument"),
    (400, "InvalidRequest"),
    (400, ""),
    (405, "MethodNotAllowed"),
    (411, "MissingContentLength"),
    (415, "UnsupportedMediaType"),
    (501, "NotImplemented"),
]


@pytest.fixture
def fresh(options: dict[str, Any], proxy: HttpProxy) -> S3DeliveryStore:
    """A store in a bucket of its own, of which the process knows nothing."""
    store = S3DeliveryStore(**{**options, "bucket_name": s3servers.get("seaweedfs").bucket()})
    store.save("warm.txt", ContentFile(b"x"))
    proxy.forget()
    return store


def _delete(store: S3DeliveryStore, proxy: HttpProxy) -> tuple[list[str], dict[str, Exception]]:
    """Delete two files; return the operations and the failures."""
    _save(store, proxy, "a.txt", "b.txt")
    failures = store.delete_many(["a.txt", "missing.txt", "b.txt"])
    return proxy.operations(), failures


@pytest.mark.parametrize(("status", "code"), REFUSALS)
def test_server_without_batches_deletes_one_by_one(
    fresh: S3DeliveryStore, options: dict[str, Any], proxy: HttpProxy, status: int, code: str
) -> None:
    """The process remembers it for all stores of the bucket, and not for other buckets."""
    _save(fresh, proxy, "a.txt", "b.txt")
    proxy.fault(BATCH, Answer(status, code))
    assert fresh.delete_many(["a.txt", "missing.txt", "b.txt"]) == {}
    assert proxy.operations() == [BATCH, SINGLE, SINGLE, SINGLE]
    for store in (fresh, S3DeliveryStore(**fresh._given)):
        assert _delete(store, proxy) == ([SINGLE] * 3, {})
    assert [entry.name for entry in fresh.scan()] == ["warm.txt"]
    other = S3DeliveryStore(**{**options, "bucket_name": s3servers.get("seaweedfs").bucket()})
    other.save("warm.txt", ContentFile(b"x"))
    assert _delete(other, proxy) == ([BATCH], {})


def test_malformed_batch_is_deleted_one_by_one_but_the_next_is_not(
    fresh: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """A server may reject one name that other servers accept."""
    _save(fresh, proxy, "a.txt", "b.txt")
    proxy.fault(BATCH, Answer(400, "MalformedXML"))
    assert fresh.delete_many(["a.txt", "b.txt"]) == {}
    assert proxy.operations() == [BATCH, SINGLE, SINGLE]
    assert _delete(fresh, proxy) == ([BATCH], {})


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "AccessDenied"),
        (404, "NoSuchBucket"),
        (404, "NoSuchTenant"),
        (409, "OperationNotPermitted"),
    ],
)
def test_other_error_is_reported_and_forgotten(
    fresh: S3DeliveryStore, proxy: HttpProxy, status: int, code: str
) -> None:
    """Single requests would fail, too. The next batch is tried."""
    _save(fresh, proxy, "a.txt", "b.txt")
    proxy.fault(BATCH, Answer(status, code))
    assert list(fresh.delete_many(["a.txt", "b.txt"])) == ["a.txt", "b.txt"]
    assert proxy.operations() == [BATCH]
    proxy.forget()
    assert fresh.delete_many(["a.txt", "b.txt"]) == {}
    assert proxy.operations() == [BATCH]


def test_temporary_error_is_retried_as_a_batch(fresh: S3DeliveryStore, proxy: HttpProxy) -> None:
    _save(fresh, proxy, "a.txt", "b.txt")
    proxy.fault(BATCH, Answer(503, "SlowDown"))
    assert fresh.delete_many(["a.txt", "b.txt"]) == {}
    assert proxy.operations() == [BATCH, BATCH]


def test_refusal_is_forgotten_if_nothing_can_be_deleted(
    fresh: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """It says nothing about batches then."""
    _save(fresh, proxy, "a.txt")
    proxy.fault(BATCH, Answer(400, "InvalidRequest"))
    proxy.fault(SINGLE, Answer(400, "InvalidRequest"))
    assert list(fresh.delete_many(["a.txt"])) == ["a.txt"]
    proxy.forget()
    assert fresh.delete_many(["a.txt"]) == {}
    assert proxy.operations() == [BATCH]


def test_single_deletions_end_when_the_server_is_unavailable(
    fresh: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """Otherwise a purge of a thousand files would wait a thousand times."""
    _save(fresh, proxy, "a.txt", "b.txt", "c.txt")
    patient = S3DeliveryStore(**{**fresh._given, "attempts": 1})
    proxy.fault(BATCH, Answer(501, "NotImplemented"))
    proxy.fault(SINGLE, Answer(204, ""))
    proxy.fault(SINGLE, Answer(503, "SlowDown"))
    failures = patient.delete_many(["a.txt", "b.txt", "c.txt"])
    assert {name: type(failure) for name, failure in failures.items()} == {
        "b.txt": StoreUnavailable,
        "c.txt": StoreUnavailable,
    }
    assert proxy.operations() == [BATCH, SINGLE, SINGLE]


@pytest.mark.parametrize("carried_out", [True, False])
def test_names_missing_from_response_are_checked(
    store: S3DeliveryStore, proxy: HttpProxy, carried_out: bool
) -> None:
    """A file that is gone counts as deleted; a file that still exists is an error."""
    _save(store, proxy, "a.txt", "b.txt")
    proxy.fault("DeleteObjects", empty_result(carried_out))
    failures = store.delete_many(["a.txt", "b.txt"])
    assert proxy.operations() == ["DeleteObjects", "HeadObject", "HeadObject"]
    assert list(failures) == ([] if carried_out else ["a.txt", "b.txt"])
    for failure in failures.values():
        assert isinstance(failure, StoreFailure)
        assert "does not name the file, and the file still exists" in str(failure)


def test_failed_check_is_reported_for_all_remaining_names(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """Otherwise a thousand names would wait for a server that does not respond."""
    _save(store, proxy, "a.txt", "b.txt")
    proxy.fault("DeleteObjects", empty_result(True))
    proxy.fault("HeadObject", Answer(403, "AccessDenied"))
    failures = store.delete_many(["a.txt", "b.txt"])
    assert proxy.operations() == ["DeleteObjects", "HeadObject"]
    assert {type(failure) for failure in failures.values()} == {StoreDenied}
    assert list(failures) == ["a.txt", "b.txt"]


def test_characters_invalid_in_xml_are_detected() -> None:
    """XML 1.0 permits Char (https://www.w3.org/TR/xml/#charsets), and all above U+FFFF."""
    for code in range(0x10000):
        character = chr(code)
        try:
            validate_storage_name(f"a{character}a")
        except InvalidName:
            continue
        in_xml = 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD
        assert bool(NOT_IN_XML.search(character)) is not in_xml, ascii(character)
