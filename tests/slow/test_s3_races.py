"""Races on S3, in one request or in parts, of two writers or eight: no file is overwritten."""

from __future__ import annotations

from itertools import chain

import pytest
from django.core.files.base import ContentFile

from tests.harness.proofs import count, report
from tests.harness.s3servers import need

from . import s3stores
from .locations import BucketLocation, bucket_location
from .racing import Run, acknowledged_names, any_overlap, broken, race_of_many, save_one_name

pytestmark = pytest.mark.slow

SMALL = s3stores.THRESHOLD // 2
ONE_PART = s3stores.THRESHOLD + 1
TWO_PARTS = s3stores.PART + 1


def races_for_one_name(
    location: BucketLocation, writers: int, size: int, races: int
) -> list[tuple[Run, ...]]:
    """Let ``writers`` processes, each with its own client, save under one name concurrently."""
    return race_of_many(location, [save_one_name(ContentFile, size)] * writers, races)


def is_found(make: s3stores.Make, writers: int, size: int) -> bool:
    """Race until a store breaks its promise, at most 100 times.

    A broken store usually fails within ten races, but not always.
    """

    def is_broken() -> bool:
        with bucket_location(need(s3stores.SERVER), make) as location:
            return broken(location, chain(*races_for_one_name(location, writers, size, 10))) != []

    return any(is_broken() for _ in range(10))


@pytest.mark.parametrize(
    ("writers", "kind", "size", "make"),
    [
        (2, "small", SMALL, s3stores.in_parts),
        (8, "small", SMALL, s3stores.in_parts),
        (2, "parts", TWO_PARTS, s3stores.in_parts_completed_in_turn),
        (8, "parts", ONE_PART, s3stores.in_parts_completed_in_turn),
    ],
)
def test_concurrent_saves_under_one_name_keep_all_files(
    writers: int, kind: str, size: int, make: s3stores.Make
) -> None:
    """40 races: each acknowledged upload can be read under the returned name; names are unique.

    A hit is a race in which saves overlapped in time and one took an alternative name.
    """
    tried = count(40, 3)
    with bucket_location(need(s3stores.SERVER), make) as location:
        runs = races_for_one_name(location, writers, size, tried)
        bad = broken(location, chain(*runs))
    bad += [f"duplicate name: {race}" for race in runs if len(acknowledged_names(race)) < writers]
    met = sum(any_overlap(race) and len(acknowledged_names(race)) > 1 for race in runs)
    report(f"s3-race-{writers}-{kind}", tried=tried, hit=met, bad=bad)
    assert met >= 0.5 * tried


@pytest.mark.parametrize("size", [SMALL, TWO_PARTS])
@pytest.mark.parametrize("make", [s3stores.check_then_act, s3stores.django_storages])
def test_harness_detects_a_store_that_checks_before_it_writes(
    make: s3stores.Make, size: int
) -> None:
    """The same harness fails without conditional writes: with allow_races, and on S3Storage."""
    assert is_found(make, 2, size)


def test_harness_detects_a_server_that_checks_before_it_completes() -> None:
    """The same harness fails on SeaweedFS if uploads are completed concurrently.

    Once completions are atomic in SeaweedFS, this test fails, and the proof above no longer needs
    to complete uploads in turn.
    """
    assert is_found(s3stores.in_parts, 8, ONE_PART)
