"""Races on S3: small files, files in parts and copies, on SeaweedFS and Ceph: no file is lost."""

from __future__ import annotations

import hashlib
import os
from itertools import chain

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import Storage

from devilry_storage.storages import S3DeliveryStore
from devilry_storage.testing import PlainFileMeta
from tests.harness.proofs import count, report
from tests.harness.s3servers import need

from . import s3stores
from .locations import bucket_location
from .racing import (
    Act,
    Prepare,
    Saved,
    acknowledged_names,
    any_overlap,
    broken,
    race_of_many,
    save_one_name,
)

pytestmark = pytest.mark.slow

SMALL = s3stores.THRESHOLD // 2
ONE_PART = s3stores.THRESHOLD + 1
TWO_PARTS = s3stores.PART + 1


def copy_to_one_key(store: Storage, number: int) -> Act:
    """Return a side of a race that copies its own file to a shared key."""
    assert isinstance(store, S3DeliveryStore)
    data = os.urandom(1000)
    source = PlainFileMeta(store, number, 2 + os.getpid())
    with store.write_open(source) as writer:
        writer.write(data)
    target = PlainFileMeta(store, number, 1)

    def act() -> Saved:
        store.copy(source, target)
        return Saved(str(target.content), hashlib.sha256(data).hexdigest())

    return act


def saves(size: int) -> Prepare:
    return save_one_name(ContentFile, size)


def is_found(make: s3stores.Make, writers: int, side: Prepare) -> bool:
    """Race until a store breaks its promise, at most 100 times.

    A broken store usually fails within ten races, but not always.
    """

    def is_broken() -> bool:
        with bucket_location(need(s3stores.SERVER), make) as location:
            return broken(location, chain(*race_of_many(location, [side] * writers, 10))) != []

    return any(is_broken() for _ in range(10))


def prove(server: str, proof: str, writers: int, side: Prepare) -> None:
    """Race 40 times: each acknowledged file can be read under its name; names are unique.

    A hit is a race in which writers overlapped in time and got different names.
    """
    make = s3stores.in_parts_on_ceph if server == "ceph" else s3stores.in_parts
    tried = count(40, 3)
    with bucket_location(need(server), make) as location:
        runs = race_of_many(location, [side] * writers, tried)
        bad = broken(location, chain(*runs))
    bad += [f"duplicate name: {race}" for race in runs if len(acknowledged_names(race)) < writers]
    met = sum(any_overlap(race) and len(acknowledged_names(race)) > 1 for race in runs)
    report(proof, tried=tried, hit=met, bad=bad)
    assert met >= 0.5 * tried


@pytest.mark.parametrize(
    ("writers", "kind", "side"),
    [
        (2, "small", saves(SMALL)),
        (8, "small", saves(SMALL)),
        (2, "parts", saves(TWO_PARTS)),
        (8, "parts", saves(ONE_PART)),
        (2, "copies", copy_to_one_key),
    ],
    ids=["2-small", "8-small", "2-parts", "8-parts", "2-copies"],
)
def test_concurrent_writers_of_one_name_keep_all_files(
    writers: int, kind: str, side: Prepare
) -> None:
    """SeaweedFS honours conditions, but completes uploads in parts without a lock."""
    prove("seaweedfs", f"s3-race-{writers}-{kind}", writers, side)


@pytest.mark.only_full  # needs Ceph
@pytest.mark.parametrize(
    ("kind", "side"),
    [("small", saves(SMALL)), ("parts", saves(TWO_PARTS)), ("copies", copy_to_one_key)],
    ids=["small", "parts", "copies"],
)
def test_concurrent_writers_on_ceph_keep_all_files(kind: str, side: Prepare) -> None:
    """Ceph honours only the condition of PutObject."""
    prove("ceph", f"s3-ceph-race-{kind}", 2, side)


@pytest.mark.parametrize("size", [SMALL, TWO_PARTS])
@pytest.mark.parametrize("make", [s3stores.check_then_act, s3stores.django_storages])
def test_harness_detects_a_store_that_checks_before_it_writes(
    make: s3stores.Make, size: int
) -> None:
    """The same harness fails without conditional writes, and on S3Storage."""
    assert is_found(make, 2, saves(size))


def test_harness_detects_copies_that_share_a_name() -> None:
    """It also fails if copies go to the name that is asked for."""
    assert is_found(s3stores.check_then_act, 2, copy_to_one_key)
