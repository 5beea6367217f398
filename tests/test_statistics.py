"""Monthly sums of stored files, and the dashboard that shows them."""

from __future__ import annotations

from datetime import date, datetime, timezone
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone as current_zone

from devilry_storage.admin.dashboard import plots
from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.models import MonthlySum
from devilry_storage.usage import BOUND, Month, months, refresh, waiting

from .harness.users import make_user
from .testapp.models import Note

pytestmark = pytest.mark.django_db

URL = "/admin/devilry_storage/monthlysum/"


def _at(row: Any, month: int, day: int, hour: int = 12) -> None:
    created = datetime(2026, month, day, hour, tzinfo=timezone.utc)
    type(row).objects.filter(pk=row.pk).update(created=created)


@pytest.fixture
def stored(group: Any) -> None:
    first, second = Delivery.begin(group), Delivery.begin(group)
    _at(first.add_file("a", b"aaa"), 1, 31, 23)
    _at(first.add_file("b", b"b"), 1, 1)
    _at(second.add_file("c", b"cc"), 1, 15)
    _at(second.add_file("d", b""), 3, 1)
    FileMeta.objects.create(delivery=second, filename="still being stored")
    note = Note(filename="n", content=ContentFile(b"nnnn", "n"))
    note.save()
    _at(note, 3, 2)


def _sums() -> list[Any]:
    fields = ("model", "month", "deliveries", "files", "size")
    return sorted(MonthlySum.objects.values_list(*fields))


def test_sums_are_by_month_and_model(stored: None) -> None:
    """Rows without content do not count."""
    refresh()
    assert _sums() == [
        ("devilry_deliveries.filemeta", date(2026, 1, 1), 2, 3, 6),
        ("devilry_deliveries.filemeta", date(2026, 3, 1), 1, 1, 0),
        ("testapp.note", date(2026, 3, 1), 0, 1, 4),
    ]
    assert months() == [Month(date(2026, 1, 1), 2, 3, 6), Month(date(2026, 3, 1), 1, 2, 4)]
    assert months(most=1) == [Month(date(2026, 3, 1), 1, 2, 4)]


def test_months_are_in_the_time_zone_of_the_site(stored: None) -> None:
    """The last hour of January in UTC is February in Oslo."""
    with override_settings(TIME_ZONE="Europe/Oslo"), current_zone.override("UTC"):
        refresh()
    assert ("devilry_deliveries.filemeta", date(2026, 2, 1), 1, 1, 3) in _sums()


def test_refresh_replaces_the_sums(stored: None) -> None:
    """Deleted files do not count any more."""
    refresh()
    FileMeta.objects.all().delete()
    refresh()
    assert [model for model, *_ in _sums()] == ["testapp.note"]


def test_command_refreshes_and_prints_totals(stored: None) -> None:
    """The command is run with cron."""
    output = StringIO()
    call_command("deliverystore_stats", stdout=output)
    assert "Counted 5 files (10" in output.getvalue()
    assert "of 2 months." in output.getvalue()
    assert len(_sums()) == 3


def test_waiting_counts_up_to_a_limit(group: Any) -> None:
    """A page never counts more rows."""
    Delivery.objects.bulk_create([Delivery(assignment_group=group) for _ in range(BOUND + 50)])
    Delivery.begin(group).add_file("a", b"a").delete()
    with override_settings(DELIVERY_STORE_RETENTION_DAYS=0):
        found = {(count.what, count.label): count.number for count in waiting()}
    assert found["unfinished", "devilry_deliveries.delivery"] == BOUND + 1
    assert found["due", ""] == 0


def test_plot_is_scaled_to_its_largest_month() -> None:
    """A month without files leaves a gap. Without sums there is no plot."""
    found = [
        Month(date(year, month, 1), number, 2000 * number, 1024 * number)
        for year, month, number in ((2025, 12, 5), (2026, 1, 10), (2026, 4, 0))
    ]
    drawn = plots(found)
    assert [plot.name for plot in drawn] == ["Deliveries", "Files", "Size"]
    for plot in drawn:
        assert [bar.height for bar in plot.bars] == [60, 120, 0]
        assert [bar.x for bar in plot.bars] == [0, 144, 576]
        assert all(bar.y + bar.height == 120 for bar in plot.bars)
    assert [plot.highest.text for plot in drawn] == ["10", "20,000", "10.0\xa0KB"]
    assert plots([]) == []


def test_refresh_updates_existing_rows(stored: None) -> None:
    """Only sums of months without files are deleted, so that concurrent calls are safe."""
    refresh()
    MonthlySum.objects.create(
        model="testapp.note",
        month=date(2020, 1, 1),
        deliveries=0,
        files=1,
        size=1,
        refreshed=datetime(2026, 1, 1, tzinfo=timezone.utc),
    )
    ids = set(MonthlySum.objects.exclude(month=date(2020, 1, 1)).values_list("pk", flat=True))
    refresh()
    assert set(MonthlySum.objects.values_list("pk", flat=True)) == ids


# -- The dashboard --


def staff(*codenames: str) -> Client:
    user = make_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client(enforce_csrf_checks=False)
    client.force_login(user)
    return client


def test_dashboard_shows_sums_stores_and_waiting_rows(stored: None) -> None:
    """It has a table and a plot."""
    refresh()
    page = staff("view_monthlysum").get(URL).content.decode()
    assert "January 2026" in page
    assert "<rect" in page
    assert "Unfinished deliveries" in page
    assert "devilry_deliveries.FileMeta" in page
    assert "Update statistics" not in page


def test_dashboard_needs_the_view_permission(stored: None) -> None:
    """Anonymous users are redirected to the login."""
    assert staff().get(URL).status_code == 403
    assert Client().get(URL).status_code == 302


def test_refresh_needs_permission_post_and_csrf_token(stored: None) -> None:
    """Each alone is not enough."""
    client = staff("view_monthlysum")
    assert client.post(f"{URL}refresh/").status_code == 403
    assert not MonthlySum.objects.exists()
    user = make_user("root", is_staff=True, is_superuser=True)
    client.force_login(user)
    assert client.get(f"{URL}refresh/").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    assert strict.post(f"{URL}refresh/").status_code == 403
    assert not MonthlySum.objects.exists()
    answer = client.post(f"{URL}refresh/", follow=True)
    assert "Statistics updated." in answer.content.decode()
    assert MonthlySum.objects.exists()


def test_refresh_needs_the_view_permission(stored: None) -> None:
    """The refresh permission alone is not enough."""
    client = staff("refresh_statistics")
    for method in (client.get, client.post):
        assert method(f"{URL}refresh/").status_code == 403
    assert not MonthlySum.objects.exists()


def test_dashboard_does_not_count_rows(stored: None, group: Any) -> None:
    """The number of queries does not depend on the rows, and none reads the files' table."""
    refresh()
    client = staff("view_monthlysum")
    client.get(URL)
    with CaptureQueriesContext(connection) as few:
        client.get(URL)
    Delivery.begin(group).add_files({str(number): b"x" for number in range(30)})
    refresh()
    with CaptureQueriesContext(connection) as many:
        client.get(URL)
    assert len(few) == len(many)
    table = FileMeta._meta.db_table
    assert not [query["sql"] for query in many if f'"{table}"' in query["sql"]]
