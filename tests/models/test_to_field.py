"""Foreign keys with ``to_field``, from files to deliveries and from deliveries to groups."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from unittest.mock import patch
from zipfile import ZipFile

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.db import connection
from django.forms import modelform_factory
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import include, path, reverse

from devilry_storage import admin as bases
from devilry_storage.admin.forms import RelatedSelect
from devilry_storage.archive import latest_deliveries, of_deliveries
from devilry_storage.deletion import orphans
from devilry_storage.exceptions import DeliveryFinished
from devilry_storage.integrity import State, verify
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore
from tests.testapp.models import Club, Page, Report, Shift

from ..admin import pages
from ..harness.users import make_superuser, make_user

site = admin.AdminSite("fields")


class ClubAdmin(bases.StoreAdmin):
    prefix_fields = ("code",)


class ReportInline(bases.FileMetaInline):
    model = Report


class ShiftAdmin(bases.DeliveryAdmin):
    inlines = (ReportInline,)


site.register(Club, ClubAdmin)
site.register(Shift, ShiftAdmin)
site.register(Report, bases.FileMetaAdmin)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("fields/", site.urls),
    path("files/", include("devilry_storage.urls")),
]
pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture
def club() -> Any:
    return Club.objects.create(code="B-1")


@pytest.fixture
def shifts(club: Any) -> list[Any]:
    """Return a finished and an open delivery; the ticket of each is the id of the other."""
    Page.objects.create(title="not of a report")  # so that reports have other ids than pages
    first, second = (
        Shift.objects.create(pk=pk, ticket=ticket, assignment_group=club)
        for pk, ticket in ((11, 12), (12, 11))
    )
    for shift in (first, second):
        shift.add_file("a.txt", b"a")
    first.finish()
    return [first, second]


@pytest.fixture
def browser() -> Client:
    browser = Client()
    browser.force_login(make_superuser())
    return browser


def names(data: bytes) -> set[str]:
    return {name for name in ZipFile(BytesIO(data)).namelist() if name.endswith("a.txt")}


def test_finished_delivery_is_closed_and_an_open_one_is_not(shifts: list[Any]) -> None:
    finished, begun = shifts
    stale = Shift(pk=finished.pk, ticket=finished.ticket, assignment_group_id="B-1")
    late = Report(delivery_id=finished.ticket, filename="b.txt", content=ContentFile(b"b"))
    moved = begun.files.get()
    moved.delivery = finished
    with pytest.raises(ValidationError, match="finished"):
        late.full_clean()
    for add in (
        late.save,
        moved.save,
        lambda: stale.add_file("b.txt", b"b"),
        lambda: stale.add_files({"b.txt": b"b"}),
    ):
        with pytest.raises(DeliveryFinished):
            add()
    begun.add_files({"b.txt": b"b"})
    Report.objects.create(delivery_id=begun.ticket, content=ContentFile(b"c", "c.txt"))
    assert begun.files.count() == 3


def test_numbers_count_under_the_lock_of_the_group(club: Any, shifts: list[Any]) -> None:
    with CaptureQueriesContext(connection) as queries:
        shifts[1].finish()
    assert [shift.number for shift in shifts] == [1, 2]
    locks = [q["sql"] for q in queries if "UPDATE" in q["sql"] and "testapp_club" in q["sql"]]
    assert locks, "the row of the group is not locked"
    assert shifts[0].copy(club).number == 3


def test_folder_of_a_delivery_is_that_of_its_keys(shifts: list[Any]) -> None:
    store: Any = store_for(Report)
    store.save(store.layout.key(12, 77), ContentFile(b""))
    for shift, others in ((shifts[0], {State.ORPHAN}), (shifts[1], set())):
        assert shift.files.get().content.name.split("/")[2] == str(shift.ticket)
        assert {verdict.state for verdict in verify(shift)} == {State.WHOLE, *others}
    shifts[0].files.get().delete()
    assert {verdict.state for verdict in verify(shifts[0])} == {State.TOMBSTONED, State.ORPHAN}


def test_finish_lists_the_folder_once(club: Any) -> None:
    """It does not look up each file."""
    shift = Shift.objects.create(pk=21, ticket=22, assignment_group=club)
    shift.add_files({"a.txt": b"", "b.txt": b""})
    with patch.object(type(store_for(Report)), "size", side_effect=AssertionError):
        shift.finish()


def test_delivery_and_file_are_restored(shifts: list[Any]) -> None:
    shifts[1].add_file("b.txt", b"b")
    before = [list(model.objects.order_by("pk").values()) for model in (Shift, Page)]
    shifts[1].delete()
    tombstone = Tombstone.objects.latest("pk")
    assert tombstone.rows[0]["pk"] == tombstone.delivery_id == 12
    for tombstone in Tombstone.objects.all():
        assert restore(tombstone).delivery_id == 11
    assert [list(model.objects.order_by("pk").values()) for model in (Shift, Page)] == before


def test_each_person_sees_the_right_rows(club: Any, shifts: list[Any], client: Client) -> None:
    candidate, examiner, clerk = map(make_user, ("candidate", "examiner", "clerk"))
    club.candidates.add(candidate)
    club.examiners.add(examiner)
    clerk.user_permissions.set(Permission.objects.filter(codename="view_shift"))
    for user, seen, readable in (
        (candidate, shifts, shifts),
        (examiner, shifts[:1], shifts[:1]),
        (clerk, shifts, []),
    ):
        assert set(Shift.objects.visible_to(user)) == set(seen)
        assert {row.delivery for row in Report.objects.visible_to(user)} == set(readable)
        client.force_login(user)
        for page, pk, count in (
            ("delivery_archive", 11, len(readable[:1])),
            ("group_archive", club.pk, len(readable)),
        ):
            answer = client.get(reverse(f"devilry_storage:{page}", args=["testapp.shift", pk]))
            found = names(b"".join(answer.streaming_content)) if count else set()  # type: ignore[attr-defined]
            assert (answer.status_code, len(found)) == (200 if count else 404, count)


def test_archives_have_the_files_of_their_deliveries(club: Any, shifts: list[Any]) -> None:
    assert len(names(b"".join(of_deliveries(Shift.objects.all())))) == 2
    latest = latest_deliveries(Club.objects.all())
    assert list(latest) == shifts[:1]
    assert names(b"".join(of_deliveries(latest))) == {"B-1/1/a.txt"}


def test_admin_counts_finds_checks_and_deletes_files(
    browser: Client, club: Any, shifts: list[Any]
) -> None:
    shifts[1].add_file("b.txt", b"bb")
    url = reverse("admin:testapp_shift_changelist", current_app="fields")

    def listed(**query: Any) -> dict[int, int]:
        return {row.pk: row._files for row in browser.get(url, query).context["cl"].result_list}

    def act(action: str) -> pages.Page:
        data = {"action": action, "_selected_action": ["12"], "post": "yes"}
        return pages.Page(browser, browser.post(url, data, follow=True), url)

    file = shifts[1].files.get(filename="b.txt")
    assert listed() == listed(q="a.t") == listed(q="B-") == {11: 1, 12: 2}
    assert listed(q="b.t") == listed(q=str(file.pk)) == {12: 2}
    files = reverse("admin:testapp_report_changelist", current_app="fields")
    found = browser.get(files, {"q": "12"}).context["cl"].result_list
    assert {row.delivery_id for row in found} == {11}
    assert "2 files, 3 bytes" in pages.Page.get(browser, f"{url}12/change/").text
    assert "No problems were found" in act("verify").text
    assert Report.objects.exclude(verified_at=None).count() == 2
    (message,) = act("delete_selected").messages[:1]
    assert message.startswith("2 files were deleted")


def test_widget_shows_the_chosen_row(club: Any) -> None:
    field: Any = Shift._meta.get_field("assignment_group")
    widget: Any = RelatedSelect(field, site)
    widget.viewable = Club.objects.all()
    form = modelform_factory(Shift, fields=[field.name], widgets={field.name: widget})
    shown = str(form({field.name: "B-1"})[field.name])
    assert '<option value="B-1" selected>B-1</option>' in shown


def test_highest_ids_are_those_of_keys(shifts: list[Any]) -> None:
    highest = orphans._highest([Report.objects.all()])
    assert highest == (Report.objects.latest("pk").pk, 12)
