"""Whole or absent on S3, whatever kills the writer, and what it leaves behind can be removed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.test.utils import override_settings

from devilry_storage.deletion import purge
from tests.harness.proofs import count, report
from tests.harness.s3servers import need

from . import s3stores
from .killing import Killed, kill_during_saves
from .places import BucketPlace, bucket_place

pytestmark = pytest.mark.slow

SIZE = 2 * s3stores.PART + 100_000
"""Bytes of an upload, which goes in three parts."""


def remove_stale_uploads(place: BucketPlace) -> Callable[[], list[str]]:
    """Return the tidying of a site: it lists what was left, then removes it, unseen by readers."""
    store: Any = place.store()

    def tidy() -> list[str]:
        left, now = place.uploads(), datetime.now(timezone.utc)
        shown = {entry.name for entry in store.scan()}
        complaints = [f"{name} is seen" for name in left if name in shown or store.exists(name)]
        for dry_run in (True, False):
            told = list(store.remove_stale_uploads(now, dry_run=dry_run))
            if sorted(told) != sorted(left):
                complaints.append(f"told {told} of {left}")
        complaints += [f"{name} is still there" for name in place.uploads()]
        return complaints

    return tidy


def purge_of_all_uploads(place: BucketPlace) -> Callable[[], list[str]]:
    """Return the tidying of a site that purges, in which no upload is too young to be stale."""
    deliveries = {
        "BACKEND": "devilry_storage.storages.S3DeliveryStore",
        "OPTIONS": s3stores.options(place.bucket),
    }

    def tidy() -> list[str]:
        place.store().save("0/0/0/1", ContentFile(b"From an empty bucket nothing is removed."))
        left = place.uploads()
        time.sleep(1)  # the server's clock has no fractions of a second
        with override_settings(
            STORAGES={**settings.STORAGES, "deliveries": deliveries}, DELIVERY_STORE_GRACE_HOURS=0
        ):
            told = [event.subject for event in purge() if event.result == "upload"]
        complaints = [] if sorted(told) == sorted(left) else [f"told {told} of {left}"]
        return complaints + [f"{name} is still there" for name in place.uploads()]

    return tidy


Tidying = Callable[[BucketPlace], Callable[[], list[str]]]


def kill_uploads(
    make: s3stores.Make, kills: int, tidying: Tidying = remove_stale_uploads
) -> Killed:
    with bucket_place(need(s3stores.SERVER), make) as place:
        return kill_during_saves(place, kills, size=SIZE, tidy=tidying(place))


def test_a_killed_upload_shows_nothing_and_what_it_left_is_removed() -> None:
    """100 SIGKILLs during uploads in parts: nothing torn, nothing lost, no litter for ever.

    A hit is a kill that left an unfinished upload.
    """
    tried = count(100, 10)
    killed = kill_uploads(s3stores.in_parts, tried)
    bad = [*killed.torn, *killed.lost, *killed.complaints]
    report("s3-sigkill", tried=tried, hit=killed.within_a_save, bad=bad)
    assert killed.within_a_save >= 0.3 * tried
    assert killed.acknowledged > 0


@pytest.mark.django_db
def test_a_purge_removes_what_killed_uploads_left() -> None:
    """What a site runs each night leaves no upload unfinished for longer than the grace time."""
    killed = kill_uploads(s3stores.in_parts, 6, purge_of_all_uploads)
    assert killed.complaints == []
    assert killed.within_a_save > 0


def test_the_kills_find_a_store_that_shows_a_file_before_it_has_it() -> None:
    """The same harness is red on a store that writes half a file under its name first."""
    assert kill_uploads(s3stores.piecemeal, 15).torn != []


def test_the_kills_find_a_store_that_leaves_uploads_behind() -> None:
    """The same harness is red on a store that knows nothing of unfinished uploads."""
    assert kill_uploads(s3stores.littering, 10).complaints != []
