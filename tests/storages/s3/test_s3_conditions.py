"""A server that ignores conditional writes is found out, and nothing is written to it unasked.

``rclone serve s3`` is one. That the command and the check tell so is in ``test_info``.
"""

from __future__ import annotations

import functools
import unittest
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile

from devilry_storage.exceptions import ConditionalWritesIgnored
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.protocols import FLAGS
from devilry_storage.storages.s3 import conditions, writing
from devilry_storage.testing import PlainFileMeta

from ...conformance.test_conformance_s3 import S3Cases
from ...harness import s3servers
from ...harness.http_faults import Answer
from ...harness.http_proxy import HttpProxy

pytestmark = pytest.mark.servers

PART = 5 << 20
SMALL_PARTS = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
LARGE = b"x" * (PART + 1)


def on(server: str, **more: Any) -> S3DeliveryStore:
    """Return a store, by default at a place of which this process knows nothing yet."""
    place = {**s3servers.need(server).options(_bucket(server)), "location": uuid.uuid4().hex}
    return S3DeliveryStore(transfer_config=SMALL_PARTS, **{**place, **more})


@functools.cache
def _bucket(server: str) -> str:
    return s3servers.get(server).bucket()


def save_small(store: S3DeliveryStore) -> None:
    store.save("a.txt", ContentFile(b"data"))


def save_large(store: S3DeliveryStore) -> None:
    store.save("a.txt", ContentFile(LARGE))


def write_open(store: S3DeliveryStore) -> None:
    with store.write_open(PlainFileMeta(store, 1005, 17)) as writer:
        writer.write(b"data")


def copy(store: S3DeliveryStore) -> None:
    """Copy what somebody else has stored there."""
    source = PlainFileMeta(store, 1005, 17)
    with on("rclone", location=store.location, allow_races=True).write_open(source) as writer:
        writer.write(b"data")
    try:
        store.copy(source, PlainFileMeta(store, 1006, 18))
    finally:
        store.delete(str(source.content))


@pytest.mark.parametrize("write", [save_small, save_large, write_open, copy])
def test_nothing_is_written_where_conditions_are_ignored(
    write: Callable[[S3DeliveryStore], None],
) -> None:
    """Each way to create a file asks first; the words say which request, and the way on."""
    store = on("rclone")
    for _ in range(2):  # what is wrong is not forgotten
        with pytest.raises(ConditionalWritesIgnored) as raised:
            write(store)
        assert "ignores If-None-Match in " in str(raised.value)
        assert f"bucket {store.bucket_name!r}" in str(raised.value)
        assert "option " in str(raised.value)
    assert list(store.scan()) == []


def test_server_that_does_not_know_the_condition_is_refused() -> None:
    """It answers that this is not implemented, and stores nothing."""
    with HttpProxy(s3servers.need("seaweedfs").endpoint_url) as proxy:
        store = on("seaweedfs", endpoint_url=proxy.endpoint_url)
        proxy.fault("PutObject", Answer(501, "NotImplemented"))
        with pytest.raises(ConditionalWritesIgnored, match="If-None-Match in put_object"):
            save_small(store)
        assert list(store.scan()) == []


def test_the_refusal_is_an_error_of_a_save_and_of_a_configuration() -> None:
    """Who handles a failing save as OSError, and who looks for what is configured wrongly."""
    store = on("rclone")
    for expected in (OSError, ImproperlyConfigured):
        with pytest.raises(expected, match="ignores If-None-Match"):
            save_small(store)


def test_each_remedy_is_the_option_that_helps() -> None:
    """Copies through this machine do not mend saves; allowed races do."""
    with pytest.raises(ConditionalWritesIgnored, match="allow_races=True"):
        save_small(on("rclone", server_side_copy=False))
    store = on("rclone", allow_races=True)
    for write in (save_small, save_large, write_open, copy):
        write(store)


def test_copies_alone_may_be_what_a_server_ignores() -> None:
    """Moto's: files are stored, a copy is refused, and the option that is named helps."""
    store = on("moto")
    save_small(store)
    save_large(store)
    source, target = PlainFileMeta(store, 1005, 17), PlainFileMeta(store, 1006, 18)
    with store.write_open(source) as writer:
        writer.write(b"data")
    with pytest.raises(ConditionalWritesIgnored, match="server_side_copy=False"):
        store.copy(source, target)
    assert not target.content
    streaming = on("moto", location=store.location, server_side_copy=False)
    streaming.copy(source, target)
    assert streaming.read_open(target).read() == b"data"


@pytest.mark.parametrize("data", [b"first", LARGE], ids=["put", "complete"])
def test_unasked_the_server_overwrites_without_a_word(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the question saves from: without it two writers are told one name, one file is lost."""
    monkeypatch.setattr(writing, "require", lambda bucket, operation: None)
    # A look before, which a large file has, is no help against who is as quick.
    monkeypatch.setattr(S3DeliveryStore, "exists", lambda self, name: False)
    store = on("rclone")
    assert store.save("a.txt", ContentFile(data)) == "a.txt"
    assert store.save("a.txt", ContentFile(bytes(len(data)))) == "a.txt"
    assert b"".join(store.stream("a.txt")) == bytes(len(data))


def test_findings_are_what_the_server_does() -> None:
    """Of each request that can be conditional, on each server; asked anew each time."""
    honoured = {
        server: [holds for _ in range(2) for _, holds in conditions.findings(on(server).remote)]
        for server in ("seaweedfs", "moto", "rclone")
    }
    assert honoured == {
        "seaweedfs": [True, True, True] * 2,
        "moto": [True, True, False] * 2,
        "rclone": [False, False, False] * 2,
    }


class TestS3DeliveryStoreOnRclone(S3Cases):
    """With ``allow_races=True`` all but the promises that the flags take back."""

    __test__ = True
    server = "rclone"
    options = {"allow_races": True}

    # Its objects are files on a disk. It answers 500 where a folder has the name, and removes what
    # lies below.
    @unittest.expectedFailure
    def test_folder_is_not_overwritten(self) -> None:
        super().test_folder_is_not_overwritten()


def test_allowed_races_take_back_two_promises() -> None:
    """No others: these are what cannot be had without conditions."""
    store = on("rclone", allow_races=True)
    assert {flag for flag in FLAGS if getattr(store, flag) is False} == {
        "atomic_create",
        "atomic_copy",
    }
