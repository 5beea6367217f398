"""Internal objects of a store: created once, read up to a limit, and never listed."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from django.core.files.base import ContentFile

from devilry_storage.exceptions import InvalidName, UnsafeEntry
from devilry_storage.storages import FsHierDeliveryStore, S3DeliveryStore
from devilry_storage.storages.protocols import LONGEST_OWN, OwnObjects
from devilry_storage.testing import MemoryDeliveryStore

from ..harness import s3servers
from ..harness.disk import store_at

KINDS = [
    "disk",
    pytest.param("moto", marks=pytest.mark.servers),
    pytest.param("seaweedfs", marks=pytest.mark.servers),
]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return an empty store."""
    if request.param == "disk":
        return store_at(tmp_path / "store")
    server = s3servers.need(request.param)
    options = {**server.options(server.bucket()), "location": "site"}
    return S3DeliveryStore(**options)


def own(store: Any) -> OwnObjects:
    objects: OwnObjects | None = store.own_objects
    assert objects is not None
    return objects


def test_object_is_created_once(store: Any) -> None:
    assert own(store).create("store.json", b"first")
    assert not own(store).create("store.json", b"second")
    assert own(store).read("store.json") == b"first"


def test_object_is_replaced(store: Any) -> None:
    for data in (b"a longer one", b"short", b""):
        own(store).replace("sites/1", data)
        assert own(store).read("sites/1") == data


def test_missing_object_is_read_as_none(store: Any) -> None:
    assert own(store).read("store.json") is None
    assert own(store).names("sites") == []


def test_names_lists_the_objects_of_a_folder(store: Any) -> None:
    for path in ("sites/2", "sites/1", "store.json"):
        own(store).create(path, b"{}")
    assert sorted(own(store).names("sites")) == ["1", "2"]


def test_read_returns_only_the_first_bytes_of_a_long_object(store: Any) -> None:
    own(store).create("store.json", b"x" * 100_000)
    assert own(store).read("store.json") == b"x" * (LONGEST_OWN + 1)


def test_own_objects_cannot_be_listed_or_named(store: Any) -> None:
    own(store).create("store.json", b"{}")
    own(store).create("sites/1", b"{}")
    assert list(store.scan()) == []
    assert store.listdir("") == ([], [])
    assert (store.page("").folders, store.page("").files) == ([], [])
    for operate in (
        store.open,
        store.size,
        store.delete,
        lambda name: store.save(name, ContentFile(b"data")),
    ):
        with pytest.raises(InvalidName):
            operate(".devilry-storage/store.json")
    assert own(store).read("store.json") == b"{}"


def test_only_one_of_many_creators_succeeds(store: Any) -> None:
    barrier = Barrier(8)

    def create(number: int) -> bool:
        barrier.wait()
        return own(store).create("store.json", str(number).encode())

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(create, range(8)))
    assert created.count(True) == 1
    assert own(store).read("store.json") == str(created.index(True)).encode()


def test_store_without_identity_has_no_own_objects(tmp_path: Path) -> None:
    assert FsHierDeliveryStore(str(tmp_path), identity=False).own_objects is None
    assert MemoryDeliveryStore().own_objects is None
    assert S3DeliveryStore(bucket_name="handins", identity=False).own_objects is None


def test_planted_symlink_is_not_followed(tmp_path: Path) -> None:
    objects = own(store_at(tmp_path / "store"))
    objects.create("store.json", b"{}")
    mark = tmp_path / "store" / ".devilry-storage" / "store.json"
    mark.rename(tmp_path / "outside")
    mark.symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafeEntry):
        objects.read("store.json")
    with pytest.raises(UnsafeEntry):
        objects.replace("store.json", b"new")
    assert (tmp_path / "outside").read_bytes() == b"{}"


def test_volume_changes_when_the_folder_is_exchanged(tmp_path: Path) -> None:
    root = tmp_path / "store"
    objects = own(store_at(root))
    assert objects.volume() is None
    objects.create("store.json", b"{}")
    first = objects.volume()
    assert first is not None
    root.rename(tmp_path / "away")
    assert objects.volume() is None
    shutil.copytree(tmp_path / "away", root)
    assert objects.volume() not in {None, first}
