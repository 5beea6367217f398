"""Who may do what in the admin: Django's own permissions."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import Tombstone
from tests.harness.users import make_user

from .pages import Page, add_files, contents, upload, url_for, url_of

MODELS = (AssignmentGroup, Delivery, FileMeta, Tombstone)


@pytest.fixture
def row(delivery: Delivery) -> Any:
    return delivery.add_file("a.txt", b"a")


def staff(*permissions: str) -> Client:
    """Return the browser of a member of the staff who may do just this."""
    user = make_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    assert user.user_permissions.count() == len(permissions)
    client = Client()
    client.force_login(user)
    return client


def test_staff_without_permissions_see_nothing(row: Any) -> None:
    """To be staff is not enough."""
    browser = staff()
    for url in (*(url_for(model) for model in MODELS), url_of(row), url_of(row.delivery)):
        assert browser.get(url).status_code == 403


@pytest.mark.parametrize("page", ["history", "preview"])
def test_page_does_not_tell_staff_without_permission_what_exists(page: str, row: Any) -> None:
    """The answer is the same for a row that is there and for one that is not."""
    browser = staff("add_filemeta", "view_delivery")
    there, not_there = (browser.get(url_of(each, page)) for each in (row, FileMeta(pk=10**6)))
    assert there.status_code == not_there.status_code == 403
    assert there.content == not_there.content


def test_who_may_only_view_a_delivery_changes_nothing(row: Any) -> None:
    """Pages open, without anything to fill in, or an empty table for it; the list can be read."""
    browser = staff("view_delivery", "view_filemeta", "add_filemeta")
    delivery = row.delivery
    page = Page.get(browser, url_of(delivery))
    form = page.form("delivery_form")
    assert not form.files
    assert not form.boxes
    assert "a.txt" in page.text
    assert "new files" not in page.text.lower()
    assert form.names <= {"csrfmiddlewaretoken"} | {
        name for name in form.names if name.startswith("stored-filemetas-")
    }
    (actions,) = Page.get(browser, url_for(Delivery)).root.find("select", name="action")
    offered = {option.attributes["value"] for option in actions.find("option")}
    assert offered == {"", "download", "verify"}
    for url in (url_of(delivery), url_of(row), url_of(row, "delete")):
        assert browser.post(url, {"post": "yes"}).status_code == 403
    assert contents(delivery) == {"a.txt": b"a"}


def test_files_are_added_by_who_may_add_files(row: Any) -> None:
    """Without the permission to view or delete them, too."""
    browser = staff("view_delivery", "change_delivery", "add_filemeta")
    page = Page.get(browser, url_of(row.delivery))
    assert "a.txt" not in page.text
    assert not page.form("delivery_form").boxes
    add_files(page, ("b.txt", upload()))
    assert set(contents(row.delivery)) == {"a.txt", "b.txt"}


def test_who_may_not_add_files_has_nothing_to_add_them_with(row: Any) -> None:
    """To change a delivery is not to add files to it, whatever is sent."""
    browser = staff("change_delivery", "view_filemeta")
    page = Page.get(browser, url_of(row.delivery))
    form = page.form("delivery_form")
    assert not form.files
    forged = {
        "filemetas-TOTAL_FORMS": "1",
        "filemetas-INITIAL_FORMS": "0",
        "filemetas-0-filename": "b.txt",
        "filemetas-0-content": upload(),
    }
    browser.post(page.url, {**form.filled({}, "_save"), **forged})
    assert browser.post(url_for(FileMeta, "add"), forged).status_code == 403
    assert set(contents(row.delivery)) == {"a.txt"}


def test_files_are_deleted_by_who_may_delete_files(row: Any) -> None:
    """Beside each other: one who may not has no box, and a forged one is not heeded."""
    delivery = row.delivery
    browser = staff("change_delivery", "view_filemeta", "delete_delivery")
    page = Page.get(browser, url_of(delivery))
    form = page.form("delivery_form")
    assert not form.boxes
    browser.post(page.url, {**form.filled({}, "_save"), "stored-filemetas-0-DELETE": "on"})
    assert browser.post(url_of(delivery, "delete"), {"post": "yes"}).status_code == 403
    assert contents(delivery) == {"a.txt": b"a"}
    assert not Tombstone.objects.exists()


def test_only_who_may_change_deliveries_finishes_them(row: Any) -> None:
    """The action is not offered to others, nor carried out for them."""
    browser = staff("view_delivery", "delete_delivery")
    assert "Finish selected" not in Page.get(browser, url_for(Delivery)).html
    chosen = {"action": "finish", "_selected_action": [str(row.delivery.pk)], "index": "0"}
    browser.post(url_for(Delivery), chosen)
    row.delivery.refresh_from_db()
    assert not row.delivery.successful


def test_who_views_tombstones_needs_that_permission(row: Any) -> None:
    """Those who may delete files do not see what was deleted."""
    row.delete()
    browser = staff("delete_filemeta", "view_filemeta")
    assert browser.get(url_for(Tombstone)).status_code == 403
