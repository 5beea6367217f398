"""Finished deliveries: the action that finishes them, and pages that must not change them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.base import ContentFile
from django.db import connections
from django.test import Client

from devilry_storage.admin import DeliveryAdmin
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.resolving import store_for
from tests.testapp.stores import HookedStore

from .pages import Page, add_file, add_files, contents, stored_names, upload, url_for, url_of

FINISHED = "is finished, so it gets no further files"


def test_page_of_finished_delivery_has_no_uploads(browser: Client, delivery: Delivery) -> None:
    """Its group and number are read-only."""
    delivery.add_file("a.txt", b"a")
    delivery.finish()
    form = Page.get(browser, url_of(delivery)).form("delivery_form")
    assert not form.files
    assert not {name for name in form.names if name.startswith("filemetas-")}
    assert not form.names & {"assignment_group", "delivered_by", "number", "successful"}


def test_uploads_to_delivery_finished_meanwhile_are_rejected(
    browser: Client, delivery: Delivery
) -> None:
    """A page from before it was finished saves nothing."""
    delivery.add_file("a.txt", b"a")
    page = Page.get(browser, url_of(delivery))
    delivery.finish()
    page = add_files(page, ("new.txt", upload()))
    assert [FINISHED in message for message in page.messages] == [True]
    assert contents(delivery) == {"a.txt": b"a"}
    assert len(stored_names()) == 1


def test_outdated_page_keeps_the_delivery_finished(browser: Client, delivery: Delivery) -> None:
    """A page from before it was finished does not change it."""
    delivery.add_file("a.txt", b"a")
    page = Page.get(browser, url_of(delivery))
    delivery.finish()
    other = AssignmentGroup.objects.create(name="another")
    page.submit("delivery_form", {"assignment_group": other.pk}, "_save")
    delivery.refresh_from_db()
    assert (delivery.successful, delivery.number) == (True, 1)
    assert delivery.assignment_group.name == "the group"


def test_new_file_for_finished_delivery_is_a_form_error(
    browser: Client, delivery: Delivery
) -> None:
    """Nothing is stored."""
    delivery.add_file("a.txt", b"a")
    delivery.finish()
    page = add_file(Page.get(browser, url_for(FileMeta, "add")), delivery, upload())
    assert [FINISHED in error for error in page.errors] == [True]
    assert len(stored_names()) == 1


def test_delivery_finished_during_upload_is_reported(
    browser: Client, delivery: Delivery, store: HookedStore
) -> None:
    """The race after validation leaves no row."""
    rows = Delivery.objects.filter(pk=delivery.pk)
    store.before = lambda name: rows.update(successful=True)
    page = add_file(Page.get(browser, url_for(FileMeta, "add")), delivery, upload())
    assert [FINISHED in message for message in page.messages] == [True]
    assert not FileMeta.objects.exists()


class Finisher:
    """Finish a delivery in another thread and connection."""

    def __init__(self, delivery: Delivery) -> None:
        self._pk = delivery.pk
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._finish)

    def _finish(self) -> None:
        try:
            Delivery.objects.get(pk=self._pk).finish()
            self._done.set()
        finally:
            connections.close_all()

    def has_to_wait(self, *args: Any) -> None:
        """Start the thread if necessary, and check that it waits."""
        if self._thread.ident is None:
            self._thread.start()
        assert not self._done.wait(0.5)

    def check_finished(self) -> None:
        self._thread.join(60)
        assert self._done.is_set()
        delivery = Delivery.objects.get(pk=self._pk)
        assert (delivery.successful, delivery.number) == (True, 1)


@pytest.mark.django_db(transaction=True)
def test_finish_waits_for_files_of_a_page(
    browser: Client, delivery: Delivery, store: HookedStore
) -> None:
    """The admin locks the delivery, so that it is finished with all files."""
    delivery.add_file("a.txt", b"a")
    finisher = Finisher(delivery)
    page = Page.get(browser, url_of(delivery))
    store.before = finisher.has_to_wait
    page = add_files(page, ("b.txt", upload()), ("c.txt", upload()))
    finisher.check_finished()
    (message,) = page.messages
    assert "was changed successfully" in message
    assert set(contents(delivery)) == {"a.txt", "b.txt", "c.txt"}


@pytest.mark.django_db(transaction=True)
def test_finish_waits_for_a_page_that_is_saved(
    browser: Client, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise saving would overwrite the columns of the finished delivery."""
    delivery.add_file("a.txt", b"a")
    finisher = Finisher(delivery)
    page = Page.get(browser, url_of(delivery))
    save_form = DeliveryAdmin.save_form

    def held(self: Any, *args: Any, **kwargs: Any) -> Any:
        finisher.has_to_wait()
        return save_form(self, *args, **kwargs)

    monkeypatch.setattr(DeliveryAdmin, "save_form", held)
    page = page.submit("delivery_form", {}, "_save")
    finisher.check_finished()
    (message,) = page.messages
    assert "was changed successfully" in message


# -- The action --


def finish(browser: Client, *deliveries: Delivery) -> Page:
    page = Page.get(browser, url_for(Delivery))
    selected = [str(delivery.pk) for delivery in deliveries]
    data = {"action": "finish", "_selected_action": selected}
    return page.submit("changelist-form", data, "index")


def test_action_finishes_whole_deliveries(browser: Client, group: AssignmentGroup) -> None:
    """They are finished in order, and the errors of the others are reported."""
    whole, empty, torn, missing, again = (Delivery.begin(group) for _ in range(5))
    for delivery in (whole, torn, missing, again):
        delivery.add_file("a.txt", b"abc")
    again.finish()
    store = store_for(FileMeta)
    name = torn.files.get().content.name
    store.delete(name)
    store.save(name, ContentFile(b"a"))
    store.delete(missing.files.get().content.name)
    page = finish(browser, whole, empty, torn, missing, again)
    text = "\n".join(page.messages)
    assert len(page.messages) == 5
    assert "1 delivery was finished." in text
    assert f"'{empty.pk}' has no files" in text
    assert "'a.txt' has 1 bytes in the store, not 3" in text
    assert "'a.txt' is missing in the store" in text
    assert f"'{again.pk}' is finished" in text
    numbers = dict(Delivery.objects.filter(successful=True).values_list("pk", "number"))
    assert numbers == {again.pk: 1, whole.pk: 2}
    assert LogEntry.objects.get().object_id == str(whole.pk)


def test_action_reports_failing_store(
    browser: Client, delivery: Delivery, store: HookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivery is not finished."""
    delivery.add_file("a.txt", b"a")

    def fail(prefix: str = "") -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store, "scan", fail)
    (message,) = finish(browser, delivery).messages
    assert message == f"Delivery {delivery.pk}: the delivery store failed: Input/output error."
    delivery.refresh_from_db()
    assert not delivery.successful


def test_action_reports_a_limited_number_of_errors(
    browser: Client, group: AssignmentGroup
) -> None:
    """A last message has the number of the others."""
    page = finish(browser, *(Delivery.begin(group) for _ in range(13)))
    assert len(page.messages) == 11
    assert page.messages[-1] == "... and 3 more could not be processed."
