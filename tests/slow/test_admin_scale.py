"""Pages of the admin with 3,000,000 files: no table scans, and no more queries than with few."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.core.paginator import Paginator
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from devilry_storage.admin import DeliveryAdmin
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import MonthlySum, Tombstone
from tests.admin.pages import url_for
from tests.harness import proofs
from tests.harness.users import make_superuser

from . import explaining, millions

pytestmark = [
    pytest.mark.slow,
    # With fewer rows PostgreSQL chooses other plans.
    pytest.mark.only_full,
    pytest.mark.postgres,
    # The tests only use copies of the run's database, and leave the connection as it was.
    pytest.mark.django_db(transaction=True),
]

FILES = 3_000_000
FEW = 30_000

#: The number of rows that one scan may read. A page counts up to 10,000 rows, and a search may
#: read a period with as many rows.
MOST = FILES // 100

TOMBSTONES, DASHBOARD = url_for(Tombstone), url_for(MonthlySum)
DELIVERIES, FILE_LIST, GROUPS = (url_for(model) for model in (Delivery, FileMeta, AssignmentGroup))


def completion(model: str, field: str, term: str) -> str:
    query = f"app_label=devilry_deliveries&model_name={model}&field_name={field}&term={term}"
    return f"/admin/autocomplete/?{query}"


#: The pages. ``{files}``, ``{deliveries}`` and ``{groups}`` are the largest ids. ``{early}`` is a
#: day near the beginning, and ``{next}`` is two days later.
PAGES = [
    DELIVERIES,
    f"{DELIVERIES}?p=100",
    f"{DELIVERIES}?o=7",
    f"{DELIVERIES}?o=-7&p=100",
    f"{DELIVERIES}?successful__exact=1",
    f"{DELIVERIES}?successful__exact=0",
    f"{DELIVERIES}?successful__exact=0&time_of_delivery__since={{early}}",
    f"{DELIVERIES}?time_of_delivery__since={{early}}&time_of_delivery__until={{next}}",
    f"{DELIVERIES}?time_of_delivery__until={{next}}&successful__exact=1&p=1",
    f"{DELIVERIES}?assignment_group__id__exact=5",
    f"{DELIVERIES}?assignment_group__id__exact=5&successful__exact=0",
    f"{DELIVERIES}?assignment_group__id__exact=5&time_of_delivery__since={{early}}",
    f"{DELIVERIES}?assignment_group__search=group",
    f"{DELIVERIES}?assignment_group__search=group+00001",
    f"{DELIVERIES}?q={{deliveries}}",
    f"{DELIVERIES}?q=main.py",
    f"{DELIVERIES}?q=main.py&successful__exact=0",
    f"{DELIVERIES}?q=main.py&assignment_group__id__exact=5",
    f"{DELIVERIES}?q=main.py&time_of_delivery__until={{next}}",
    f"{DELIVERIES}?q=Report+7",
    f"{DELIVERIES}?q=old",
    f"{DELIVERIES}?q=old+1.",
    f"{DELIVERIES}?q=user",
    f"{DELIVERIES}?q=user000001",
    f"{DELIVERIES}?q=Group",
    f"{DELIVERIES}?q=Group+000001",
    f"{DELIVERIES}?q=nothing",
    FILE_LIST,
    f"{FILE_LIST}?p=100",
    f"{FILE_LIST}?o=6",
    f"{FILE_LIST}?stored=yes",
    f"{FILE_LIST}?stored=no",
    f"{FILE_LIST}?stored=no&created__since={{early}}",
    f"{FILE_LIST}?created__until={{next}}",
    f"{FILE_LIST}?delivery__id__exact=500",
    f"{FILE_LIST}?delivery__search=500",
    f"{FILE_LIST}?q={{files}}",
    f"{FILE_LIST}?q=main.py",
    f"{FILE_LIST}?q=main.py&stored=no",
    f"{FILE_LIST}?q=main.py&created__since={{early}}&created__until={{next}}",
    f"{FILE_LIST}?q=old",
    f"{FILE_LIST}?q=old+1.",
    f"{FILE_LIST}?q=nothing",
    GROUPS,
    f"{GROUPS}?p=10",
    f"{GROUPS}?q=group",
    f"{GROUPS}?q=group+00001",
    f"{GROUPS}?q={{groups}}",
    completion("delivery", "assignment_group", ""),
    completion("delivery", "assignment_group", "group"),
    completion("delivery", "assignment_group", "group 00001"),
    completion("filemeta", "delivery", ""),
    completion("filemeta", "delivery", "main"),
    completion("filemeta", "delivery", "500"),
    f"{DELIVERIES}{{deliveries}}/change/",
    f"{DELIVERIES}{{deliveries}}/delete/",
    f"{FILE_LIST}{{files}}/change/",
    f"{FILE_LIST}{{files}}/delete/",
    f"{GROUPS}{{groups}}/change/",
    TOMBSTONES,
    f"{TOMBSTONES}?p=100",
    f"{TOMBSTONES}?o=4",
    f"{TOMBSTONES}?due=yes",
    f"{TOMBSTONES}?due=no",
    f"{TOMBSTONES}?due=yes&p=5",
    f"{TOMBSTONES}?model=testapp.note",
    f"{TOMBSTONES}?model=testapp.paper",
    f"{TOMBSTONES}?model=devilry_deliveries.filemeta&due=yes",
    f"{TOMBSTONES}?q={{files}}",
    f"{TOMBSTONES}?q=500",
    f"{TOMBSTONES}?q=500&due=no",
    f"{TOMBSTONES}?q=main.py",
    f"{TOMBSTONES}?q=main.py&due=yes",
    f"{TOMBSTONES}?q=old",
    f"{TOMBSTONES}?q=9/5",
    f"{TOMBSTONES}?q=9/500/500/",
    f"{TOMBSTONES}?q=nothing",
    f"{TOMBSTONES}{{deliveries}}/change/",
    f"{TOMBSTONES}{{deliveries}}/remove/",
    DASHBOARD,
    f"{DELIVERIES}add/",
    f"{FILE_LIST}add/",
]


class Site:
    """The admin on a database with a number of files."""

    def __init__(self, name: str, files: int) -> None:
        self.name = name
        deliveries = files // 3
        early = timezone.localdate() - timedelta(minutes=0.9 * deliveries * millions.MINUTES)
        self._values = {
            "files": files,
            "deliveries": deliveries,
            "groups": deliveries // 10,
            "early": early,
            "next": early + timedelta(days=2),
        }
        self._browser = Client()
        with self.connected():
            self._browser.force_login(make_superuser())

    @contextmanager
    def connected(self) -> Iterator[None]:
        with millions.connected_to(self.name):
            yield

    def open(self, page: str) -> explaining.Queries:
        """Open a page and return the queries that it sent."""
        url = page.format(**self._values)
        with explaining.recorded() as queries:
            assert self._browser.get(url).status_code == 200, url
        return queries


@pytest.fixture(scope="module")
def few(django_db_setup: None, django_db_blocker: Any) -> Iterator[Site]:
    with django_db_blocker.unblock(), millions.database("few", FEW):
        yield Site("few", FEW)


@pytest.fixture(scope="module")
def many(django_db_setup: None, django_db_blocker: Any) -> Iterator[Site]:
    with django_db_blocker.unblock(), millions.database("many", FILES):
        yield Site("many", FILES)


def test_pages_scan_no_table_and_send_a_constant_number_of_queries(few: Site, many: Site) -> None:
    """PostgreSQL's EXPLAIN ANALYZE shows the rows that each query of each page reads."""
    with few.connected():
        for _ in range(2):  # the first time fills Django's caches
            before = {page: len(few.open(page).sent) for page in PAGES}
    bad, explained = [], 0
    with many.connected():
        for page in PAGES:
            queries = many.open(page)
            explained += len(queries.sent)
            bad += [f"{page}: {scan}" for scan in queries.scans(MOST)]
            if len(queries.sent) != before[page]:
                bad.append(f"{page}: {len(queries.sent)} queries, not {before[page]}")
    proofs.report("admin-scale", tried=len(PAGES), hit=explained, bad=bad)


@pytest.mark.parametrize(
    ("index", "page"),
    [
        ("devilry_deliveries_time", DELIVERIES),
        ("devilry_deliveries_state", f"{DELIVERIES}?successful__exact=0"),
        ("devilry_deliveries_created", FILE_LIST),
        ("devilry_deliveries_beginning", f"{FILE_LIST}?q=old+1."),
        ("devilry_storage_due", f"{TOMBSTONES}?due=no"),
        ("devilry_storage_model_due", f"{TOMBSTONES}?model=testapp.note"),
        ("devilry_storage_filename", f"{TOMBSTONES}?q=nothing"),
        ("devilry_storage_name", f"{TOMBSTONES}?q=nothing"),
        ("devilry_deliveries_group_name", f"{GROUPS}?q=group+00001"),
    ],
)
def test_harness_detects_a_missing_index(many: Site, index: str, page: str) -> None:
    """Each index is needed: without it, the harness finds a scan."""
    with many.connected(), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f'DROP INDEX "{index}"')
        found = many.open(page).scans(MOST)
        transaction.set_rollback(True)
    assert found != []


def test_harness_detects_a_page_that_counts_all_rows(
    many: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django's own paginator counts all rows."""
    monkeypatch.setattr(DeliveryAdmin, "paginator", Paginator)
    monkeypatch.setattr(Paginator, "has_more", False, raising=False)
    with many.connected():
        assert many.open(DELIVERIES).scans(MOST) != []
