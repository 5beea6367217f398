"""Stores whose location follows the tenant."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile, File
from django.utils import timezone

from devilry_storage.checks.stores import check_stores
from devilry_storage.deliveries.models import FileMeta
from devilry_storage.storages import DeliveryStoreMixin, FsHierDeliveryStore
from devilry_storage.testing import PlainFileMeta

from ..harness import s3servers
from ..harness.tenants import (
    BasedStore,
    LocatedStore,
    TenantFileSystemStorage,
    TenantStore,
    s3_stores,
    tenant,
)
from ..ordinary.conftest import fields

TENANTS = ("alpha", "beta")
ON_DISK: dict[str, Any] = {kind.__name__: kind for kind in (LocatedStore, BasedStore, TenantStore)}
ON_S3 = ("LocatedS3", "ReadOnlyS3", "OverridingS3", "BucketS3")
MIB = 1 << 20


@pytest.fixture(
    params=[*ON_DISK, *(pytest.param(name, marks=pytest.mark.servers) for name in ON_S3)]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param in ON_DISK:
        return ON_DISK[request.param](location=str(tmp_path), base_url="/files/")
    server = s3servers.need("moto")
    bucket = server.bucket()
    for name in TENANTS:
        server.client().create_bucket(Bucket=f"{bucket}-{name}")
    transfer = pytest.importorskip("boto3.s3.transfer")
    config = transfer.TransferConfig(multipart_threshold=MIB)
    with tenant("alpha"):
        return s3_stores()[request.param](**server.options(bucket), transfer_config=config)


def file(data: bytes) -> ContentFile[bytes]:
    return ContentFile(data)


def read(store: Any, name: str) -> bytes:
    with store.open(name) as opened:
        data: bytes = opened.read()
        return data


def contents(store: Any, name: str) -> dict[str, bytes]:
    """Return the bytes of all files of a tenant, by name."""
    with tenant(name):
        return {entry.name: b"".join(store.stream(entry.name)) for entry in store.scan()}


def test_operations_use_the_location_of_the_tenant(store: Any, subtests: pytest.Subtests) -> None:
    """A name that one tenant uses is free for the other, and shows each its own file."""
    large = {name: name.encode() * MIB + bytes(MIB) for name in TENANTS}  # in parts
    names = {}
    for name in TENANTS:
        with tenant(name):
            for path, data in (("a/b", name.encode()), (f"of/{name}", b"")):
                assert store.save(path, file(data)) == path
            names[name] = store.save("large", file(large[name]))
    for name in TENANTS:
        with subtests.test(name), tenant(name):
            data = name.encode()
            assert read(store, "a/b") == b"".join(store.stream("a/b")) == data
            assert read(store, names[name]) == large[name]
            assert store.size("a/b") == len(data)
            assert [store.exists(f"of/{other}") for other in TENANTS] == [
                name == other for other in TENANTS
            ]
            assert store.listdir("of") == ([], [name])
            assert [entry.name for entry in store.page("of").files] == [f"of/{name}"]
            assert {entry.name for entry in store.scan()} == {"a/b", names[name], f"of/{name}"}
            assert name in store.location_text() + store.url("a/b")
            source, target = (PlainFileMeta(store, 1, number) for number in (1, 2))
            with store.write_open(source) as writer:
                writer.write(data)
            store.copy(source, target)
            assert source.content == store.layout.key(1, 1)
            duplicate = store.duplicate(target.content, target.content)
            assert read(store, duplicate) == data
            with store.open("a/b", "wb") as writer:
                writer.write(data * 2)
            assert read(store, "a/b") == data * 2
    with tenant("alpha"):
        store.delete("a/b")
        assert store.delete_many([names["alpha"], "of/alpha", "of/beta"]) == {}
        assert not any(store.exists(path) for path in ("a/b", names["alpha"], "of/alpha"))
    assert contents(store, "beta").keys() >= {"a/b", names["beta"], "of/beta"}


def test_open_files_keep_the_location_of_their_opening(store: Any) -> None:
    with tenant("beta"):
        store.save("a", file(b"beta"))
    row, large = PlainFileMeta(store, 1, 1), PlainFileMeta(store, 1, 2)
    with tenant("alpha"):
        name = store.save("a", file(b"alpha" * MIB))
        reader = store.open(name)
        stream, listing = store.stream(name), store.scan()
        writer, row_writer, large_writer = (
            store.open("b", "wb"),
            store.write_open(row),
            store.write_open(large),
        )
        own = store.own_objects
    with tenant("beta"):
        assert reader.read(5) == b"alpha"
        reader.close()
        with reader.open() as again:
            assert again.read() == b"alpha" * MIB
        assert next(stream)[:5] == b"alpha"
        assert [entry.size for entry in listing] == [5 * MIB]
        writer.write(b"b")
        row_writer.write(b"row")
        large_writer.write(bytes(6 * MIB))
        for opened in (writer, row_writer, large_writer):
            opened.close()
        assert own.create("note", b"alpha")
        assert store.own_objects.read("note") is None
        assert store.own_objects.location != own.location
    assert contents(store, "beta") == {"a": b"beta"}
    assert contents(store, "alpha") == {
        name: b"alpha" * MIB,
        "b": b"b",
        row.content: b"row",
        large.content: bytes(6 * MIB),
    }
    with tenant("alpha"):
        assert store.own_objects.read("note") == b"alpha"


class TenantSource(File):  # type: ignore[type-arg]
    """Content that is read from another tenant."""

    def __init__(self, tenant_: str, data: bytes) -> None:
        super().__init__(None, "a")
        self.tenant, self.data = tenant_, data

    def __bool__(self) -> bool:
        return True

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        with tenant(self.tenant):
            for start in range(0, len(self.data), MIB):
                yield self.data[start : start + MIB]


@pytest.mark.parametrize("method", ["save", "_save"])
def test_source_that_reads_in_another_tenant_does_not_move_the_save(
    store: Any, method: str, subtests: pytest.Subtests
) -> None:
    """A name is free if the tenant that saves does not use it."""
    if method == "_save":  # of a subclass
        store.__class__ = type("Saving", (type(store),), {"_save": _forward})
    for size in (1, 6 * MIB):
        with subtests.test(str(size)):
            for name in TENANTS:
                with tenant(name):
                    store.delete_many([entry.name for entry in store.scan()])
            with tenant("beta"):
                store.save("a", file(b"beta"))
            with tenant("alpha"):
                names = [store.save("a", TenantSource("beta", b"x" * size)) for _ in range(2)]
            assert names[0] == "a" or size > MIB  # on S3, a large file gets another name
            assert contents(store, "beta") == {"a": b"beta"}
            assert contents(store, "alpha") == dict.fromkeys(names, b"x" * size)


def _forward(store: Any, name: str, content: Any) -> str:
    saved: str = super(type(store), store)._save(name, content)
    return saved


@pytest.mark.parametrize("attribute", ["location", "base_location"])
def test_location_of_a_tenant_may_have_a_slash_or_be_relative(
    attribute: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """Also at the first save, which makes the folder, and for the identity of the store."""
    monkeypatch.chdir(tmp_path)
    for value in (f"{tmp_path}/alpha/", "beta/c", "./d/", f"{tmp_path}/e/../f//"):
        with subtests.test(value):
            own = {attribute: property(lambda store, value=value: value)}  # type: ignore[misc]
            store: Any = type("Own", (FsHierDeliveryStore,), own)()
            assert store.save("a", file(b"a")) == "a"
            assert Path(value, "a").resolve().read_bytes() == read(store, "a") == b"a"
            assert store.own_objects.location == os.path.abspath(value)


class FirstStore(FsHierDeliveryStore, TenantFileSystemStorage):  # type: ignore[misc]
    """The location of the tenant has no effect."""


class BothStore(FirstStore):
    location = TenantFileSystemStorage.location
    base_location = TenantFileSystemStorage.base_location


@pytest.mark.parametrize(
    ("kind", "ignored"),
    [
        (FirstStore, ["base_location", "location"]),
        *((kind, []) for kind in (BothStore, *ON_DISK.values(), FsHierDeliveryStore)),
    ],
)
def test_class_that_ignores_the_location_of_the_tenant_is_a_warning(
    kind: Any, ignored: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W015, for stores of models of files and of ordinary fields."""
    store = kind(location=str(tmp_path))
    for field in (FileMeta._meta.get_field("content"), fields()[0]):
        with monkeypatch.context() as patch:
            patch.setattr(field, "given_storage", store, raising=False)
            patch.setattr(field, "storage", store, raising=False)
            found = [message for message in check_stores() if message.id == "devilry_storage.W015"]
        assert len(found) == bool(ignored)
        for message in found:
            assert f"{' and '.join(ignored)} of TenantFileSystemStorage" in message.msg


@pytest.mark.servers
def test_abandoned_uploads_are_removed_from_the_location_of_the_call() -> None:
    server = s3servers.need("moto")
    store = s3_stores()["LocatedS3"](**server.options(server.bucket()))
    for name in TENANTS:
        with tenant(name):
            store.remote.call("create_multipart_upload", f"of-{name}")
    with tenant("alpha"):
        removed = store.remove_stale_uploads(timezone.now() + timedelta(days=1))
    with tenant("beta"):
        assert list(removed) == ["of-alpha"]


@pytest.mark.servers
def test_impossible_location_of_a_tenant_is_an_error() -> None:
    server = s3servers.need("moto")
    store = s3_stores()["LocatedS3"](**server.options(server.bucket()))
    for name in ("..", "a//b"):
        with tenant(name), pytest.raises(ImproperlyConfigured, match="location"):
            store.save("a", file(b"a"))


class OwnStore(DeliveryStoreMixin, TenantFileSystemStorage):
    atomic_create = False


def test_writer_of_an_own_store_is_refused_at_another_location(tmp_path: Path) -> None:
    """The mixin cannot fix the location of a backend."""
    store = OwnStore(location=str(tmp_path))
    row = PlainFileMeta(store, 1, 1)
    with tenant("alpha"):
        writer = store.write_open(row)
    writer.write(b"alpha")
    with tenant("beta"), pytest.raises(RuntimeError, match="with_fixed_location"):
        writer.close()
    assert contents(store, "beta") == {}
    with tenant("alpha"), store.write_open(row) as writer:
        writer.write(b"alpha")
    assert list(contents(store, "alpha").values()) == [b"alpha"]


def test_copy_with_fixed_location_is_of_the_same_class(tmp_path: Path) -> None:
    store = FsHierDeliveryStore(location=str(tmp_path), interval=7, durable=False)
    fixed = store.with_fixed_location()
    assert type(fixed) is FsHierDeliveryStore
    assert fixed.layout == store.layout
    assert fixed.configuration() == store.configuration()
