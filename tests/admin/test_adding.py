"""Adding files: several at once, filenames from uploads, clashes, and failing stores."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, OperationalError, connection
from django.db.models.signals import post_save, pre_save
from django.test import Client

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.layout import HierLayout
from devilry_storage.models import Tombstone
from tests.testapp.stores import HookedStore

from .pages import Page, add_file, add_files, contents, stored_names, upload, url_for, url_of

#: Part of the message about a duplicate, which differs between versions of Django.
TAKEN = "already"
ACUTE = "\u00e9"


def test_delivery_is_added_with_several_files(browser: Client, group: AssignmentGroup) -> None:
    """Files without a filename get the name of the upload."""
    filled = {
        "assignment_group": group.pk,
        "filemetas-0-content": upload("first.txt", b"1"),
        "filemetas-1-content": upload("second.txt", b"22"),
        "filemetas-2-content": upload("third.txt", b""),
        "filemetas-2-filename": "named.txt",
    }
    page = Page.get(browser, url_for(Delivery, "add")).submit("delivery_form", filled, "_save")
    assert not page.errors
    delivery = Delivery.objects.get()
    assert (delivery.assignment_group, delivery.successful) == (group, False)
    assert contents(delivery) == {"first.txt": b"1", "second.txt": b"22", "named.txt": b""}
    assert stored_names() == sorted(
        HierLayout().key(delivery.pk, row.pk) for row in delivery.files
    )


def test_files_are_added_to_an_unfinished_delivery(browser: Client, delivery: Delivery) -> None:
    """The existing files stay."""
    delivery.add_file("old.txt", b"old")
    page = Page.get(browser, url_of(delivery))
    page = add_files(page, ("", upload("new.txt", b"n")), ("x", upload()), button="_continue")
    assert not page.errors
    assert contents(delivery) == {"old.txt": b"old", "new.txt": b"n", "x": b"uploaded"}
    assert len(list(page.root.find("tr", class_="has_original"))) == 3


def test_file_is_added_on_its_own_page(browser: Client, delivery: Delivery) -> None:
    """The admin of files adds single files."""
    page = add_file(Page.get(browser, url_for(FileMeta, "add")), delivery, upload())
    assert not page.errors
    assert contents(delivery) == {"upload.txt": b"uploaded"}


@pytest.mark.parametrize(
    "names",
    [
        [("same.txt", "a"), ("same.txt", "b")],
        [("", "same.txt"), ("", "same.txt")],
        [("same.txt", "a"), ("", "same.txt")],
        [(ACUTE, "a"), (unicodedata.normalize("NFD", ACUTE), "b")],
        [("", ACUTE), ("", unicodedata.normalize("NFD", ACUTE))],
    ],
)
def test_new_files_with_equal_names_are_a_form_error(
    names: list[tuple[str, str]], browser: Client, delivery: Delivery
) -> None:
    """Nothing is stored if new files have the same name."""
    files = [(filename, upload(name)) for filename, name in names]
    page = add_files(Page.get(browser, url_of(delivery)), *files)
    assert "Please correct the duplicate data for filename." in page.errors
    assert not delivery.files.exists()
    assert not stored_names()


@pytest.mark.parametrize(
    ("filename", "name"), [(ACUTE, "a"), ("", unicodedata.normalize("NFD", ACUTE))]
)
def test_name_of_a_stored_file_is_a_form_error(
    filename: str, name: str, browser: Client, delivery: Delivery
) -> None:
    """Nothing is stored, on both pages."""
    delivery.add_file(ACUTE, b"old")
    page = add_files(Page.get(browser, url_of(delivery)), (filename, upload(name)))
    assert [TAKEN in error for error in page.errors] == [True]
    page = add_file(Page.get(browser, url_for(FileMeta, "add")), delivery, upload(name), filename)
    assert [TAKEN in error for error in page.errors] == [True]
    assert contents(delivery) == {ACUTE: b"old"}
    assert len(stored_names()) == 1


@pytest.mark.parametrize(
    "filename", ["..", "a/b.txt", "a\\b", "a\u202ename.txt", "\u200b", "a\x07", "x" * 256, "a\0b"]
)
def test_invalid_filename_is_a_form_error(
    filename: str, browser: Client, delivery: Delivery
) -> None:
    """Nothing is stored, on both pages."""
    page = add_files(Page.get(browser, url_of(delivery)), (filename, upload()))
    assert len(page.errors) == 1
    page = add_file(Page.get(browser, url_for(FileMeta, "add")), delivery, upload(), filename)
    assert len(page.errors) == 1
    assert not delivery.files.exists()
    assert not stored_names()


def test_upload_with_invalid_name_is_a_form_error(browser: Client, delivery: Delivery) -> None:
    """A valid filename makes the upload possible."""
    page = Page.get(browser, url_of(delivery))
    answer = add_files(page, ("", upload("...")))
    assert "it has only dots and spaces" in " ".join(answer.errors)
    assert not delivery.files.exists()
    add_files(page, ("good.txt", upload("...")))
    assert contents(delivery) == {"good.txt": b"uploaded"}


def test_filename_without_a_file_is_a_form_error(browser: Client, delivery: Delivery) -> None:
    """Otherwise the row would not get any content."""
    page = Page.get(browser, url_of(delivery))
    page = page.submit("delivery_form", {"filemetas-0-filename": "a.txt"}, "_save")
    assert "This field is required." in page.errors
    assert not delivery.files.exists()


# -- Failures --


def test_full_disk_is_reported_and_leaves_no_row(
    browser: Client, delivery: Delivery, store: HookedStore
) -> None:
    """The same form succeeds once there is space."""
    store.fill_up()
    page = Page.get(browser, url_of(delivery))
    answer = add_files(page, ("a.txt", upload()))
    message = "Nothing was saved: the delivery store failed: No space left on device."
    assert answer.messages == [message]
    one = add_file(Page.get(browser, url_for(FileMeta, "add")), delivery, upload())
    assert one.messages == [message]
    assert not FileMeta.objects.exists()
    store.fill_up(room_for=1)
    assert not add_files(page, ("a.txt", upload())).errors
    assert contents(delivery) == {"a.txt": b"uploaded"}


def test_failure_of_one_file_rolls_back_the_page(
    browser: Client, group: AssignmentGroup, store: HookedStore
) -> None:
    """A page is saved completely or not at all."""
    store.fill_up(room_for=1)
    filled = {
        "assignment_group": group.pk,
        "filemetas-0-content": upload("first.txt"),
        "filemetas-1-content": upload("second.txt"),
    }
    page = Page.get(browser, url_for(Delivery, "add")).submit("delivery_form", filled, "_save")
    assert [message[:18] for message in page.messages] == ["Nothing was saved:"]
    assert not Delivery.objects.exists()
    assert not FileMeta.objects.exists()


def test_failure_rolls_back_deletes_of_the_same_page(
    browser: Client, delivery: Delivery, store: HookedStore
) -> None:
    """The page does not report the delete."""
    delivery.add_file("old.txt", b"old")
    store.fill_up()
    filled = {"stored-filemetas-0-DELETE": True, "filemetas-0-content": upload()}
    page = Page.get(browser, url_of(delivery)).submit("delivery_form", filled, "_save")
    assert [message[:18] for message in page.messages] == ["Nothing was saved:"]
    assert contents(delivery) == {"old.txt": b"old"}
    assert not Tombstone.objects.exists()


@pytest.mark.parametrize(
    ("exception", "text"),
    [
        (RuntimeError("the cloud said 503"), "the cloud said 503."),
        (KeyError(), "KeyError."),
        (IntegrityError("unique"), "the same data was changed at the same time by another user"),
        (DatabaseError("gone"), "the database failed or is busy"),
    ],
)
def test_any_exception_of_a_store_is_reported(
    exception: Exception,
    text: str,
    browser: Client,
    delivery: Delivery,
    store: HookedStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The page shows a message, and the log has the traceback."""

    def fail(name: str) -> None:
        raise exception

    store.before = fail
    page = add_files(Page.get(browser, url_of(delivery)), ("a.txt", upload()))
    (message,) = page.messages
    assert message.startswith("Nothing was saved: ")
    assert text in message
    assert not FileMeta.objects.exists()
    logged = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [failure.__cause__ for failure in logged if failure] == [exception]


def test_filename_taken_after_validation_is_reported(browser: Client, delivery: Delivery) -> None:
    """The race is reported as a message."""

    def rival(instance: Any, **kwargs: Any) -> None:
        FileMeta.objects.bulk_create([FileMeta(delivery=delivery, filename=instance.filename)])

    page = Page.get(browser, url_of(delivery))
    pre_save.connect(rival, sender=FileMeta)
    try:
        page = add_files(page, ("a.txt", upload()))
    finally:
        pre_save.disconnect(rival, sender=FileMeta)
    (message,) = page.messages
    assert "the same data was changed at the same time by another user" in message
    assert not FileMeta.objects.exists()


def test_busy_database_is_reported(browser: Client, delivery: Delivery) -> None:
    """The message leaves open whether the changes were saved."""

    def busy(**kwargs: Any) -> None:
        raise OperationalError("database is locked")

    page = Page.get(browser, url_of(delivery))
    post_save.connect(busy, sender=Delivery)
    try:
        page = add_files(page, ("a.txt", upload()))
    finally:
        post_save.disconnect(busy, sender=Delivery)
    (message,) = page.messages
    assert message == (
        "The database failed or is busy: check whether your changes were saved before trying "
        "again."
    )
    assert not FileMeta.objects.exists()


def test_failure_is_reported_with_atomic_requests(
    browser: Client, delivery: Delivery, store: HookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The admin's own transaction is rolled back."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    store.fill_up(room_for=1)
    page = Page.get(browser, url_of(delivery))
    page = add_files(page, ("a.txt", upload()), ("b.txt", upload()))
    assert [message[:18] for message in page.messages] == ["Nothing was saved:"]
    assert not FileMeta.objects.exists()
