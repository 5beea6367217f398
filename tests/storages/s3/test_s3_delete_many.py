"""Many files removed from S3 at once, whatever they are called."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from django.core.files.base import ContentFile

from devilry_storage.exceptions import InvalidName, StoreDenied, StoreFailure
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


def silent(carried_out: bool) -> Replace:
    """Return what lets the response name no key."""
    return Replace(
        lambda reply: wire(replace(reply, body=b"<DeleteResult/>")), reaches=carried_out
    )


def _saved(store: S3DeliveryStore, proxy: HttpProxy, *names: str) -> None:
    for name in names:
        assert store.save(name, ContentFile(b"x")) == name
    proxy.forget()


def test_hostile_names_are_removed_and_refused_ones_told(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """All of the table by one request, but for the few that XML cannot carry."""
    # To this server a name cannot be a file and a folder.
    folders = {
        folder.rstrip("/")
        for line in ACCEPTED
        for folder in itertools.accumulate(f"{part}/" for part in line.name.split("/")[:-1])
    }
    names = [line.name for line in ACCEPTED if line.name not in folders]
    _saved(store, proxy, *names)
    refused = [line.name for line in REFUSED]
    failures = store.delete_many([*refused, *names])
    assert {name: type(failure) for name, failure in failures.items()} == dict.fromkeys(
        refused, InvalidName
    )
    alone = sum(bool(NOT_IN_XML.search(name)) for name in names)
    assert alone >= 2
    assert sorted(proxy.operations()) == ["DeleteObject"] * alone + ["DeleteObjects"]
    assert [entry.name for entry in store.scan()] == ["warm.txt"]


def test_file_whose_size_cannot_be_asked_is_kept(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """It is a failure of its own; the others are removed."""
    _saved(store, proxy, "a.txt", "b.txt")
    proxy.fault("HeadObject", Answer(403, "AccessDenied"), 1)
    failures = store.delete_many(["a.txt", "b.txt"], sizes={"a.txt": 1, "b.txt": 1})
    assert {name: type(failure) for name, failure in failures.items()} == {"a.txt": StoreDenied}
    assert {entry.name for entry in store.scan()} == {"a.txt", "warm.txt"}


def test_a_name_that_xml_cannot_carry_does_not_keep_the_others(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """A server of S3 answers 400 to all of a batch with such a name in it."""
    _saved(store, proxy, "a.txt", *NONCHARACTERS)
    assert store.delete_many(["a.txt", *NONCHARACTERS]) == {}
    assert [store.exists(name) for name in ("a.txt", *NONCHARACTERS)] == [False] * 3


def test_what_fails_alone_is_told_with_its_name(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    _saved(store, proxy, "a.txt", *NONCHARACTERS)
    proxy.fault("DeleteObject", Answer(403, "AccessDenied"))
    failures = store.delete_many(["a.txt", *NONCHARACTERS])
    assert list(failures) == NONCHARACTERS[:1]
    assert isinstance(failures[NONCHARACTERS[0]], StoreDenied)


def test_a_batch_that_the_server_cannot_read_goes_one_by_one(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """Its XML may be stricter than that of others."""
    _saved(store, proxy, "a.txt", "b.txt")
    proxy.fault("DeleteObjects", Answer(400, "MalformedXML"))
    assert store.delete_many(["a.txt", "b.txt"]) == {}
    assert proxy.operations() == ["DeleteObjects", "DeleteObject", "DeleteObject"]
    assert [entry.name for entry in store.scan()] == ["warm.txt"]


@pytest.mark.parametrize("carried_out", [True, False])
def test_names_that_a_response_leaves_out_are_looked_at(
    store: S3DeliveryStore, proxy: HttpProxy, carried_out: bool
) -> None:
    """What is gone is removed; what is there is an error, not a success."""
    _saved(store, proxy, "a.txt", "b.txt")
    proxy.fault("DeleteObjects", silent(carried_out))
    failures = store.delete_many(["a.txt", "b.txt"])
    assert proxy.operations() == ["DeleteObjects", "HeadObject", "HeadObject"]
    assert list(failures) == ([] if carried_out else ["a.txt", "b.txt"])
    for failure in failures.values():
        assert isinstance(failure, StoreFailure)
        assert "does not name the file, which is still there" in str(failure)


def test_look_that_fails_is_the_error_of_all_that_are_left(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """One by one a thousand names would wait for a server that does not respond."""
    _saved(store, proxy, "a.txt", "b.txt")
    proxy.fault("DeleteObjects", silent(True))
    proxy.fault("HeadObject", Answer(403, "AccessDenied"))
    failures = store.delete_many(["a.txt", "b.txt"])
    assert proxy.operations() == ["DeleteObjects", "HeadObject"]
    assert {type(failure) for failure in failures.values()} == {StoreDenied}
    assert list(failures) == ["a.txt", "b.txt"]


def test_of_valid_names_xml_cannot_carry_just_those_that_go_alone() -> None:
    """Char of XML 1.0 (https://www.w3.org/TR/xml/#charsets); above U+FFFF it has all."""
    for code in range(0x10000):
        character = chr(code)
        try:
            validate_storage_name(f"a{character}a")
        except InvalidName:
            continue
        in_xml = 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD
        assert bool(NOT_IN_XML.search(character)) is not in_xml, ascii(character)
