"""Django's permissions in the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model

from devilry_storage.admin import deliveries
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import Tombstone

from .pages import Page, add_files, contents, staff, upload, url_for, url_of

MODELS = (AssignmentGroup, Delivery, FileMeta, Tombstone)


@pytest.fixture
def row(delivery: Delivery) -> Any:
    return delivery.add_file("a.txt", b"a")


def test_staff_without_permissions_see_nothing(row: Any) -> None:
    """The flag is_staff is not enough."""
    browser = staff()
    for url in (*(url_for(model) for model in MODELS), url_of(row), url_of(row.delivery)):
        assert browser.get(url).status_code == 403


@pytest.mark.parametrize("page", ["history", "preview"])
def test_pages_do_not_reveal_which_rows_exist(page: str, row: Any) -> None:
    """The response is the same for existing and absent rows."""
    browser = staff("add_filemeta", "view_delivery")
    absent = FileMeta(pk=10**6)
    existing, missing = (browser.get(url_of(file, page)) for file in (row, absent))
    assert existing.status_code == missing.status_code == 403
    assert existing.content == missing.content


def test_view_permission_allows_no_changes(row: Any) -> None:
    """Pages and lists can be read."""
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


def test_add_permission_allows_uploads(row: Any) -> None:
    """The permissions to view or delete files are not needed."""
    browser = staff("view_delivery", "change_delivery", "add_filemeta")
    page = Page.get(browser, url_of(row.delivery))
    assert "a.txt" not in page.text
    assert not page.form("delivery_form").boxes
    add_files(page, ("b.txt", upload()))
    assert set(contents(row.delivery)) == {"a.txt", "b.txt"}


def test_uploads_need_add_permission(row: Any) -> None:
    """The permission to change the delivery is not enough."""
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


def test_deletes_need_delete_permission(row: Any) -> None:
    """Without it there is no checkbox, and a forged one is ignored."""
    delivery = row.delivery
    browser = staff("change_delivery", "view_filemeta", "delete_delivery")
    page = Page.get(browser, url_of(delivery))
    form = page.form("delivery_form")
    assert not form.boxes
    browser.post(page.url, {**form.filled({}, "_save"), "stored-filemetas-0-DELETE": "on"})
    assert browser.post(url_of(delivery, "delete"), {"post": "yes"}).status_code == 403
    assert contents(delivery) == {"a.txt": b"a"}
    assert not Tombstone.objects.exists()


def test_finish_needs_change_permission(row: Any) -> None:
    """Without it the action is neither offered nor run."""
    browser = staff("view_delivery", "delete_delivery")
    assert "Finish selected" not in Page.get(browser, url_for(Delivery)).html
    chosen = {"action": "finish", "_selected_action": [str(row.delivery.pk)], "index": "0"}
    browser.post(url_for(Delivery), chosen)
    row.delivery.refresh_from_db()
    assert not row.delivery.successful


def test_deleted_files_need_view_permission(row: Any) -> None:
    """The permission to delete files is not enough."""
    row.delete()
    browser = staff("delete_filemeta", "view_filemeta")
    assert browser.get(url_for(Tombstone)).status_code == 403


def test_change_permission_does_not_show_files(row: Any) -> None:
    """Django's own rule is that users who may change rows may view them."""
    browser = staff("change_delivery", "change_filemeta", "delete_filemeta", "change_tombstone")
    page = Page.get(browser, url_of(row.delivery))
    assert (page.status, "a.txt" in page.text) == (200, False)
    assert browser.get(url_of(row, "preview")).status_code == 403
    row.delete()
    (tombstone,) = Tombstone.objects.all()
    for page_name in ("change", "history", "restore", "remove"):
        assert browser.get(url_of(tombstone, page_name)).status_code == 403


@pytest.mark.parametrize("may_view", [False, True])
def test_group_of_a_delivery_is_changed_by_viewers_of_files_only(may_view: bool, row: Any) -> None:
    """As copies, which also make files visible to another group; so do the group's members."""
    permissions = ["change_delivery", "change_assignmentgroup"]
    browser = staff(*permissions, *(["view_filemeta"] if may_view else []))
    delivery = row.delivery
    names = Page.get(browser, url_of(delivery)).form("delivery_form").names
    assert ("assignment_group" in names) == may_view
    names = Page.get(browser, url_of(delivery.assignment_group)).form("assignmentgroup_form").names
    assert ("candidates" in names, "examiners" in names) == (may_view, may_view)


def test_row_is_locked_only_for_users_who_may_change_it(
    row: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others get the status 403 without waiting for the row, or making others wait."""
    locked = []
    monkeypatch.setattr(deliveries, "lock_row", lambda model, pk, *args: locked.append(pk))
    delivery = row.delivery
    urls = [url_of(delivery), url_of(delivery, "delete"), url_of(Delivery(pk=10**6))]
    for permissions in ((), ("view_delivery", "change_filemeta")):
        browser = staff(*permissions)
        statuses = [browser.post(url, {"post": "yes"}).status_code for url in urls]
        # From 6.1 on, Django redirects users who may view rows if a row does not exist.
        assert (statuses[:2], statuses[2] in {302, 403}) == ([403, 403], True)
        assert locked == []
        get_user_model()._default_manager.all().delete()
    staff("change_delivery").post(urls[0], {})
    assert locked == [delivery.pk]
