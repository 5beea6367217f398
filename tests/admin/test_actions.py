"""Actions on the list of deliveries: download, integrity check, copy and delete."""

from __future__ import annotations

import errno
import io
import zipfile
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.test import Client
from django.utils import timezone

from devilry_storage.admin import actions
from devilry_storage.deliveries.admin import AssignmentGroupAdmin
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import StoreUnavailable
from devilry_storage.integrity import verify
from devilry_storage.resolving import store_for
from tests.testapp.stores import HookedStore, failure

from .pages import Page, contents, staff, url_for

#: The permissions to copy deliveries.
COPY = ("add_delivery", "view_filemeta", "add_filemeta")

MODELS = {"delivery", "filemeta", "assignmentgroup"}


def choose(browser: Client, action: str, *deliveries: Delivery) -> Any:
    """Run an action on deliveries of the list and return the response, after redirects."""
    selected = [str(delivery.pk) for delivery in deliveries]
    data = {"action": action, "_selected_action": selected}
    return browser.post(url_for(Delivery), {**data, "index": "0"}, follow=True)


def page_of(browser: Client, response: Any) -> Page:
    return Page(browser, response, url_for(Delivery))


def deliver(group: AssignmentGroup, *filenames: str, finish: bool = True) -> Delivery:
    delivery = Delivery.begin(group)
    delivery.add_files({name: name.encode() for name in filenames})
    if finish:
        delivery.finish()
    return delivery


def logged(row: Any) -> list[tuple[int, str]]:
    entries = LogEntry.objects.filter(
        object_id=str(row.pk), content_type__model=row._meta.model_name
    )
    return [(entry.action_flag, entry.get_change_message()) for entry in entries]


# -- Download --


def test_selected_deliveries_are_downloaded_as_zip(
    browser: Client, group: AssignmentGroup
) -> None:
    """The zip has the selected deliveries only."""
    first, second = deliver(group, "a.txt"), deliver(group, "b.txt")
    deliver(group, "c.txt")
    answer = choose(browser, "download", first, second)
    assert answer["Content-Type"] == "application/zip"
    assert answer["Content-Disposition"] == 'attachment; filename="deliveries.zip"'
    data = b"".join(answer.streaming_content)
    assert answer["Content-Length"] == str(len(data))
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert names == ["REPORT.txt", "the group/1/a.txt", "the group/2/b.txt", "SHA256SUMS"]


def test_zip_omits_files_hidden_by_visible_to(
    browser: Client, group: AssignmentGroup, secrets: None
) -> None:
    """The action respects visible_to(), as downloads do."""
    answer: Any = choose(browser, "download", deliver(group, "a.txt", "secret.txt"))
    data = b"".join(answer.streaming_content)
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert names == ["REPORT.txt", "the group/1/a.txt", "SHA256SUMS"]


def test_archive_over_the_limit_is_reported(
    browser: Client, group: AssignmentGroup, settings: Any
) -> None:
    """The list shows a message."""
    settings.DELIVERY_STORE_ARCHIVE_MAX_FILES = 1
    (message,) = page_of(browser, choose(browser, "download", deliver(group, "a", "b"))).messages
    assert "DELIVERY_STORE_ARCHIVE_MAX_FILES" in message


def test_archive_of_failing_store_is_reported(
    browser: Client, group: AssignmentGroup, store: HookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is found before the response begins."""
    delivery = deliver(group, "a")

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("The server does not respond.")

    for name in ("scan", "size"):
        monkeypatch.setattr(store, name, fail)
    (message,) = page_of(browser, choose(browser, "download", delivery)).messages
    assert message == "The server does not respond."


@pytest.mark.parametrize(
    ("permissions", "offered"),
    [
        (("view_delivery",), {"verify"}),
        (("view_delivery", "view_filemeta"), {"verify", "download"}),
        (("view_delivery", "add_delivery"), {"verify"}),
        (("view_delivery", "add_delivery", "add_filemeta"), {"verify"}),
        (("view_delivery", "add_delivery", "view_filemeta"), {"verify", "download"}),
        (("view_delivery", "view_filemeta", "add_filemeta"), {"verify", "download"}),
        (("view_delivery", *COPY), {"verify", "download", "copy"}),
        (("change_delivery",), {"verify", "finish"}),
        (("view_delivery", "delete_delivery"), {"verify", "delete_selected"}),
    ],
)
def test_actions_need_permissions(
    permissions: tuple[str, ...], offered: set[str], group: AssignmentGroup
) -> None:
    """An action that is not offered is not run when it is submitted."""
    delivery = deliver(group, "a.txt", finish=False)
    browser = staff(*permissions)
    (select,) = Page.get(browser, url_for(Delivery)).root.find("select", name="action")
    assert {option.attributes["value"] for option in select.find("option")} == {"", *offered}
    for action in {"download", "verify", "copy", "finish", "delete_selected"} - offered:
        answer = choose(browser, action, delivery)
        assert "No action selected." in page_of(browser, answer).messages
    assert Delivery.objects.get() == delivery
    assert not LogEntry.objects.exists()


def test_copy_needs_permission_to_view_files(group: AssignmentGroup) -> None:
    """Otherwise users could copy files to their own group to read them."""
    delivery = deliver(group, "a.txt")
    browser = staff("view_delivery", "add_delivery", "add_filemeta")
    own = AssignmentGroup.objects.create(name="own")
    own.candidates.add(get_user_model()._default_manager.get())
    chosen = {"action": "copy", "_selected_action": [str(delivery.pk)], "copy": "Copy"}
    browser.post(url_for(Delivery), {**chosen, "search": str(own.pk), "group": str(own.pk)})
    assert Delivery.objects.get() == delivery


# -- Integrity check --


def replace_bytes(row: FileMeta, data: bytes | None) -> None:
    """Replace the bytes of a file, or delete them."""
    store: Any = store_for(row)
    store.delete(row.content.name)
    if data is not None:
        store.save(row.content.name, ContentFile(data))


def test_integrity_check_reports_problems_of_each_file(
    browser: Client, group: AssignmentGroup
) -> None:
    """Missing files, wrong sizes, incomplete uploads and files without rows are reported."""
    whole = deliver(group, "a.txt")
    damaged = deliver(group, "good", "lost", "torn", finish=False)
    pending = FileMeta.objects.create(delivery=damaged, filename="pending")
    rows = {row.filename: row for row in damaged.files}
    replace_bytes(rows["lost"], None)
    replace_bytes(rows["torn"], b"to")
    store: Any = store_for(FileMeta)
    folder = store.layout.folder(damaged.pk)
    store.save(f"{folder}/999", ContentFile(b"orphan"))
    store.save(f"{folder}/notes.txt", ContentFile(b"foreign"))
    began = timezone.now()
    page = page_of(browser, choose(browser, "verify", whole, damaged))
    assert "2 deliveries were checked." in page.text
    assert "2 files are in the store with their recorded sizes." in page.text
    (table,) = (
        table for part in page.root.find(class_="devilry-scroll") for table in part.find("table")
    )
    problems = [row.text for body in table.find("tbody") for row in body.find("tr")]
    wrong_size = "Wrong size: 2 bytes in the store, but 4 bytes are recorded"
    assert sorted(problems) == sorted(
        f"Delivery {damaged.pk} {rest}"
        for rest in (
            "pending Not stored",
            f"lost {rows['lost'].content} Missing: the file is not in the store",
            f"torn {rows['torn'].content} {wrong_size}",
            f"{folder}/999 Unrecorded file of 6 bytes in the delivery's folder",
            f"{folder}/notes.txt Unknown file of 7 bytes in the delivery's folder",
        )
    )
    checked = {row.filename for row in FileMeta.objects.filter(verified_at__gte=began)}
    assert checked == {"a.txt", "good"}
    assert FileMeta.objects.get(pk=pending.pk).verified_at is None
    assert logged(whole) == [(CHANGE, "Integrity check: complete files: 1, problems: 0.")]


def test_filename_of_a_problem_is_escaped(browser: Client, group: AssignmentGroup) -> None:
    """Students choose filenames."""
    delivery = deliver(group, "a.txt")
    replace_bytes(delivery.files.get(), None)
    FileMeta.objects.update(filename="<script>alert(1)</script>")
    page = choose(browser, "verify", delivery).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_integrity_check_of_whole_deliveries_finds_no_problems(
    browser: Client, group: AssignmentGroup
) -> None:
    """Deleted files in the folder are not a problem."""
    delivery = deliver(group, "a", "b", finish=False)
    delivery.files.get(filename="b").delete()
    page = page_of(browser, choose(browser, "verify", delivery))
    assert "No problems were found." in page.text
    assert "One file is in the store with its recorded size." in page.text


def test_integrity_check_reports_failing_store(
    browser: Client, group: AssignmentGroup, store: HookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is recorded as checked."""
    delivery = deliver(group, "a")

    def fail(prefix: str = "") -> Any:
        raise failure(errno.EIO)

    monkeypatch.setattr(store, "scan", fail)
    page = page_of(browser, choose(browser, "verify", delivery))
    assert page.messages == [
        f"Delivery {delivery.pk}: the delivery store failed: Input/output error."
    ]
    assert FileMeta.objects.get().verified_at is None


def test_integrity_check_skips_bytes_replaced_meanwhile(
    browser: Client, group: AssignmentGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorded time is about the bytes that were checked."""
    delivery = deliver(group, "a", finish=False)

    def replace_afterwards(checked: Any) -> Any:
        verdicts = list(verify(checked))
        row = delivery.files.get()
        row.content = ContentFile(b"another", name="a")
        row.save()
        return verdicts

    monkeypatch.setattr(actions, "check_delivery", replace_afterwards)
    choose(browser, "verify", delivery)
    assert FileMeta.objects.get().verified_at is None


# -- Copy --


def test_deliveries_are_copied_to_the_selected_group(
    browser: Client, group: AssignmentGroup
) -> None:
    """The field of the group is autocompleted, as on the delivery's own page."""
    first, second = deliver(group, "a.txt"), deliver(group, "b.txt")
    before = timezone.now() - timedelta(days=1)
    Delivery.objects.filter(pk=first.pk).update(time_of_delivery=before)
    other = AssignmentGroup.objects.create(name="Other")
    page = page_of(browser, choose(browser, "copy", first, second))
    (select,) = page.root.find("select", name="group")
    assert select.attributes["data-field-name"] == "assignment_group"
    assert "select2" in page.html
    assert not list(select.find("option", value=str(other.pk)))
    page = page.submit("copy_form", {"group": str(other.pk)}, "copy")
    assert page.messages == ["2 deliveries were copied to “Other”."]
    copies = list(Delivery.objects.filter(assignment_group=other).order_by("number"))
    assert [copy.copy_of for copy in copies] == [first, second]
    assert [contents(copy) for copy in copies] == [{"a.txt": b"a.txt"}, {"b.txt": b"b.txt"}]
    assert copies[0].time_of_delivery == before
    assert logged(copies[0]) == [(ADDITION, f"Copied from Delivery {first.pk}.")]
    assert logged(first) == []


def test_copy_form_ignores_thousand_separators(browser: Client, settings: Any) -> None:
    """Ids in the form are not localized."""
    settings.USE_THOUSAND_SEPARATOR = True
    group = AssignmentGroup.objects.create(pk=23456, name="group")
    other = AssignmentGroup.objects.create(pk=34567, name="Other")
    delivery = Delivery.objects.create(pk=12345, assignment_group=group)
    delivery.add_file("a.txt", b"a")
    delivery.finish()
    page = page_of(browser, choose(browser, "copy", delivery))
    page = page.submit("copy_form", {"group": str(other.pk)}, "copy")
    assert page.messages == ["1 delivery was copied to “Other”."]
    assert other.deliveries.get().copy_of == delivery


def test_copy_needs_a_valid_group(browser: Client, group: AssignmentGroup) -> None:
    """The form is shown again without a group or with an invalid one."""
    delivery = deliver(group, "a.txt")
    sent = {"action": "copy", "_selected_action": [str(delivery.pk)], "copy": "Copy"}
    invalid = "Select a valid choice. That choice is not one of the available choices."
    for chosen, error in {"": "This field is required.", "99999": invalid, "x": invalid}.items():
        answer = browser.post(url_for(Delivery), {**sent, "group": chosen}, follow=True)
        assert page_of(browser, answer).errors == [error]
    assert Delivery.objects.get() == delivery


def test_copy_reports_unfinished_and_missing_files(
    browser: Client, group: AssignmentGroup
) -> None:
    """The other deliveries are copied."""
    whole, unfinished, lost = (
        deliver(group, "a.txt"),
        deliver(group, "b.txt", finish=False),
        deliver(group, "c.txt"),
    )
    replace_bytes(lost.files.get(), None)
    other = AssignmentGroup.objects.create(name="other")
    page = page_of(browser, choose(browser, "copy", whole, unfinished, lost))
    assert "not finished, cannot be copied" in page.text
    page = page.submit("copy_form", {"group": str(other.pk)}, "copy")
    text = "\n".join(page.messages)
    assert "1 delivery was copied to “other”." in text
    assert f"'{unfinished.pk}', because it is not finished" in text
    assert f"Delivery {lost.pk}: The store has no file" in text
    assert [copy.copy_of for copy in other.deliveries.all()] == [whole]


def test_copy_rejects_groups_hidden_by_their_admin(
    browser: Client, group: AssignmentGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id of such a group is not valid, and its name is not shown."""
    delivery = deliver(group, "a.txt")
    hidden = AssignmentGroup.objects.create(name="hidden")
    shown = AssignmentGroup.objects.exclude(pk=hidden.pk)
    monkeypatch.setattr(AssignmentGroupAdmin, "get_queryset", lambda *args: shown.all())
    chosen = {"action": "copy", "_selected_action": [str(delivery.pk)], "copy": "Copy"}
    answer = browser.post(url_for(Delivery), {**chosen, "group": str(hidden.pk)}, follow=True)
    assert "hidden" not in page_of(browser, answer).text
    assert Delivery.objects.get() == delivery
    browser.post(url_for(Delivery), {**chosen, "group": str(group.pk)})
    assert Delivery.objects.count() == 2


def test_copy_without_permission_to_view_groups_needs_an_id(group: AssignmentGroup) -> None:
    """Such users cannot search for groups, and do not see their names."""
    delivery = deliver(group, "a.txt", finish=False)
    other = AssignmentGroup.objects.create(name="other")
    browser = staff("view_delivery", *COPY)
    page = page_of(browser, choose(browser, "copy", delivery))
    assert len(list(page.root.find("input", name="group", type="text"))) == 1
    chosen = {"action": "copy", "_selected_action": [str(delivery.pk)], "copy": "Copy"}
    for pk in (other.pk, other.pk + 1):
        answer = browser.post(url_for(Delivery), {**chosen, "group": str(pk)}, follow=True)
        assert "other" not in page_of(browser, answer).text.replace("another", "")
    delivery.finish()
    page = page_of(browser, choose(browser, "copy", delivery))
    page.submit("copy_form", {"group": str(other.pk)}, "copy")
    assert other.deliveries.get().copy_of == delivery


@pytest.mark.parametrize("action", ["verify", "copy"])
def test_actions_limit_the_number_of_deliveries(
    action: str, browser: Client, group: AssignmentGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This bounds the duration of a request."""
    monkeypatch.setattr(actions, "MAX_DELIVERIES", 1)
    answer = choose(browser, action, deliver(group, "a"), deliver(group, "b"))
    assert page_of(browser, answer).messages == [
        "Nothing was done: select at most 1 deliveries at once."
    ]
    assert not LogEntry.objects.exists()


def test_actions_need_csrf_token(browser: Client, group: AssignmentGroup) -> None:
    """All actions of the list are protected."""
    delivery = deliver(group, "a.txt")
    client = Client(enforce_csrf_checks=True)
    client.cookies = browser.cookies
    for action in ("finish", "download", "verify", "copy", "delete_selected"):
        assert choose(client, action, delivery).status_code == 403


# -- Delete --


@pytest.mark.parametrize("way", ["page", "selected"])
@pytest.mark.parametrize("model", [Delivery, FileMeta])
def test_delete_confirmation_shows_retention(
    way: str, model: Any, browser: Client, group: AssignmentGroup, settings: Any
) -> None:
    """It says until when the files can be restored, or that they cannot."""
    delivery = deliver(group, "a.txt")
    row = delivery if model is Delivery else delivery.files.get()

    def confirmation() -> str:
        if way == "page":
            return Page.get(browser, f"{url_for(model)}{row.pk}/delete/").text
        chosen = {"action": "delete_selected", "_selected_action": str(row.pk), "index": "0"}
        return Page(browser, browser.post(url_for(model), chosen, follow=True), "").text

    assert "users who may restore deleted files can bring the files and their" in confirmation()
    settings.DELIVERY_STORE_RETENTION_DAYS = 0
    assert "The files will be removed permanently." in confirmation()
