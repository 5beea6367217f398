"""A page of the store browser takes as long however many files lie in the store."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from devilry_storage.layout import HierLayout
from devilry_storage.storages import DeliveryStoreMixin, FsHierDeliveryStore, S3DeliveryStore
from devilry_storage.storages.protocols import Page
from devilry_storage.testing import override_deliverystore
from tests.harness import proofs, s3servers
from tests.harness.proofs import count
from tests.harness.users import make_superuser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.only_full,  # They measure time.
    pytest.mark.django_db,
    pytest.mark.skipif(settings.DATABASE != "sqlite", reason="the same on SQLite"),
]

URL = "/admin/devilry_storage/storebrowser/devilry_deliveries.filemeta/"

#: The top, and each folder on the way to delivery 500.
FOLDERS = ["", "0", "0/0", "0/0/500"]

#: So many folders are in ``0``, as many as are on a page.
BRANCHES = 100

ROUNDS = 15

#: A page of the larger store takes at most so many times that of the smaller.
FACTOR = 1.3


def keys(files: int) -> list[str]:
    """Return the keys of 1,000 to 100,000 files, one of each delivery.

    Each page of `FOLDERS` has as many lines with few as with many.
    """
    each = min(1000, (files - 901) // (BRANCHES - 1))
    first = files - each * (BRANCHES - 1)
    ids = [*range(first)]
    ids += [1000 * branch + number for branch in range(1, BRANCHES) for number in range(each)]
    layout = HierLayout()
    return [layout.key(number, number) for number in ids]


def slower(browser: Client, small: DeliveryStoreMixin, large: DeliveryStoreMixin) -> list[str]:
    """Return a line for each page that takes too long on the larger store, by medians.

    The two take turns, so that whatever else the machine does hits both.
    """
    found = []
    for folder in FOLDERS:
        times: dict[bool, list[float]] = {False: [], True: []}
        lines: dict[bool, int] = {}
        for number in range(2 * (ROUNDS + 1)):
            is_large = bool(number % 2)
            with override_deliverystore(large if is_large else small):
                began = time.perf_counter()
                response = browser.get(URL, {"folder": folder})
                took = time.perf_counter() - began
            lines[is_large] = len(response.context["folders"] + response.context["lines"])
            if number > 1:  # the first of each fills caches
                times[is_large].append(took)
        assert lines[False] == lines[True] > 0
        one, other = (statistics.median(times[is_large]) for is_large in (False, True))
        proofs.say(
            f"store browser, {type(small).__name__}, folder {folder!r}: {one * 1000:.1f} ms and "
            f"{other * 1000:.1f} ms, {other / one:.2f} times"
        )
        if other > FACTOR * one:
            found.append(f"{folder!r} took {other / one:.2f} times as long")
    return found


def prove(name: str, late: list[str]) -> None:
    proofs.report(name, tried=len(FOLDERS), hit=len(FOLDERS), bad=late)


@pytest.fixture
def browser(db: None) -> Client:
    client = Client()
    client.force_login(make_superuser())
    return client


def on_disk(root: Path, files: int) -> Path:
    """Return a folder for a store with so many files."""
    for key in keys(files):
        path = root / str(files) / key
        path.parent.mkdir(parents=True)
        path.touch()
    return root / str(files)


def test_a_page_of_100_000_files_on_disk(browser: Client, tmp_path: Path) -> None:
    """It takes at most 1.3 times as long as one of 1,000."""
    roots = [on_disk(tmp_path, files) for files in (1_000, count(100_000, 10_000))]
    small, large = (FsHierDeliveryStore(str(root)) for root in roots)
    prove("store-browser-disk", slower(browser, small, large))


def in_bucket(files: int) -> S3DeliveryStore:
    """Return a store on SeaweedFS with so many files."""
    server = s3servers.need("seaweedfs")
    store = S3DeliveryStore(**server.options(server.bucket()))

    def put(key: str) -> None:
        store.remote.call("put_object", key, Body=b"")

    with ThreadPoolExecutor(16) as threads:
        assert sum(1 for _done in threads.map(put, keys(files))) == files
    return store


def test_a_page_of_30_000_keys_on_seaweedfs(browser: Client) -> None:
    """It takes at most 1.3 times as long as one of 1,000."""
    small, large = in_bucket(1_000), in_bucket(count(30_000, 5_000))
    prove("store-browser-s3", slower(browser, small, large))


class Counter(FsHierDeliveryStore):
    """Counts all that lies below a folder before it shows a page of it."""

    def page(self, folder: str = "", *, after: str = "", limit: int = 1000) -> Page:
        sum(1 for _entry in self.scan(folder))
        return super().page(folder, after=after, limit=limit)


def test_the_measurement_finds_a_store_that_is_counted(browser: Client, tmp_path: Path) -> None:
    """The same harness fails where much lies below."""
    small, large = (Counter(str(on_disk(tmp_path, files))) for files in (1_000, 5_000))
    late = slower(browser, small, large)
    assert [line.partition(" ")[0] for line in late] == ["''", "'0'"], late
