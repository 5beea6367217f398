"""Pages of the store browser: their time does not depend on the number of stored files."""

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
    pytest.mark.only_full,  # these tests measure time
    pytest.mark.django_db,
    pytest.mark.skipif(settings.DATABASE != "sqlite", reason="does not depend on the database"),
]

URL = "/admin/devilry_storage/storebrowser/devilry_deliveries.filemeta/"

#: The root, and each folder on the path to delivery 500.
FOLDERS = ["", "0", "0/0", "0/0/500"]

#: The number of folders in ``0``, which all fit on one page.
BRANCHES = 100

ROUNDS = 15

#: A page of the larger store may take this many times as long as one of the smaller store.
FACTOR = 1.3


def keys(files: int) -> list[str]:
    """Return the keys of 1,000 to 100,000 files, one for each delivery.

    The pages of `FOLDERS` have the same number of lines for any number of files.
    """
    per_branch = min(1000, (files - 901) // (BRANCHES - 1))
    first = files - per_branch * (BRANCHES - 1)
    ids = [*range(first)]
    ids += [
        1000 * branch + number for branch in range(1, BRANCHES) for number in range(per_branch)
    ]
    layout = HierLayout()
    return [layout.key(number, number) for number in ids]


def slower(browser: Client, small: DeliveryStoreMixin, large: DeliveryStoreMixin) -> list[str]:
    """Return a line for each page whose median time on the larger store is too long.

    The stores take turns, so that other load on the machine affects both.
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
            if number > 1:  # the first request of each store fills caches
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
    """Create a folder for a store with this number of files, and return it."""
    for key in keys(files):
        path = root / str(files) / key
        path.parent.mkdir(parents=True)
        path.touch()
    return root / str(files)


def test_page_time_on_disk_does_not_depend_on_the_number_of_files(
    browser: Client, tmp_path: Path
) -> None:
    """A page takes at most 1.3 times as long with 100,000 files as with 1,000."""
    roots = [on_disk(tmp_path, files) for files in (1_000, count(100_000, 10_000))]
    small, large = (FsHierDeliveryStore(str(root)) for root in roots)
    prove("store-browser-disk", slower(browser, small, large))


def in_bucket(files: int) -> S3DeliveryStore:
    """Return a store on SeaweedFS with this number of files."""
    server = s3servers.need("seaweedfs")
    store = S3DeliveryStore(**server.options(server.bucket()))

    def put(key: str) -> None:
        store.remote.call("put_object", key, Body=b"")

    with ThreadPoolExecutor(16) as threads:
        assert sum(1 for _done in threads.map(put, keys(files))) == files
    return store


def test_page_time_on_s3_does_not_depend_on_the_number_of_files(browser: Client) -> None:
    """A page takes at most 1.3 times as long with 30,000 files as with 1,000."""
    small, large = in_bucket(1_000), in_bucket(count(30_000, 5_000))
    prove("store-browser-s3", slower(browser, small, large))


class CountsFiles(FsHierDeliveryStore):
    """A store that counts all files below a folder before it returns a page."""

    def page(self, folder: str = "", *, after: str = "", limit: int = 1000) -> Page:
        sum(1 for _entry in self.scan(folder))
        return super().page(folder, after=after, limit=limit)


def test_harness_detects_a_store_that_counts_its_files(browser: Client, tmp_path: Path) -> None:
    """The same harness fails for the folders with many files below them."""
    small, large = (CountsFiles(str(on_disk(tmp_path, files))) for files in (1_000, 5_000))
    late = slower(browser, small, large)
    assert [line.partition(" ")[0] for line in late] == ["''", "'0'"], late
