"""Adding files: several at once, filenames from uploads, clashes, and stores that fail."""

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

#: Django 4.2 says "exists already" in words of its own.
TAKEN = "already"
ACUTE = "\u00e9"


def test_a_delivery_is_added_with_several_files(browser: Client, group: AssignmentGroup) -> None:
    """Several new files at once; those without a filename get the upload's."""
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
    """Uploads are added to what is there, as many as are sent."""
    delivery.add_file("old.txt", b"old")
    page = Page.get(browser, url_of(delivery))
    page = add_files(page, ("", upload("new.txt", b"n")), ("x", upload()), button="_continue")
    assert not page.errors
    assert contents(delivery) == {"old.txt": b"old", "new.txt": b"n", "x": b"uploaded"}
    assert len(list(page.root.find("tr", class_="has_original"))) == 3


def test_a_file_is_added_on_its_own_page(browser: Client, delivery: Delivery) -> None:
    """The page of files adds one, too."""
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
def test_new_files_of_one_name_are_a_form_error(
    names: list[tuple[str, str]], browser: Client, delivery: Delivery
) -> None:
    """A clash among the new ones, however it comes about, is told and stores nothing."""
    files = [(filename, upload(name)) for filename, name in names]
    page = add_files(Page.get(browser, url_of(delivery)), *files)
    assert "Please correct the duplicate data for filename." in page.errors
    assert not delivery.files.exists()
    assert not stored_names()


@pytest.mark.parametrize(
    ("filename", "name"), [(ACUTE, "a"), ("", unicodedata.normalize("NFD", ACUTE))]
)
def test_a_name_that_is_stored_already_is_a_form_error(
    filename: str, name: str, browser: Client, delivery: Delivery
) -> None:
    """A clash with a stored file is told and stores nothing, on both pages."""
    delivery.add_file(ACUTE, b"old")
    page = add_files(Page.get(browser, url_of(delivery)), (filename, upload(name)))
    assert [TAKEN in error for error in page.errors] == [True]
    page = add_file(Page.get(browser, url_for(FileMeta, "add")), delivery, upload(name), filename)
    assert [TAKEN in error for error in page.errors] == [True]
    assert contents(delivery) == {ACUTE: b"old"}
    assert len(stored_names()) == 1


@pytest.mark.parametrize(
    "filename",
    ["..", "a/b.txt", "a\\b", "a\u202ename.txt", "\u200b", "a\x07", "x" * 256, "a\0b"],
)
def test_a_bad_filename_is_a_form_error(
    filename: str, browser: Client, delivery: Delivery
) -> None:
    """What no download should be called is refused, and the page stays."""
    page = add_files(Page.get(browser, url_of(delivery)), (filename, upload()))
    assert len(page.errors) == 1
    page = add_file(Page.get(browser, url_for(FileMeta, "add")), delivery, upload(), filename)
    assert len(page.errors) == 1
    assert not delivery.files.exists()
    assert not stored_names()


def test_an_upload_with_a_bad_name_is_a_form_error(browser: Client, delivery: Delivery) -> None:
    """It needs a filename that is typed in."""
    page = Page.get(browser, url_of(delivery))
    answer = add_files(page, ("", upload("...")))
    assert "it names a folder" in " ".join(answer.errors)
    assert not delivery.files.exists()
    add_files(page, ("good.txt", upload("...")))
    assert contents(delivery) == {"good.txt": b"uploaded"}


def test_a_filename_without_a_file_is_a_form_error(browser: Client, delivery: Delivery) -> None:
    """A row without bytes is not made by a forgotten upload."""
    page = Page.get(browser, url_of(delivery))
    page = page.submit("delivery_form", {"filemetas-0-filename": "a.txt"}, "_save")
    assert "This field is required." in page.errors
    assert not delivery.files.exists()


# -- What fails while it is stored --


def test_a_full_disk_is_told_and_leaves_no_row(
    browser: Client, delivery: Delivery, store: HookedStore
) -> None:
    """Disk full while adding: a message with the reason, no row; later the same works."""
    store.fill_up()
    page = Page.get(browser, url_of(delivery))
    answer = add_files(page, ("a.txt", upload()))
    told = "Nothing was saved: the delivery store failed: No space left on device."
    assert answer.messages == [told]
    one = add_file(Page.get(browser, url_for(FileMeta, "add")), delivery, upload())
    assert one.messages == [told]
    assert not FileMeta.objects.exists()
    store.fill_up(room_for=1)
    assert not add_files(page, ("a.txt", upload())).errors
    assert contents(delivery) == {"a.txt": b"uploaded"}


def test_one_file_that_fails_takes_the_others_with_it(
    browser: Client, group: AssignmentGroup, store: HookedStore
) -> None:
    """What a page sends is saved as a whole or not at all; that is said, and nothing else."""
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


def test_a_file_that_fails_keeps_what_was_to_be_deleted(
    browser: Client, delivery: Delivery, store: HookedStore
) -> None:
    """A delete in the same form is undone, and nobody is told of it."""
    delivery.add_file("old.txt", b"old")
    store.fill_up()
    filled = {"stored-filemetas-0-DELETE": True, "filemetas-0-content": upload()}
    page = Page.get(browser, url_of(delivery)).submit("delivery_form", filled, "_save")
    assert [message[:18] for message in page.messages] == ["Nothing was saved:"]
    assert contents(delivery) == {"old.txt": b"old"}
    assert not Tombstone.objects.exists()


@pytest.mark.parametrize(
    ("exception", "told"),
    [
        (RuntimeError("the cloud said 503"), "the cloud said 503."),
        (KeyError(), "KeyError."),
        (IntegrityError("unique"), "the same rows were changed by another request"),
        (DatabaseError("gone"), "the database failed or is busy"),
    ],
)
def test_whatever_a_store_raises_is_told(
    exception: Exception,
    told: str,
    browser: Client,
    delivery: Delivery,
    store: HookedStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A backend with exceptions of its own is no error page; the log has the traceback."""

    def fail(name: str) -> None:
        raise exception

    store.before = fail
    page = add_files(Page.get(browser, url_of(delivery)), ("a.txt", upload()))
    (message,) = page.messages
    assert message.startswith("Nothing was saved: ")
    assert told in message
    assert not FileMeta.objects.exists()
    logged = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [failure.__cause__ for failure in logged if failure] == [exception]


def test_a_name_that_is_taken_after_the_form_was_judged_is_told(
    browser: Client, delivery: Delivery
) -> None:
    """A race for a filename is a message, not an error page."""

    def rival(instance: Any, **kwargs: Any) -> None:
        FileMeta.objects.bulk_create([FileMeta(delivery=delivery, filename=instance.filename)])

    page = Page.get(browser, url_of(delivery))
    pre_save.connect(rival, sender=FileMeta)
    try:
        page = add_files(page, ("a.txt", upload()))
    finally:
        pre_save.disconnect(rival, sender=FileMeta)
    (message,) = page.messages
    assert "the same rows were changed by another request" in message
    assert not FileMeta.objects.exists()


def test_a_busy_database_is_told(browser: Client, delivery: Delivery) -> None:
    """Where perhaps only the reply was lost, nobody is told that nothing was saved."""

    def busy(**kwargs: Any) -> None:
        raise OperationalError("database is locked")

    page = Page.get(browser, url_of(delivery))
    post_save.connect(busy, sender=Delivery)
    try:
        page = add_files(page, ("a.txt", upload()))
    finally:
        post_save.disconnect(busy, sender=Delivery)
    assert page.messages == [
        "The database failed or is busy: look whether this was saved, and try again."
    ]
    assert not FileMeta.objects.exists()


def test_a_failure_is_told_with_atomic_requests_too(
    browser: Client,
    delivery: Delivery,
    store: HookedStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ATOMIC_REQUESTS puts a transaction around the admin's: the rollback is ours all the same."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    store.fill_up(room_for=1)
    page = Page.get(browser, url_of(delivery))
    page = add_files(page, ("a.txt", upload()), ("b.txt", upload()))
    assert [message[:18] for message in page.messages] == ["Nothing was saved:"]
    assert not FileMeta.objects.exists()
