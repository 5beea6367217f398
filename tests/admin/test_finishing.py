"""Finished deliveries: how the admin finishes them, and that they take no file."""

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


def test_a_finished_delivery_takes_no_file(browser: Client, delivery: Delivery) -> None:
    """There is nothing to add files with, and its group and number stay as they are."""
    delivery.add_file("a.txt", b"a")
    delivery.finish()
    form = Page.get(browser, url_of(delivery)).form("delivery_form")
    assert not form.files
    assert not {name for name in form.names if name.startswith("filemetas-")}
    assert not form.names & {"assignment_group", "delivered_by", "number", "successful"}


def test_uploads_to_a_delivery_finished_meanwhile_are_refused(
    browser: Client, delivery: Delivery
) -> None:
    """The page was made before it was finished: nothing is added, and the page says so."""
    delivery.add_file("a.txt", b"a")
    page = Page.get(browser, url_of(delivery))
    delivery.finish()
    page = add_files(page, ("new.txt", upload()))
    assert [FINISHED in message for message in page.messages] == [True]
    assert contents(delivery) == {"a.txt": b"a"}
    assert len(stored_names()) == 1


def test_saving_an_old_page_does_not_unfinish_the_delivery(
    browser: Client, delivery: Delivery
) -> None:
    """A page that was made before the delivery was finished changes nothing of that."""
    delivery.add_file("a.txt", b"a")
    page = Page.get(browser, url_of(delivery))
    delivery.finish()
    other = AssignmentGroup.objects.create(name="another")
    page.submit("delivery_form", {"assignment_group": other.pk}, "_save")
    delivery.refresh_from_db()
    assert (delivery.successful, delivery.number) == (True, 1)
    assert delivery.assignment_group.name == "the group"


def test_the_page_of_files_refuses_a_finished_delivery(
    browser: Client, delivery: Delivery
) -> None:
    """A form error, before any byte is stored."""
    delivery.add_file("a.txt", b"a")
    delivery.finish()
    page = add_file(Page.get(browser, url_for(FileMeta, "add")), delivery, upload())
    assert [FINISHED in error for error in page.errors] == [True]
    assert len(stored_names()) == 1


def test_a_delivery_finished_while_bytes_move_is_told(
    browser: Client, delivery: Delivery, store: HookedStore
) -> None:
    """A race after the form was judged is a message and leaves no row."""
    rows = Delivery.objects.filter(pk=delivery.pk)
    store.before = lambda name: rows.update(successful=True)
    page = add_file(Page.get(browser, url_for(FileMeta, "add")), delivery, upload())
    assert [FINISHED in message for message in page.messages] == [True]
    assert not FileMeta.objects.exists()


class Finisher:
    """Finishes a delivery in a thread and a connection of its own."""

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
        """Begin, unless it has begun, and check that it does not come through."""
        if self._thread.ident is None:
            self._thread.start()
        assert not self._done.wait(0.5)

    def check_finished(self) -> None:
        self._thread.join(60)
        assert self._done.is_set()
        delivery = Delivery.objects.get(pk=self._pk)
        assert (delivery.successful, delivery.number) == (True, 1)


@pytest.mark.django_db(transaction=True)
def test_finish_waits_for_the_files_that_a_page_adds(
    browser: Client, delivery: Delivery, store: HookedStore
) -> None:
    """The admin holds the delivery while it adds files: all of them are in what is finished."""
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
def test_a_page_cannot_unfinish_what_is_finished_while_it_is_saved(
    browser: Client, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving writes every column as it was read: so nobody writes in between."""
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
    chosen = {"action": "finish", "_selected_action": [str(each.pk) for each in deliveries]}
    return page.submit("changelist-form", chosen, "index")


def test_the_action_finishes_what_can_be_finished(browser: Client, group: AssignmentGroup) -> None:
    """Whole deliveries are finished in order; of the others the reasons are told."""
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
    told = "\n".join(page.messages)
    assert len(page.messages) == 5
    assert "1 delivery was finished." in told
    assert f"'{empty.pk}' has no files" in told
    assert "'a.txt' has 1 bytes in the store, not 3" in told
    assert "'a.txt' is missing in the store" in told
    assert f"'{again.pk}' is finished" in told
    numbers = dict(Delivery.objects.filter(successful=True).values_list("pk", "number"))
    assert numbers == {again.pk: 1, whole.pk: 2}
    assert LogEntry.objects.get().object_id == str(whole.pk)


def test_a_store_that_fails_is_told_by_the_action(
    browser: Client, delivery: Delivery, store: HookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that cannot be asked finishes nothing."""
    delivery.add_file("a.txt", b"a")

    def fail(prefix: str = "") -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store, "scan", fail)
    (message,) = finish(browser, delivery).messages
    assert message == f"Delivery {delivery.pk}: the delivery store failed: Input/output error."
    delivery.refresh_from_db()
    assert not delivery.successful


def test_not_every_reason_of_many_is_told(browser: Client, group: AssignmentGroup) -> None:
    """Messages do not bury the page."""
    page = finish(browser, *(Delivery.begin(group) for _ in range(13)))
    assert len(page.messages) == 11
    assert page.messages[-1] == "So cannot 3 others."
