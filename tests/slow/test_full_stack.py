"""All operations of a site at the same time, while everything fails: no file in use is lost.

Eight workers with their own connections add, replace, delete, restore, copy, adopt, load and purge
at random, within transactions and outside of them. They are killed, stopped and interrupted, their
database sessions are terminated, and the servers of database and store are killed. Then every
acknowledged name is accounted for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from tests.harness import postgres, s3servers
from tests.harness.proofs import count, report, say

from . import database_racing, site_plants
from .site_accounting import Account
from .site_disturbing import Site, site_settings

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

RETENTIONS = (30.0, 0.0)
"""Days."""


@pytest.fixture(scope="module")
def database(django_db_blocker: Any) -> Iterator[postgres.Server]:
    """Start a separate server that may crash, and connect Django to it."""
    server = postgres.Server()
    try:
        where = server.start()
        address = {"HOST": where["PGHOST"], "PORT": where["PGPORT"], "USER": where["PGUSER"]}
        with (
            django_db_blocker.unblock(),
            database_racing.connected(**address, PASSWORD=server.password, NAME="postgres"),
        ):
            # Commits must survive a crash, unlike those of the suite's usual server.
            set_for_sessions("synchronous_commit", "on")
            set_for_sessions("deadlock_timeout", "100ms")
            call_command("migrate", verbosity=0)
            yield server
    finally:
        server.stop()


def set_for_sessions(parameter: str, value: str) -> None:
    """Set a parameter of the database server for new sessions."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER ROLE CURRENT_USER SET {parameter} = '{value}'")
    connection.close()


@pytest.fixture
def asynchronous_commits(database: postgres.Server) -> Iterator[None]:
    """Let the server acknowledge commits before they are flushed, so that a crash loses them."""
    set_for_sessions("synchronous_commit", "off")
    yield
    set_for_sessions("synchronous_commit", "on")


@pytest.fixture
def seaweedfs() -> Iterator[s3servers.Restartable]:
    server = s3servers.Restartable("seaweedfs")
    try:
        yield server
    finally:
        server.stop()


def on_disk(folder: Path) -> dict[str, Any]:
    # The page cache survives a kill.
    return {"location": str(folder / "root"), "durable": False}


def report_sites(name: str, sites: list[Site], accounts: list[Account]) -> None:
    """Report the result of the proof. A hit is a kill within a call."""
    counts: Counter[str] = Counter()
    for counter in (*(site.acts for site in sites), *(account.states for account in accounts)):
        counts.update(counter)
    say(f"{name}: " + ", ".join(f"{number} {subject}" for subject, number in counts.items()))
    report(
        name,
        tried=sum(site.acts["kills"] for site in sites),
        hit=sum(site.hit for site in sites),
        bad=[fault for account in accounts for fault in (*account.broken, *account.faults)],
    )


def test_site_on_disk_loses_no_file_in_use(database: postgres.Server, tmp_path: Path) -> None:
    sites, accounts = [], []
    for days in RETENTIONS[: count(2, ci=1)]:
        folder = tmp_path / str(days)
        restarts: list[Callable[[], object]] = [database.crash] * count(3, ci=1)
        site = Site(folder, f"disk, {days}", count(110, ci=12), restarts)
        with site_settings("FsHierDeliveryStore", on_disk(folder), days):
            accounts.append(site.run())
        sites.append(site)
    report_sites("full-stack-disk", sites, accounts)


def test_site_on_s3_loses_no_file_in_use(
    database: postgres.Server, seaweedfs: s3servers.Restartable, tmp_path: Path
) -> None:
    def crash() -> None:
        seaweedfs.kill()
        seaweedfs.start()

    sites, accounts = [], []
    for days in RETENTIONS[: count(2, ci=1)]:
        restarts: list[Callable[[], object]] = [crash, database.crash] * count(3, ci=1)
        site = Site(tmp_path / str(days), f"s3, {days}", count(110, ci=12), restarts)
        options = seaweedfs.server.options(seaweedfs.server.bucket())
        with site_settings("S3DeliveryStore", options, days):
            accounts.append(site.run())
        sites.append(site)
    report_sites("full-stack-s3", sites, accounts)


@pytest.mark.usefixtures("asynchronous_commits")
def test_rows_keep_their_bytes_if_commits_are_lost(
    database: postgres.Server, tmp_path: Path
) -> None:
    """Without retention, bytes are removed immediately, but only after a durable COMMIT.

    Each crash counts as tried; a hit is an acknowledged name that was lost.
    """
    site = crashing_site(tmp_path, database, 0, crashes=count(16, ci=8))
    with site_settings("FsHierDeliveryStore", on_disk(tmp_path), 0):
        account = site.run()
    lost, crashes = account.states["lost"], site.acts["restarts"]
    report("full-stack-lost-commits", tried=crashes, hit=lost, bad=account.broken)


@pytest.mark.usefixtures("asynchronous_commits")
def test_harness_detects_claims_that_a_crash_can_lose(
    database: postgres.Server, tmp_path: Path
) -> None:
    for seed in range(10):
        folder = tmp_path / str(seed)
        site = crashing_site(folder, database, seed, site_plants.claim_without_flush)
        with site_settings("FsHierDeliveryStore", on_disk(folder), 0):
            if site.run().broken:
                return
    pytest.fail("Claims without a flush were not found.")


def crashing_site(
    folder: Path,
    database: postgres.Server,
    seed: int,
    plant: Callable[[], None] = site_plants.nothing,
    crashes: int = 8,
) -> Site:
    """Return a site whose database crashes half as often as its workers are killed."""
    restarts: list[Callable[[], object]] = [database.crash] * crashes
    return Site(folder, f"lost commits, {seed}", 2 * crashes, restarts, plant)


@pytest.mark.parametrize(
    ("plant", "days", "fault"),
    [
        (site_plants.restore_under_the_same_name, 30, "was buried, and a row refers to it"),
        (site_plants.claim_what_rows_name, 30, "has a row and a tombstone"),
        (site_plants.remove_before_the_claim, 0, "is gone, and was not claimed|the unclaimed"),
    ],
)
def test_harness_detects_planted_faults(
    database: postgres.Server, plant: Callable[[], None], days: float, fault: str, tmp_path: Path
) -> None:
    """A shorter run of the same site finds each fault with one of ten seeds."""
    for seed in range(10):
        folder = tmp_path / str(seed)
        site = Site(folder, f"{plant.__name__}, {seed}", 6, [], plant)
        with site_settings("FsHierDeliveryStore", on_disk(folder), days):
            account = site.run()
            if any(re.search(fault, found) for found in (*account.broken, *account.faults)):
                return
    pytest.fail(f"{plant.__name__} was not found.")
