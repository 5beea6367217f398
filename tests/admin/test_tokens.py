"""Forms of the admin's own pages, sent as they are to a site that checks their tokens."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from devilry_storage.deliveries.models import AssignmentGroup, Delivery
from devilry_storage.models import MonthlySum, Tombstone
from devilry_storage.storages import MemoryDeliveryStore
from devilry_storage.testing import override_deliverystore
from tests.harness.users import make_superuser

from .pages import Form, Page, url_for, url_of
from .test_stores import old, url


@pytest.fixture
def strict(db: None) -> Client:
    """A browser in which a superuser is logged in, of a site that checks tokens."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_superuser())
    return client


@pytest.fixture
def tombstone(delivery: Delivery) -> Any:
    delivery.add_file("a.txt", b"a").delete()
    return Tombstone.objects.get()


def send(page: Page, action: str = "") -> Page:
    """Send the page's form to a URL that ends so, as a browser does."""
    (form,) = (
        Form(each)
        for each in page.root.find("form", method="post")
        if each.attributes.get("action", "").endswith(action)
        and each.attributes.get("id") != "logout-form"
    )
    target = form.action or page.url
    return Page(page.client, page.client.post(target, form.values, follow=True), target)


def test_button_that_restores_has_a_token(strict: Client, tombstone: Any) -> None:
    """It stands on the page of the tombstone."""
    page = send(Page.get(strict, url_of(tombstone)), "/restore/")
    assert page.messages == ["1 file was restored."]


def test_page_that_asks_before_removing_has_a_token(strict: Client, tombstone: Any) -> None:
    """The page of one tombstone."""
    page = send(Page.get(strict, url_of(tombstone, "remove")))
    assert page.messages == ["1 file was removed for good."]


def test_page_that_asks_about_an_orphan_has_a_token(strict: Client, delivery: Delivery) -> None:
    """Its form writes the tombstone."""
    with override_deliverystore(MemoryDeliveryStore()) as store:
        row = delivery.add_file("a.txt", b"a")
        name = old(store, f"{row.content.name}_aB3dE6g")
        page = send(Page.get(strict, url("bury", name=name)))
    assert page.status == 200
    assert Tombstone.objects.get().name == name


def test_button_that_counts_again_has_a_token(strict: Client, delivery: Delivery) -> None:
    """It stands on the dashboard."""
    delivery.add_file("a.txt", b"a")
    page = send(Page.get(strict, url_for(MonthlySum)), "/refresh/")
    assert page.status == 200
    assert MonthlySum.objects.exists()


def test_page_that_asks_for_a_group_has_a_token(strict: Client, group: AssignmentGroup) -> None:
    """Its form searches for groups, and copies the delivery."""
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
