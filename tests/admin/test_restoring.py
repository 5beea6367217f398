"""Deleted files in the admin: restoring, and removing permanently."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from datetime import timezone as dt_timezone
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.base import ContentFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from devilry_storage.admin import tombstones
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from tests.harness.purging import left
from tests.harness.users import make_user
from tests.testapp.models import Course, Note, Paper

from .pages import Page, staff, url_for

pytestmark = pytest.mark.django_db


@pytest.fixture
def tombstone() -> Any:
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
    delivery.add_file("a.txt", b"aaa").delete()
    return Tombstone.objects.get()


@pytest.fixture
def unchanged(tombstone: Any) -> Iterator[None]:
    """Check that tombstone, rows and bytes are the same afterwards."""
    before = list(Tombstone.objects.values())
    yield
    assert list(Tombstone.objects.values()) == before
    assert not FileMeta.objects.exists()
    assert store_for(FileMeta).exists(tombstone.name)


def url(tombstone: Any, page: str) -> str:
    return reverse(f"admin:devilry_storage_tombstone_{page}", args=[tombstone.pk])


def test_button_restores_a_file(tombstone: Any) -> None:
    """The page and the log say so."""
    client = staff("view_tombstone", "restore_tombstone")
    page = Page.get(client, url(tombstone, "change"))
    (form,) = [
        form
        for form in page.root.find("form")
        if form.attributes.get("action", "").endswith("restore/")
    ]
    answer = client.post(form.attributes["action"], follow=True)
    assert "1 file was restored." in answer.content.decode()
    assert FileMeta.objects.get().filename == "a.txt"
    page = Page.get(client, url(tombstone, "change"))
    assert "Restored under another name" in page.text
    assert "Restore" not in [form.text for form in page.root.find("form")]
    logged = {(entry.content_type.model, entry.object_id) for entry in LogEntry.objects.all()}
    row = FileMeta.objects.get()
    assert logged == {("tombstone", str(tombstone.pk)), ("filemeta", str(row.pk))}


def test_get_restores_and_removes_nothing(tombstone: Any, unchanged: None) -> None:
    """Links, images and crawlers change nothing."""
    client = staff("view_tombstone", "restore_tombstone", "purge_tombstone")
    for page in ("restore", "remove"):
        assert client.get(url(tombstone, page)).status_code in {200, 302}


def test_restore_and_remove_need_their_permissions(tombstone: Any, unchanged: None) -> None:
    """Without it there is no button, and the response is 403."""
    client = staff("view_tombstone")
    text = Page.get(client, url(tombstone, "change")).html
    assert "restore/" not in text
    assert "remove/" not in text
    for page in ("restore", "remove"):
        for method in (client.get, client.post):
            assert method(url(tombstone, page)).status_code == 403
    data = {"action": "restore_selected", "_selected_action": [tombstone.pk]}
    for action in ("restore_selected", "remove_selected"):
        client.post(url_for(Tombstone), {**data, "action": action, "confirmed": "yes"})


@pytest.mark.parametrize(
    ("page", "codename"), [("restore", "restore_tombstone"), ("remove", "purge_tombstone")]
)
def test_restore_and_remove_need_view_permission(
    page: str, codename: str, tombstone: Any, unchanged: None
) -> None:
    """Without it the response does not reveal which files exist."""
    client = staff(codename)
    absent = reverse(f"admin:devilry_storage_tombstone_{page}", args=[tombstone.pk + 1000])
    for method in (client.get, client.post):
        existing, missing = method(url(tombstone, page)), method(absent)
        assert existing.status_code == missing.status_code == 403
        assert existing.content == missing.content
    data = {"action": f"{page}_selected", "_selected_action": [tombstone.pk], "confirmed": "yes"}
    assert client.post(url_for(Tombstone), data).status_code == 403


def test_restore_and_remove_need_csrf_token(tombstone: Any, unchanged: None) -> None:
    """A POST without it is rejected."""
    user = make_user("staff", is_staff=True, is_superuser=True)
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    for page in ("restore", "remove"):
        assert client.post(url(tombstone, page)).status_code == 403


def test_failed_restore_is_reported(tombstone: Any) -> None:
    """The tombstone stays."""
    store_for(FileMeta).delete(tombstone.name)
    client = staff("view_tombstone", "restore_tombstone")
    answer = client.post(url(tombstone, "restore"), follow=True)
    assert "is missing in the store" in answer.content.decode()
    assert Tombstone.objects.exists()


def test_file_is_removed_after_confirmation(tombstone: Any) -> None:
    """Its bytes are removed before they are due."""
    client = staff("view_tombstone", "purge_tombstone")
    page = Page.get(client, url(tombstone, "remove"))
    assert tombstone.name in page.text
    answer = page.submit("")
    assert "1 file was removed permanently." in answer.text
    assert not left()
    assert not store_for(FileMeta).exists(tombstone.name)


def test_log_has_an_entry_for_each_removed_file() -> None:
    """Also if files in two stores have the same key."""
    course = Course.objects.create(pk=7, title="course")
    group = AssignmentGroup.objects.create(name="group")
    delivery = Delivery.objects.create(pk=7, assignment_group=group)
    files = [
        Paper(pk=70, delivery=course, filename="p", content=ContentFile(b"1", "p")),
        FileMeta(pk=70, delivery=delivery, filename="f", content=ContentFile(b"2", "f")),
    ]
    for row in files:
        row.save()
        row.delete()
    tombstones = list(Tombstone.objects.all())
    assert {tombstone.name for tombstone in tombstones} == {"0/0/7/70"}
    pks = [str(tombstone.pk) for tombstone in tombstones]
    client = staff("view_tombstone", "purge_tombstone")
    data = {"action": "remove_selected", "_selected_action": pks, "confirmed": "yes"}
    answer = client.post(url_for(Tombstone), data, follow=True)
    assert "2 files were removed permanently." in answer.content.decode()
    logged = LogEntry.objects.values_list("object_id", "object_repr")
    assert sorted(logged) == sorted(
        (str(tombstone.pk), str(tombstone)) for tombstone in tombstones
    )


def test_nothing_is_removed_from_a_suspicious_store(tombstone: Any) -> None:
    """As in a purge: a missing file may mean that the disk is not mounted."""
    delivery = Delivery.objects.get()
    row = delivery.add_file("b.txt", b"bbb")
    store_for(FileMeta).delete(row.content.name)
    client = staff("view_tombstone", "purge_tombstone")
    answer = client.post(url(tombstone, "remove"), follow=True)
    assert "Nothing was removed" in answer.content.decode()
    assert Tombstone.objects.exists()
    assert store_for(FileMeta).exists(tombstone.name)


def test_selected_files_are_restored_or_removed() -> None:
    """Removing asks for confirmation."""
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
    for row in delivery.add_files({name: name.encode() for name in "abcd"}):
        row.delete()
    first, second, third, fourth = Tombstone.objects.order_by("pk").values_list("pk", flat=True)
    client = staff("view_tombstone", "restore_tombstone", "purge_tombstone")
    data = {"action": "restore_selected", "_selected_action": [first, second]}
    answer = client.post(url_for(Tombstone), data, follow=True)
    assert "2 files were restored." in answer.content.decode()
    data = {"action": "remove_selected", "_selected_action": [third, fourth]}
    page = Page(client, client.post(url_for(Tombstone), data, follow=True), url_for(Tombstone))
    answer = client.post(url_for(Tombstone), {**data, "confirmed": "yes"}, follow=True)
    assert "2 files were removed permanently." in answer.content.decode()
    assert "2 files" in page.text
    assert [tombstone.pk for tombstone in left()] == [first, second]


def test_actions_limit_the_number_of_deleted_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest files are processed, and a message has the number of the others."""
    monkeypatch.setattr(tombstones, "MAX_FILES", 1)
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
    for row in delivery.add_files({name: name.encode() for name in "abc"}):
        row.delete()
    client = staff("view_tombstone", "restore_tombstone", "purge_tombstone")
    chosen = list(Tombstone.objects.order_by("pk").values_list("pk", flat=True))
    data = {"action": "restore_selected", "_selected_action": chosen}
    page = Page(client, client.post(url_for(Tombstone), data, follow=True), url_for(Tombstone))
    assert page.messages == [
        "At most 1 files are processed at once: 2 files were left out.",
        "1 file was restored.",
    ]
    assert [row.filename for row in FileMeta.objects.all()] == ["a"]
    data["action"] = "remove_selected"
    page = Page(client, client.post(url_for(Tombstone), data, follow=True), url_for(Tombstone))
    assert page.messages == ["At most 1 files are processed at once: 2 files were left out."]
    assert [tombstone.name in page.text for tombstone in left()] == [True, False, False]
    client.post(url_for(Tombstone), {**data, "confirmed": "yes"})
    assert [tombstone.pk for tombstone in left()] == chosen[1:]


def test_recorded_row_is_escaped(tombstone: Any) -> None:
    """Students choose filenames, and stores may raise any error."""
    hostile = "</pre><script>alert(1)</script>"
    rows = [{**row, "fields": {**row["fields"], "filename": hostile}} for row in tombstone.rows]
    Tombstone.objects.update(rows=rows, filename=hostile, last_error=hostile)
    client = staff("view_tombstone", "purge_tombstone")
    for target in (url(tombstone, "change"), url(tombstone, "remove"), url_for(Tombstone)):
        page = client.get(target).content.decode()
        assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") > 0


def test_remove_confirmation_ignores_thousand_separators(settings: Any) -> None:
    """Ids in the form are not localized."""
    settings.USE_THOUSAND_SEPARATOR = True
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
    delivery.add_files({"a": b"a", "b": b"b"})
    FileMeta.objects.all().delete()
    chosen = []
    for number, tombstone in enumerate(Tombstone.objects.all()):
        chosen.append(12345 + number)
        Tombstone.objects.filter(pk=tombstone.pk).update(id=chosen[-1])
    client = staff("view_tombstone", "purge_tombstone")
    data = {"action": "remove_selected", "_selected_action": chosen}
    page = Page(client, client.post(url_for(Tombstone), data, follow=True), url_for(Tombstone))
    answer = page.submit("")
    assert answer.messages == ["2 files were removed permanently."]
    assert not left()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("by_action", [False, True], ids=["page", "action"])
def test_files_are_removed_after_commit_under_atomic_requests(
    tombstone: Any, by_action: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The messages report the result."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    client = staff("view_tombstone", "purge_tombstone")
    data = {"action": "remove_selected", "_selected_action": [tombstone.pk], "confirmed": "yes"}
    target = url_for(Tombstone) if by_action else url(tombstone, "remove")
    page = Page(client, client.post(target, data, follow=True), target)
    assert page.messages == ["1 file was removed permanently."]
    assert not left()
    assert not store_for(FileMeta).exists(tombstone.name)


def test_removed_file_is_no_longer_shown(tombstone: Any) -> None:
    """Its tombstone only reserves the name."""
    client = staff("view_tombstone", "restore_tombstone")
    Tombstone.objects.update(claimed=timezone.now(), done=timezone.now())
    assert tombstone.name not in Page.get(client, url_for(Tombstone)).html
    answer = client.get(url(tombstone, "change"))
    assert (answer.status_code, answer.headers["Location"]) == (302, reverse("admin:index"))


@pytest.mark.parametrize(
    ("changed", "is_shown"),
    [
        ({}, True),
        ({"rows": [], "file_id": None, "delivery_id": None}, True),
        ({"rows": []}, False),
        ({"rows": [], "claimed": timezone.now()}, False),
    ],
    ids=["deleted", "orphan", "restored", "removal"],
)
def test_restore_button_depends_on_the_state(tombstone: Any, changed: Any, is_shown: bool) -> None:
    """It is not shown for restored files and during a removal."""
    Tombstone.objects.update(**changed)
    page = Page.get(staff("view_tombstone", "restore_tombstone"), url(tombstone, "change"))
    assert ("Restore" in [form.text for form in page.root.find("form")]) is is_shown


def test_page_shows_until_when_a_file_can_be_restored(tombstone: Any) -> None:
    """In the format of the language, and only while it can be restored."""
    client = staff("view_tombstone")
    due = datetime(2031, 5, 6, 7, 8, tzinfo=dt_timezone.utc)
    Tombstone.objects.update(due=due)
    assert "May 6, 2031" in Page.get(client, url(tombstone, "change")).text
    Tombstone.objects.update(claimed=timezone.now())
    assert "2031" not in Page.get(client, url(tombstone, "change")).text


def test_claimed_unrecorded_file_is_shown_as_being_removed(tombstone: Any) -> None:
    """It cannot be restored."""
    Tombstone.objects.update(rows=[], file_id=None, delivery_id=None, claimed=timezone.now())
    page = Page.get(staff("view_tombstone"), url(tombstone, "change"))
    assert "Being removed" in page.text
    assert "Unrecorded file" not in page.text


def test_due_filter_uses_the_clock_of_the_database(tombstone: Any) -> None:
    """A purge uses it, too."""
    client = staff("view_tombstone")
    session = client.session
    session.set_expiry(timedelta(days=999))
    session.save()
    future = timezone.now() + timedelta(days=365)
    with patch.object(timezone, "now", lambda: future):
        html = Page.get(client, f"{url_for(Tombstone)}?due=no").html
    assert tombstone.name in html


def test_unrecorded_file_is_restored_under_another_name(tombstone: Any) -> None:
    """The message has the new name."""
    Tombstone.objects.update(rows=[], file_id=None, delivery_id=None)
    client = staff("view_tombstone", "restore_tombstone")
    page = Page(client, client.post(url(tombstone, "restore"), follow=True), "")
    (message,) = page.messages
    assert "a developer can record it with adopt()" in message
    assert page.url == url_for(Tombstone)
    name = message.partition("“")[2].partition("”")[0]
    assert name != tombstone.name
    assert store_for(FileMeta).exists(name)
    assert LogEntry.objects.get().change_message.lower() == message.lower()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("due=yes", ["old.txt"]),
        ("due=no", ["new.txt", "note"]),
        ("model=testapp.note", ["note"]),
        ("due=nonsense", ["new.txt", "note", "old.txt"]),
        ("model=nonsense", []),
        ("q=OLD", ["old.txt"]),
        ("q={delivery}", ["new.txt", "old.txt"]),
        ("q={file}", ["old.txt"]),
        ("q=0/0/", ["new.txt", "note", "old.txt"]),
    ],
)
def test_deleted_files_are_filtered_and_searched(query: str, found: list[str]) -> None:
    """By time, model, ids and beginnings of names."""
    group = AssignmentGroup.objects.create(name="group")
    Delivery.objects.bulk_create([Delivery(pk=70, assignment_group=group)])
    delivery = Delivery.objects.get()
    for pk, filename in ((900, "old.txt"), (901, "new.txt")):
        row = FileMeta(pk=pk, delivery=delivery, filename=filename)
        row.content = ContentFile(b"x", filename)
        row.save()
        row.delete()
    Note.objects.create(filename="note", content=ContentFile(b"n", "note"))
    Note.objects.all().delete()
    Tombstone.objects.filter(filename="old.txt").update(due=timezone.now())
    page = Page.get(
        staff("view_tombstone"), f"{url_for(Tombstone)}?{query}".format(delivery=70, file=900)
    )
    names = ("new.txt", "note", "old.txt")
    rows = page.rows() if found else []
    assert sorted(name for name in names for row in rows if f" {name} " in f" {row} ") == found


def test_queries_of_deleted_files_do_not_depend_on_their_number(tombstone: Any) -> None:
    """The recorded rows are not queried one by one."""
    client = staff("view_tombstone", "restore_tombstone")
    client.get(url_for(Tombstone))
    with CaptureQueriesContext(connection) as few:
        client.get(url_for(Tombstone))
    delivery = Delivery.objects.get()
    delivery.add_files({f"{n}.txt": b"x" for n in range(20)})
    FileMeta.objects.all().delete()
    with CaptureQueriesContext(connection) as many:
        assert "21 deleted files" in client.get(url_for(Tombstone)).content.decode()
    assert len(many) == len(few)
