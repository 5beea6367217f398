"""Never overwritten on S3 either, in one request or in parts, by two writers or by eight."""

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
    """Let so many processes, each with a client of its own, save under one name at once."""
    return race_of_many(location, [save_one_name(ContentFile, size)] * writers, races)


def is_found(make: s3stores.Make, writers: int, size: int) -> bool:
    """Race until a store is seen to break its promise, at most 100 times.

    It breaks it most of the time, but not in each ten races: chance is no proof of innocence.
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
def test_writers_of_one_name_all_keep_their_upload(
    writers: int, kind: str, size: int, make: s3stores.Make
) -> None:
    """40 races: each acknowledged upload is read under the name it was told, no two share one.

    A hit is a race in which saves overlapped in time and one took an alternative name.
    """
    tried = count(40, 3)
    with bucket_location(need(s3stores.SERVER), make) as location:
        runs = races_for_one_name(location, writers, size, tried)
        bad = broken(location, chain(*runs))
    bad += [f"a name twice: {race}" for race in runs if len(acknowledged_names(race)) < writers]
    met = sum(any_overlap(race) and len(acknowledged_names(race)) > 1 for race in runs)
    report(f"s3-race-{writers}-{kind}", tried=tried, hit=met, bad=bad)
    assert met >= 0.5 * tried


@pytest.mark.parametrize("size", [SMALL, TWO_PARTS])
@pytest.mark.parametrize("make", [s3stores.check_then_act, s3stores.django_storages])
def test_the_races_find_a_store_that_looks_first_and_writes_then(
    make: s3stores.Make, size: int
) -> None:
    """The same harness fails without the condition: ours with allow_races, and S3Storage."""
    assert is_found(make, 2, size)


def test_the_races_find_a_server_that_looks_first_and_completes_then() -> None:
    """The same harness fails on SeaweedFS, unless its completions come in turn.

    Once it completes in one step, which makes this fail, the proof above needs no turns.
    """
    assert is_found(s3stores.in_parts, 8, ONE_PART)
