"""No file is overwritten: small ones have conditions, large ones and copies names of their own.

``rclone serve s3`` ignores all conditions, and moto those of copies. ``test_s3_probe`` tests what
the command reports.
"""

from __future__ import annotations

import functools
import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.files.storage import Storage

from devilry_storage.exceptions import ConditionalWritesIgnored
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3 import writing
from devilry_storage.testing import PlainFileMeta

from ...harness import s3servers
from ...harness.http_faults import Answer
from ...harness.http_proxy import HttpProxy

pytestmark = pytest.mark.servers

PART = 5 << 20
SMALL_PARTS = TransferConfig(multipart_threshold=1000, multipart_chunksize=PART)
LARGE = b"x" * 1001
SHA256 = "0" * 64


def on(server: str, cls: type[S3DeliveryStore] = S3DeliveryStore, **more: Any) -> S3DeliveryStore:
    """Return a store, by default with a new location that this process has not tested yet."""
    options = {**s3servers.need(server).options(_bucket(server)), "location": uuid.uuid4().hex}
    return cls(transfer_config=SMALL_PARTS, **{**options, **more})


@functools.cache
def _bucket(server: str) -> str:
    return s3servers.get(server).bucket()


# -- Small files --


def save_small(store: S3DeliveryStore) -> None:
    store.save("a.txt", ContentFile(b"data"))


def write_open(store: S3DeliveryStore) -> None:
    with store.write_open(PlainFileMeta(store, 1005, 17)) as writer:
        writer.write(b"data")


def create_own(store: S3DeliveryStore) -> None:
    assert store.own_objects is not None
    store.own_objects.create("store.json", b"{}")


@pytest.mark.parametrize("write", [save_small, write_open, create_own])
def test_no_small_file_if_server_ignores_conditions(
    write: Callable[[S3DeliveryStore], None],
) -> None:
    """Every way to create a small file tests the server first. The message says what to do."""
    store = on("rclone")
    for _ in range(2):  # the error is repeated
        with pytest.raises(ConditionalWritesIgnored) as raised:
            write(store)
        assert "ignores If-None-Match in put_object" in str(raised.value)
        assert f"bucket {store.bucket_name!r}" in str(raised.value)
        assert "Use another server." in str(raised.value)
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


def test_server_overwrites_silently_without_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the trial, two saves return the same name, and one file is lost."""
    monkeypatch.setattr(writing, "require_conditions", lambda bucket: None)
    store = on("rclone")
    assert store.save("a.txt", ContentFile(b"first")) == "a.txt"
    assert store.save("a.txt", ContentFile(b"other")) == "a.txt"
    assert b"".join(store.stream("a.txt")) == b"other"


def test_trial_has_the_same_result_twice() -> None:
    """The second time, the marker exists."""
    honoured = {
        server: [writing.honours_conditions(store.remote) for _ in range(2)]
        for server, store in ((name, on(name)) for name in ("seaweedfs", "moto", "rclone"))
    }
    assert honoured == {"seaweedfs": [True] * 2, "moto": [True] * 2, "rclone": [False] * 2}


# -- Names of large files and copies --


class Counting(S3DeliveryStore):
    """Makes the same alternative names in each process."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.numbers = itertools.count(1)

    def get_alternative_name(self, file_root: str, file_ext: str) -> str:
        # An alternative of a key that is not a key, whatever the size of the file.
        return f"{file_root}-{next(self.numbers)}{file_ext}"


class Dated(S3DeliveryStore):
    """Chooses a name itself, the same in each process."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return f"2026/{name}"


class Asked(S3DeliveryStore):
    """Returns alternative names itself."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return super().get_available_name(name, max_length)


class Saving(S3DeliveryStore):
    """Has a step of its own, which gets no ``max_length``."""

    def _save(self, name: str, content: Any) -> str:
        return super()._save(name, content)


def save(store: S3DeliveryStore) -> str:
    return store.save("a.bin", ContentFile(LARGE))


def save_key(store: S3DeliveryStore) -> str:
    return store.save(store.layout.key(1005, 17), ContentFile(LARGE))


def save_used_key(store: S3DeliveryStore) -> str:
    """Save under a key that a small file has."""
    key = store.layout.key(1005, 17)
    if not store.exists(key):
        store.remote.call("put_object", key, Body=b"small")
    return store.save(key, ContentFile(LARGE))


def save_within(store: S3DeliveryStore) -> str:
    return store.save("folder/a-long-name.bin", ContentFile(LARGE), max_length=28)


def write(store: S3DeliveryStore) -> str:
    with store.write_open(filemeta := PlainFileMeta(store, 1005, 17)) as writer:
        writer.write(LARGE)
    return str(filemeta.content)


def replace(store: S3DeliveryStore) -> str:
    """Store new content of a file that has content already."""
    filemeta = PlainFileMeta(store, 1005, 17, content=store.layout.key(1005, 17))
    with store.write_open(filemeta) as writer:
        writer.write(LARGE)
    return str(filemeta.content)


def copy(store: S3DeliveryStore) -> str:
    source = PlainFileMeta(store, 1, 1, content=source_in(store))
    source.size, source.sha256 = len(LARGE), SHA256
    store.copy(source, target := PlainFileMeta(store, 1005, 17))
    return str(target.content)


def duplicate(store: S3DeliveryStore) -> str:
    key = store.layout.key(1005, 17)
    return store.duplicate(source_in(store), key, size=len(LARGE), sha256=SHA256)


def source_in(store: S3DeliveryStore) -> str:
    store.remote.call("put_object", "0/0/1/1", Body=LARGE)
    return "0/0/1/1"


WAYS = [save, save_key, save_used_key, save_within, write, replace, copy, duplicate]
SENT = {"CreateMultipartUpload", "CompleteMultipartUpload", "CopyObject"}


@pytest.fixture
def proxy() -> Iterator[HttpProxy]:
    with HttpProxy(s3servers.need("moto").endpoint_url) as proxy:
        yield proxy


@pytest.mark.parametrize("cls", [S3DeliveryStore, Counting, Dated, Asked, Saving])
@pytest.mark.parametrize("way", WAYS)
def test_large_files_and_copies_share_no_name(
    way: Callable[[S3DeliveryStore], str], cls: type[S3DeliveryStore], proxy: HttpProxy
) -> None:
    """Each writer sends its requests to a name of its own, whatever the site overrides.

    So it does not matter whether the server honours conditions, which are not even sent.
    """
    more = {"endpoint_url": proxy.endpoint_url, "location": uuid.uuid4().hex}
    names, targets = [], []
    for _ in range(2):  # with a store of its own, as another process has
        store = on("moto", cls, **more)
        proxy.forget()
        names.append(way(store))
        sent = [request for request in proxy.requests if request.operation in SENT]
        targets.append({request.path.partition(f"{more['location']}/")[2] for request in sent})
        assert not any("if-none-match" in request.headers for request in sent)
        assert b"".join(store.stream(names[-1])) == LARGE
    assert targets == [{name} for name in names]
    assert len({*names, "a.bin", "2026/a.bin", store.layout.key(1005, 17)}) == 5
    assert {type(name) for name in names} == {str}
    if way is save_within:
        assert max(map(len, names)) <= 28
    elif way is not save and (way is not replace or cls is not Counting):
        assert {store.layout.parse(name.removeprefix("2026/")) for name in names} == {(1005, 17)}
        if cls is not Dated:
            head = store.remote.call("head_object", names[-1])
            assert head["ContentDisposition"] == "attachment"


@pytest.mark.parametrize("way", [save, copy])
def test_alternative_name_that_is_used_is_not_overwritten(
    way: Callable[[S3DeliveryStore], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store looks for the name before it sends a byte, and takes another one."""
    suffixes = iter(["_taken", "_taken", "_free"])
    monkeypatch.setattr(
        Storage, "get_alternative_name", lambda self, root, ext: f"{root}{next(suffixes)}{ext}"
    )
    store = on("moto")
    taken = "a_taken.bin" if way is save else f"{store.layout.key(1005, 17)}_taken"
    store.remote.call("put_object", taken, Body=b"another's")
    assert "_free" in way(store)
    assert b"".join(store.stream(taken)) == b"another's"


def test_max_length_without_room_for_a_suffix_is_an_error() -> None:
    """As for a name that is used."""
    store = on("moto")
    with pytest.raises(SuspiciousFileOperation):
        store.save("folder/a.bin", ContentFile(LARGE), max_length=12)
    assert list(store.scan()) == []


def test_large_ordinary_file_is_replaced_under_its_name() -> None:
    """A writer replaces the file, which is what its caller asked for."""
    store = on("moto")
    for data in (LARGE, LARGE * 2):
        with store.open("a.bin", "wb") as writer:
            writer.write(data)
        assert [entry.name for entry in store.scan()] == ["a.bin"]
        assert b"".join(store.stream("a.bin")) == data
