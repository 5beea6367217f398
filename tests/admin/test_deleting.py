"""Deleting files in the admin: rows are deleted, and their bytes are kept until they are due."""

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
    """Return a finished delivery with two files, and a row without bytes."""
    delivery.add_files({"a.txt": b"a", "b.txt": b"bb"})
    delivery.finish()
    FileMeta.objects.create(delivery=delivery, filename="pending.txt")
    return delivery


def delete_selected(browser: Client, *rows: Any) -> Page:
    page = Page.get(browser, url_for(type(rows[0])))
    chosen = {"action": "delete_selected", "_selected_action": [str(row.pk) for row in rows]}
    return page.submit("changelist-form", chosen, "index").submit("")


def check_buried(*names: str) -> None:
    """Check that exactly these files have tombstones, complete rows and their bytes."""
    assert sorted(names) == sorted(Tombstone.objects.values_list("name", flat=True))
    for tombstone in Tombstone.objects.all():
        with store_for(FileMeta).open(tombstone.name) as file:
            assert len(file.read()) == tombstone.size
        assert [row["model"] for row in tombstone.rows] == [
            "devilry_deliveries.delivery",
            "devilry_deliveries.filemeta",
        ]
        assert tombstone.due > timezone.now() + timedelta(days=29)


def check_message(page: Page, text: str) -> None:
    due = timezone.localtime(timezone.now() + timedelta(days=30))
    until = formats.date_format(due, "DATE_FORMAT")
    assert any(text in message and until in message for message in page.messages), page.messages


ONE_DELETED = "1 file was deleted. It can be restored until"
TWO_DELETED = "2 files were deleted. They can be restored until"


def test_checkbox_of_a_file_deletes_it(browser: Client, filled: Delivery) -> None:
    """Files of a finished delivery can be deleted, too."""
    first = filled.files.get(filename="a.txt")
    page = Page.get(browser, url_of(filled))
    page = page.submit("delivery_form", {"stored-filemetas-0-DELETE": True}, "_save")
    check_message(page, ONE_DELETED)
    check_buried(first.content.name)
    assert set(filled.files.values_list("filename", flat=True)) == {"b.txt", "pending.txt"}


def test_row_without_bytes_is_deleted_without_tombstone(browser: Client, filled: Delivery) -> None:
    """There are no bytes to keep."""
    page = Page.get(browser, url_of(filled))
    page = page.submit("delivery_form", {"stored-filemetas-2-DELETE": True}, "_save")
    assert not any("restored" in message for message in page.messages)
    check_buried()
    assert set(contents(filled)) == {"a.txt", "b.txt"}


def test_file_is_deleted_on_its_page(browser: Client, filled: Delivery) -> None:
    """The page asks for confirmation."""
    row = filled.files.get(filename="b.txt")
    page = Page.get(browser, url_of(row, "delete")).submit("")
    check_message(page, ONE_DELETED)
    check_buried(row.content.name)
    assert not FileMeta.objects.filter(pk=row.pk).exists()


def test_selected_files_are_deleted(browser: Client, filled: Delivery) -> None:
    """One of them has no bytes."""
    rows = list(filled.files)
    page = delete_selected(browser, *rows)
    check_message(page, TWO_DELETED)
    check_buried(*(row.content.name for row in rows if row.content))
    assert not FileMeta.objects.exists()
    assert Delivery.objects.get() == filled


def test_deleted_delivery_deletes_its_files(browser: Client, filled: Delivery) -> None:
    """The confirmation lists the files."""
    names = stored_names()
    confirmation = Page.get(browser, url_of(filled, "delete"))
    for filename in ("a.txt", "b.txt", "pending.txt"):
        assert filename in confirmation.text
    check_message(confirmation.submit(""), TWO_DELETED)
    check_buried(*names)
    assert not Delivery.objects.exists()
    assert not FileMeta.objects.exists()


def test_deleted_deliveries_delete_their_files(
    browser: Client, filled: Delivery, group: AssignmentGroup
) -> None:
    """Other deliveries keep their files."""
    other, neighbour = Delivery.begin(group), Delivery.begin(group)
    other.add_file("c.txt", b"c")
    names = stored_names()
    neighbour.add_file("d.txt", b"d")
    page = delete_selected(browser, filled, other)
    check_message(page, "3 files were deleted. They can be restored until")
    check_buried(*names)
    assert Delivery.objects.get() == neighbour
    assert contents(neighbour) == {"d.txt": b"d"}


def test_group_with_deliveries_is_protected(
    browser: Client, filled: Delivery, group: AssignmentGroup
) -> None:
    """Django's page lists the deliveries, and the action deletes nothing."""
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


def test_group_without_deliveries_is_deleted(browser: Client, group: AssignmentGroup) -> None:
    """Nothing protects it."""
    page = Page.get(browser, url_of(group, "delete")).submit("")
    assert len(page.messages) == 1
    assert not AssignmentGroup.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_files_are_removed_immediately_without_retention(
    browser: Client, filled: Delivery, settings: Any
) -> None:
    """The message says so."""
    settings.DELIVERY_STORE_RETENTION_DAYS = 0
    page = Page.get(browser, url_of(filled, "delete")).submit("")
    assert "2 files were removed permanently." in page.messages
    assert not stored_names()
    assert not Tombstone.objects.filter(done=None).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["page", "selected"])
def test_integrity_error_during_delete_is_reported(
    way: str, browser: Client, filled: Delivery
) -> None:
    """A concurrently added row causes a message instead of an error page."""

    def between(**kwargs: Any) -> None:
        raise IntegrityError("a foreign key points to it")

    page = Page.get(browser, url_of(filled, "delete"))
    pre_delete.connect(between, sender=Delivery)
    try:
        page = page.submit("") if way == "page" else delete_selected(browser, filled)
    finally:
        pre_delete.disconnect(between, sender=Delivery)
    (message,) = page.messages
    assert "the same data was changed at the same time by another user" in message
    assert filled.files.count() == 3
    check_buried()


def test_outdated_page_deletes_no_other_file(browser: Client, filled: Delivery) -> None:
    """A checkbox must not apply to another file if one was deleted in the meantime."""
    page = Page.get(browser, url_of(filled))
    filled.files.get(filename="a.txt").delete()
    page = page.submit("delivery_form", {"stored-filemetas-1-DELETE": True}, "_save")
    (message,) = page.messages
    assert "a file on this page was deleted in the meantime" in message
    assert filled.files.filter(filename="b.txt").exists()


def test_deleted_filename_can_be_added_again(browser: Client, delivery: Delivery) -> None:
    """The deleted file keeps its bytes."""
    delivery.add_file("a.txt", b"old")
    page = Page.get(browser, url_of(delivery))
    page = page.submit("delivery_form", {"stored-filemetas-0-DELETE": True}, "_continue")
    page = add_files(page, ("a.txt", upload(data=b"new")))
    assert contents(delivery) == {"a.txt": b"new"}
    with store_for(FileMeta).open(Tombstone.objects.get().name) as file:
        assert file.read() == b"old"
