"""Killed writers on S3: no torn file, and unfinished uploads can be removed."""

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
from .locations import BucketLocation, bucket_location

pytestmark = pytest.mark.slow

SIZE = 2 * s3stores.PART + 100_000
"""Bytes of an upload with three parts."""


def remove_stale_uploads(location: BucketLocation) -> Callable[[], list[str]]:
    """Return a function that lists and then removes unfinished uploads, and checks both."""
    store: Any = location.store()

    def tidy() -> list[str]:
        left, now = location.uploads(), datetime.now(timezone.utc)
        shown = {entry.name for entry in store.scan()}
        complaints = [f"{name} is visible" for name in left if name in shown or store.exists(name)]
        for dry_run in (True, False):
            reported = list(store.remove_stale_uploads(now, dry_run=dry_run))
            if sorted(reported) != sorted(left):
                complaints.append(f"reported {reported}, not {left}")
        complaints += [f"{name} was not removed" for name in location.uploads()]
        return complaints

    return tidy


def purge_of_all_uploads(location: BucketLocation) -> Callable[[], list[str]]:
    """Return a function that purges unfinished uploads of any age, and checks the result."""
    deliveries = {
        "BACKEND": "devilry_storage.storages.S3DeliveryStore",
        "OPTIONS": s3stores.options(location.bucket),
    }

    def tidy() -> list[str]:
        location.store().save("0/0/0/1", ContentFile(b"Nothing is removed from an empty bucket."))
        left = location.uploads()
        time.sleep(1)  # the server's clock has no fractions of a second
        with override_settings(
            STORAGES={**settings.STORAGES, "deliveries": deliveries}, DELIVERY_STORE_GRACE_HOURS=0
        ):
            reported = [event.subject for event in purge() if event.result == "upload"]
        complaints = [f"{name} was not removed" for name in location.uploads()]
        if sorted(reported) != sorted(left):
            complaints.append(f"reported {reported}, not {left}")
        return complaints

    return tidy


Tidying = Callable[[BucketLocation], Callable[[], list[str]]]


def kill_uploads(
    make: s3stores.Make, kills: int, tidying: Tidying = remove_stale_uploads
) -> Killed:
    with bucket_location(need(s3stores.SERVER), make) as location:
        return kill_during_saves(location, kills, size=SIZE, tidy=tidying(location))


def test_killed_uploads_are_invisible_and_can_be_removed() -> None:
    """100 SIGKILLs during multipart uploads: no file is torn or lost, and no upload stays.

    A hit is a kill that left an unfinished upload.
    """
    tried = count(100, 10)
    killed = kill_uploads(s3stores.in_parts, tried)
    bad = [*killed.torn, *killed.lost, *killed.complaints]
    report("s3-sigkill", tried=tried, hit=killed.within_a_save, bad=bad)
    assert killed.within_a_save >= 0.3 * tried
    assert killed.acknowledged > 0


@pytest.mark.django_db
def test_purge_removes_unfinished_uploads() -> None:
    """A nightly purge removes the unfinished uploads that are older than the grace time."""
    killed = kill_uploads(s3stores.in_parts, 6, purge_of_all_uploads)
    assert killed.complaints == []
    assert killed.within_a_save > 0


def test_harness_detects_a_store_that_shows_incomplete_uploads() -> None:
    """The same harness fails on a store that writes half a file under its name first."""
    assert kill_uploads(s3stores.shows_incomplete_files, 15).torn != []


def test_harness_detects_a_store_that_ignores_unfinished_uploads() -> None:
    """The same harness fails on a store that does not remove unfinished uploads."""
    assert kill_uploads(s3stores.ignores_stale_uploads, 10).complaints != []
