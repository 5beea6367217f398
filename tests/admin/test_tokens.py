"""CSRF tokens in the forms of the admin's own pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from devilry_storage.deliveries.models import AssignmentGroup, Delivery
from devilry_storage.models import MonthlySum, Tombstone
from devilry_storage.testing import MemoryDeliveryStore, override_deliverystore
from tests.harness.users import make_superuser

from .pages import Form, Page, url_for, url_of
from .test_stores import save_old, url


@pytest.fixture
def strict(db: None) -> Client:
    """Return the client of a superuser that enforces CSRF checks."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_superuser())
    return client


@pytest.fixture
def tombstone(delivery: Delivery) -> Any:
    delivery.add_file("a.txt", b"a").delete()
    return Tombstone.objects.get()


def send(page: Page, action: str = "") -> Page:
    """Submit the form of the page whose action ends with this text."""
    (form,) = (
        Form(form)
        for form in page.root.find("form", method="post")
        if form.attributes.get("action", "").endswith(action)
        and form.attributes.get("id") != "logout-form"
    )
    target = form.action or page.url
    return Page(page.client, page.client.post(target, form.values, follow=True), target)


def test_restore_button_has_csrf_token(strict: Client, tombstone: Any) -> None:
    """The button of a deleted file."""
    page = send(Page.get(strict, url_of(tombstone)), "/restore/")
    assert page.messages == ["1 file was restored."]


def test_remove_confirmation_has_csrf_token(strict: Client, tombstone: Any) -> None:
    """The page for one deleted file."""
    page = send(Page.get(strict, url_of(tombstone, "remove")))
    assert page.messages == ["1 file was removed permanently."]


def test_delete_confirmation_of_unrecorded_file_has_csrf_token(
    strict: Client, delivery: Delivery
) -> None:
    """Its form writes the tombstone."""
    with override_deliverystore(MemoryDeliveryStore()) as store:
        row = delivery.add_file("a.txt", b"a")
        name = save_old(store, f"{row.content.name}_aB3dE6g")
        page = send(Page.get(strict, url("bury", name=name)))
    assert page.status == 200
    assert Tombstone.objects.get().name == name


def test_dashboard_button_has_csrf_token(strict: Client, delivery: Delivery) -> None:
    """The button that updates the statistics."""
    delivery.add_file("a.txt", b"a")
    page = send(Page.get(strict, url_for(MonthlySum)), "/refresh/")
    assert page.status == 200
    assert MonthlySum.objects.exists()


def test_copy_form_has_csrf_token(strict: Client, group: AssignmentGroup) -> None:
    """The form searches for groups and copies deliveries."""
    delivery = Delivery.begin(group)
    delivery.add_file("a.txt", b"a")
    delivery.finish()
    page = Page.get(strict, url_for(Delivery))
    chosen = {"action": "copy", "_selected_action": [str(delivery.pk)]}
    page = page.submit("changelist-form", chosen)
    page = page.submit("copy_form", {"search": "the"}, "search_groups")
    assert page.status == 200
    page.submit("copy_form", {"group": [str(group.pk)]}, "copy")
    assert Delivery.objects.count() == 2
