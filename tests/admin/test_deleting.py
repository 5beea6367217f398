"""Every way to delete in the admin: rows go, tombstones come, bytes stay until they are due."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError
from django.db.models.signals import pre_delete
from django.test import Client
from django.utils import formats, timezone

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for

from .pages import Page, add_files, contents, stored_names, upload, url_for, url_of


@pytest.fixture
def filled(delivery: Delivery) -> Delivery:
    """A finished delivery with two files, and a row without bytes that was left behind."""
    delivery.add_files({"a.txt": b"a", "b.txt": b"bb"})
    delivery.finish()
    FileMeta.objects.create(delivery=delivery, filename="left.txt")
    return delivery


def delete_selected(browser: Client, *rows: Any) -> Page:
    page = Page.get(browser, url_for(type(rows[0])))
    chosen = {"action": "delete_selected", "_selected_action": [str(row.pk) for row in rows]}
    return page.submit("changelist-form", chosen, "index").submit("")


def check_buried(*names: str) -> None:
    """Check that exactly these have tombstones that a restore can use, and their bytes."""
    assert sorted(names) == sorted(Tombstone.objects.values_list("name", flat=True))
    for stone in Tombstone.objects.all():
        with store_for(FileMeta).open(stone.name) as file:
            assert len(file.read()) == stone.size
        assert [row["model"] for row in stone.rows] == [
            "devilry_deliveries.delivery",
            "devilry_deliveries.filemeta",
        ]
        assert stone.due > timezone.now() + timedelta(days=29)


def check_told(page: Page, text: str) -> None:
    due = timezone.localtime(timezone.now() + timedelta(days=30))
    until = formats.date_format(due, "DATE_FORMAT")
    assert any(text in message and until in message for message in page.messages), page.messages


KEPT_1 = "The bytes of 1 file are kept in the store until"
KEPT_2 = "The bytes of 2 files are kept in the store until"


def test_the_box_beside_a_file_deletes_it(browser: Client, filled: Delivery) -> None:
    """The files of a finished delivery can be deleted, too."""
    first = filled.files.get(filename="a.txt")
    page = Page.get(browser, url_of(filled))
    page = page.submit("delivery_form", {"stored-filemetas-0-DELETE": True}, "_save")
    check_told(page, KEPT_1)
    check_buried(first.content.name)
    assert set(filled.files.values_list("filename", flat=True)) == {"b.txt", "left.txt"}


def test_a_row_without_bytes_is_deleted_without_a_tombstone(
    browser: Client, filled: Delivery
) -> None:
    """Nothing is kept of what never was."""
    page = Page.get(browser, url_of(filled))
    page = page.submit("delivery_form", {"stored-filemetas-2-DELETE": True}, "_save")
    assert not any("kept" in message for message in page.messages)
    check_buried()
    assert set(contents(filled)) == {"a.txt", "b.txt"}


def test_the_page_of_a_file_deletes_it(browser: Client, filled: Delivery) -> None:
    """Deleted after the confirmation."""
    row = filled.files.get(filename="b.txt")
    page = Page.get(browser, url_of(row, "delete")).submit("")
    check_told(page, KEPT_1)
    check_buried(row.content.name)
    assert not FileMeta.objects.filter(pk=row.pk).exists()


def test_selected_files_are_deleted(browser: Client, filled: Delivery) -> None:
    """Bulk delete of files, one of them without bytes."""
    rows = list(filled.files)
    page = delete_selected(browser, *rows)
    check_told(page, KEPT_2)
    check_buried(*(row.content.name for row in rows if row.content))
    assert not FileMeta.objects.exists()
    assert Delivery.objects.get() == filled


def test_a_delivery_takes_its_files_with_it(browser: Client, filled: Delivery) -> None:
    """Delete of one delivery cascades to its files."""
    names = stored_names()
    confirmation = Page.get(browser, url_of(filled, "delete"))
    for filename in ("a.txt", "b.txt", "left.txt"):
        assert filename in confirmation.text
    check_told(confirmation.submit(""), KEPT_2)
    check_buried(*names)
    assert not Delivery.objects.exists()
    assert not FileMeta.objects.exists()


def test_selected_deliveries_take_their_files_with_them(
    browser: Client, filled: Delivery, group: AssignmentGroup
) -> None:
    """Bulk delete of deliveries cascades, and leaves the others alone."""
    other, neighbour = Delivery.begin(group), Delivery.begin(group)
    other.add_file("c.txt", b"c")
    names = stored_names()
    neighbour.add_file("d.txt", b"d")
    page = delete_selected(browser, filled, other)
    check_told(page, "The bytes of 3 files are kept in the store until")
    check_buried(*names)
    assert Delivery.objects.get() == neighbour
    assert contents(neighbour) == {"d.txt": b"d"}


def test_a_group_with_deliveries_is_protected(
    browser: Client, filled: Delivery, group: AssignmentGroup
) -> None:
    """Django's page lists what protects it; nothing is deleted, one by one or in bulk."""
    page = Page.get(browser, url_of(group, "delete"))
    assert str(filled) in page.text
    browser.post(url_of(group, "delete"), {"post": "yes"})
    browser.post(
        url_for(AssignmentGroup),
        {"action": "delete_selected", "_selected_action": [str(group.pk)], "post": "yes"},
    )
    assert AssignmentGroup.objects.get() == group
    assert filled.files.count() == 3
    check_buried()


def test_a_group_without_deliveries_is_deleted(browser: Client, group: AssignmentGroup) -> None:
    """Nothing holds it."""
    page = Page.get(browser, url_of(group, "delete")).submit("")
    assert len(page.messages) == 1
    assert not AssignmentGroup.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_without_retention_the_bytes_go_at_once(
    browser: Client, filled: Delivery, settings: Any
) -> None:
    """The message does not promise what the settings do not keep."""
    settings.DELIVERY_STORE_RETENTION_DAYS = 0
    page = Page.get(browser, url_of(filled, "delete")).submit("")
    assert "The bytes of 2 files are removed from the store now." in page.messages
    assert not stored_names()
    assert not Tombstone.objects.filter(done=None).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["page", "selected"])
def test_what_comes_between_a_delete_is_told(way: str, browser: Client, filled: Delivery) -> None:
    """A row that is added while its delivery is deleted is a message, not an error page."""

    def between(**kwargs: Any) -> None:
        raise IntegrityError("a foreign key points to it")

    page = Page.get(browser, url_of(filled, "delete"))
    pre_delete.connect(between, sender=Delivery)
    try:
        page = page.submit("") if way == "page" else delete_selected(browser, filled)
    finally:
        pre_delete.disconnect(between, sender=Delivery)
    (message,) = page.messages
    assert "the same rows were changed by another request" in message
    assert filled.files.count() == 3
    check_buried()


def test_a_page_with_a_file_that_is_gone_is_told(browser: Client, filled: Delivery) -> None:
    """A box is never taken for that of another file, when one was deleted in between."""
    page = Page.get(browser, url_of(filled))
    filled.files.get(filename="a.txt").delete()
    page = page.submit("delivery_form", {"stored-filemetas-1-DELETE": True}, "_save")
    (message,) = page.messages
    assert "a file that the page showed was deleted meanwhile" in message
    assert filled.files.filter(filename="b.txt").exists()


def test_a_deleted_name_can_be_added_again(browser: Client, delivery: Delivery) -> None:
    """The tombstone's bytes are not touched by their successor."""
    delivery.add_file("a.txt", b"old")
    page = Page.get(browser, url_of(delivery))
    page = page.submit("delivery_form", {"stored-filemetas-0-DELETE": True}, "_continue")
    page = add_files(page, ("a.txt", upload(data=b"new")))
    assert contents(delivery) == {"a.txt": b"new"}
    with store_for(FileMeta).open(Tombstone.objects.get().name) as file:
        assert file.read() == b"old"
