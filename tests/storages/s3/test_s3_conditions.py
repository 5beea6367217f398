"""The store detects servers that ignore conditional writes, and does not write to them.

``rclone serve s3`` is such a server. ``test_info`` tests what the command and the check report.
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
    """Return a store, by default with a new location that this process has not tested yet."""
    options = {**s3servers.need(server).options(_bucket(server)), "location": uuid.uuid4().hex}
    return S3DeliveryStore(transfer_config=SMALL_PARTS, **{**options, **more})


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
    """Copy a file that another store has stored."""
    source = PlainFileMeta(store, 1005, 17)
    with on("rclone", location=store.location, allow_races=True).write_open(source) as writer:
        writer.write(b"data")
    try:
        store.copy(source, PlainFileMeta(store, 1006, 18))
    finally:
        store.delete(str(source.content))


@pytest.mark.parametrize("write", [save_small, save_large, write_open, copy])
def test_no_write_if_server_ignores_conditions(write: Callable[[S3DeliveryStore], None]) -> None:
    """Every way to create a file tests the server first. The message names request and option."""
    store = on("rclone")
    for _ in range(2):  # the error is repeated
        with pytest.raises(ConditionalWritesIgnored) as raised:
            write(store)
        assert "ignores If-None-Match in " in str(raised.value)
        assert f"bucket {store.bucket_name!r}" in str(raised.value)
        assert "option " in str(raised.value)
    assert list(store.scan()) == []


def test_server_without_conditional_writes_is_rejected() -> None:
    """The server responds with 501 NotImplemented, and nothing is stored."""
    with HttpProxy(s3servers.need("seaweedfs").endpoint_url) as proxy:
        store = on("seaweedfs", endpoint_url=proxy.endpoint_url)
        proxy.fault("PutObject", Answer(501, "NotImplemented"))
        with pytest.raises(ConditionalWritesIgnored, match="If-None-Match in put_object"):
            save_small(store)
        assert list(store.scan()) == []


def test_error_is_os_error_and_improperly_configured() -> None:
    """Handlers of failed saves catch OSError; handlers of wrong settings the other."""
    store = on("rclone")
    for expected in (OSError, ImproperlyConfigured):
        with pytest.raises(expected, match="ignores If-None-Match"):
            save_small(store)


def test_suggested_option_is_a_remedy() -> None:
    """Without server-side copies saves still fail; with allowed races they work."""
    with pytest.raises(ConditionalWritesIgnored, match="allow_races=True"):
        save_small(on("rclone", server_side_copy=False))
    store = on("rclone", allow_races=True)
    for write in (save_small, save_large, write_open, copy):
        write(store)


def test_server_may_ignore_conditions_of_copies_only() -> None:
    """On moto saves work and a copy raises; with the suggested option it works."""
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
def test_server_overwrites_silently_without_the_trial(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the trial, two saves return the same name, and one file is lost."""
    monkeypatch.setattr(writing, "require", lambda bucket, operation: None)
    # The check before a large upload does not help against a concurrent writer.
    monkeypatch.setattr(S3DeliveryStore, "exists", lambda self, name: False)
    store = on("rclone")
    assert store.save("a.txt", ContentFile(data)) == "a.txt"
    assert store.save("a.txt", ContentFile(bytes(len(data)))) == "a.txt"
    assert b"".join(store.stream("a.txt")) == bytes(len(data))


def test_findings_match_each_server() -> None:
    """The result for each conditional request of each server is the same the second time."""
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
    """Run the conformance suite with ``allow_races=True`` and its flags."""

    __test__ = True
    server = "rclone"
    options = {"allow_races": True}

    # Objects of rclone are files on a disk. If the name is a folder, it responds with 500 and
    # deletes the files in the folder.
    @unittest.expectedFailure
    def test_folder_is_not_overwritten(self) -> None:
        super().test_folder_is_not_overwritten()


def test_allow_races_clears_two_flags() -> None:
    """Only these two promises need conditional writes."""
    store = on("rclone", allow_races=True)
    assert {flag for flag in FLAGS if getattr(store, flag) is False} == {
        "atomic_create",
        "atomic_copy",
    }
