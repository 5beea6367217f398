"""What can be done with the deliveries of a list: a zip, a look into the store, a copy."""

from __future__ import annotations

import errno
import io
import zipfile
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.files.base import ContentFile
from django.test import Client
from django.utils import timezone

from devilry_storage.admin import actions
from devilry_storage.deliveries.admin import AssignmentGroupAdmin
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.integrity import verify
from devilry_storage.resolving import store_for
from tests.harness.users import make_user
from tests.testapp.stores import HookedStore, failure

from .pages import Page, contents, url_for

#: What a copy needs: it shows its files to another group.
COPY = ("add_delivery", "view_filemeta", "add_filemeta")

MODELS = {"delivery", "filemeta", "assignmentgroup"}


def choose(browser: Client, action: str, *deliveries: Delivery) -> Any:
    """Carry out an action on deliveries of the list; the answer, after redirects."""
    chosen = {"action": action, "_selected_action": [str(each.pk) for each in deliveries]}
    return browser.post(url_for(Delivery), {**chosen, "index": "0"}, follow=True)


def page_of(browser: Client, answer: Any) -> Page:
    return Page(browser, answer, url_for(Delivery))


def staff(*permissions: str) -> Client:
    """Return the browser of a member of the staff who may do just this."""
    user = make_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    assert user.user_permissions.count() == len(permissions)
    client = Client()
    client.force_login(user)
    return client


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


def test_chosen_deliveries_are_downloaded_as_one_zip(
    browser: Client, group: AssignmentGroup
) -> None:
    """Those that were ticked, and no others."""
    first, second = deliver(group, "a.txt"), deliver(group, "b.txt")
    deliver(group, "c.txt")
    answer = choose(browser, "download", first, second)
    assert answer["Content-Type"] == "application/zip"
    assert answer["Content-Disposition"] == 'attachment; filename="deliveries.zip"'
    data = b"".join(answer.streaming_content)
    assert answer["Content-Length"] == str(len(data))
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert names == ["the group/1/a.txt", "the group/2/b.txt", "SHA256SUMS"]


def test_a_file_that_its_model_hides_is_not_in_the_zip(
    browser: Client, group: AssignmentGroup, secrets: None
) -> None:
    """The admin asks the model whose eyes a file is for, as downloads do."""
    answer: Any = choose(browser, "download", deliver(group, "a.txt", "secret.txt"))
    data = b"".join(answer.streaming_content)
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert names == ["the group/1/a.txt", "SHA256SUMS"]


def test_too_large_an_archive_is_told(
    browser: Client, group: AssignmentGroup, settings: Any
) -> None:
    """As a message of the list, not as a page without a way back."""
    settings.DELIVERY_STORE_ARCHIVE_MAX_FILES = 1
    (message,) = page_of(browser, choose(browser, "download", deliver(group, "a", "b"))).messages
    assert "DELIVERY_STORE_ARCHIVE_MAX_FILES" in message


def test_a_store_that_fails_makes_no_archive(
    browser: Client, group: AssignmentGroup, store: HookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says is told before the first byte."""
    delivery = deliver(group, "a")

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise failure(errno.EIO)

    for name in ("scan", "size"):
        monkeypatch.setattr(store, name, fail)
    (message,) = page_of(browser, choose(browser, "download", delivery)).messages
    assert message == "The delivery store failed: Input/output error."


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
def test_each_action_has_its_permission(
    permissions: tuple[str, ...], offered: set[str], group: AssignmentGroup
) -> None:
    """What is not offered is not done, whatever is sent."""
    delivery = deliver(group, "a.txt", finish=False)
    browser = staff(*permissions)
    (select,) = Page.get(browser, url_for(Delivery)).root.find("select", name="action")
    assert {option.attributes["value"] for option in select.find("option")} == {"", *offered}
    for action in {"download", "verify", "copy", "finish", "delete_selected"} - offered:
        answer = choose(browser, action, delivery)
        assert "No action selected." in page_of(browser, answer).messages
    assert Delivery.objects.get() == delivery
    assert not LogEntry.objects.exists()


def test_nobody_reads_files_by_copying_them_to_a_group_of_their_own(
    group: AssignmentGroup,
) -> None:
    """Who may add deliveries, but not view files, copies none that others delivered."""
    delivery = deliver(group, "a.txt")
    browser = staff("view_delivery", "add_delivery", "add_filemeta")
    own = AssignmentGroup.objects.create(name="own")
    own.candidates.add(get_user_model()._default_manager.get())
    chosen = {"action": "copy", "_selected_action": [str(delivery.pk)], "copy": "Copy"}
    browser.post(url_for(Delivery), {**chosen, "search": str(own.pk), "group": str(own.pk)})
    assert Delivery.objects.get() == delivery


# -- Verify --


def harm(row: FileMeta, data: bytes | None) -> None:
    """Put other bytes in the place of a row's, or none."""
    store: Any = store_for(row)
    store.delete(row.content.name)
    if data is not None:
        store.save(row.content.name, ContentFile(data))


def test_what_is_not_as_it_should_be_is_told_of_each_file(
    browser: Client, group: AssignmentGroup
) -> None:
    """Missing, of another size, not stored, and bytes of no row; the others are noted as whole."""
    whole, faulty = deliver(group, "a.txt"), deliver(group, "good", "gone", "torn", finish=False)
    left = FileMeta.objects.create(delivery=faulty, filename="left")
    rows = {row.filename: row for row in faulty.files}
    harm(rows["gone"], None)
    harm(rows["torn"], b"to")
    store: Any = store_for(FileMeta)
    folder = store.layout.folder(faulty.pk)
    store.save(f"{folder}/999", ContentFile(b"orphan"))
    store.save(f"{folder}/notes.txt", ContentFile(b"foreign"))
    began = timezone.now()
    page = page_of(browser, choose(browser, "verify", whole, faulty))
    assert "2 deliveries were compared with the store." in page.text
    assert "2 files are there" in page.text
    (table,) = (
        table for part in page.root.find(class_="devilry-scroll") for table in part.find("table")
    )
    told = [row.text for body in table.find("tbody") for row in body.find("tr")]
    assert sorted(told) == sorted(
        f"Delivery {faulty.pk} {rest}"
        for rest in (
            "left not stored (yet)",
            f"gone {rows['gone'].content} missing: the store has no such file",
            f"torn {rows['torn'].content} wrong size: 2 bytes in the store, not 4",
            f"{folder}/999 6 bytes in the delivery's folder that no file is recorded for",
            f"{folder}/notes.txt 7 bytes in the delivery's folder that no file is recorded for",
        )
    )
    verified = {row.filename for row in FileMeta.objects.filter(verified_at__gte=began)}
    assert verified == {"a.txt", "good"}
    assert FileMeta.objects.get(pk=left.pk).verified_at is None
    assert logged(whole) == [(CHANGE, "Verified against the store: 1 files are whole, 0 faults.")]


def test_filename_of_a_fault_is_escaped(browser: Client, group: AssignmentGroup) -> None:
    """A student has chosen it."""
    delivery = deliver(group, "a.txt")
    harm(delivery.files.get(), None)
    FileMeta.objects.update(filename="<script>alert(1)</script>")
    page = choose(browser, "verify", delivery).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_whole_deliveries_have_no_faults(browser: Client, group: AssignmentGroup) -> None:
    """And what was deleted, and has its tombstone, is none."""
    delivery = deliver(group, "a", "b", finish=False)
    delivery.files.get(filename="b").delete()
    page = page_of(browser, choose(browser, "verify", delivery))
    assert "There are no faults." in page.text
    assert "One file is there, with the size that is recorded." in page.text


def test_a_store_that_cannot_be_asked_is_told_by_the_verification(
    browser: Client, group: AssignmentGroup, store: HookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is noted of what was not seen."""
    delivery = deliver(group, "a")

    def fail(prefix: str = "") -> Any:
        raise failure(errno.EIO)

    monkeypatch.setattr(store, "scan", fail)
    page = page_of(browser, choose(browser, "verify", delivery))
    assert page.messages == [
        f"Delivery {delivery.pk}: the delivery store failed: Input/output error."
    ]
    assert FileMeta.objects.get().verified_at is None


def test_bytes_that_were_replaced_meanwhile_are_not_noted_as_verified(
    browser: Client, group: AssignmentGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note is about the bytes that were seen."""
    delivery = deliver(group, "a", finish=False)

    def replace_afterwards(each: Any) -> Any:
        found = list(verify(each))
        row = delivery.files.get()
        row.content = ContentFile(b"another", name="a")
        row.save()
        return found

    monkeypatch.setattr("devilry_storage.admin.actions.verified", replace_afterwards)
    choose(browser, "verify", delivery)
    assert FileMeta.objects.get().verified_at is None


# -- Copy --


def test_deliveries_are_copied_to_a_group_that_was_searched(
    browser: Client, group: AssignmentGroup
) -> None:
    """Chosen in a form: searched for by the beginning of its name, then ticked."""
    first, second = deliver(group, "a.txt"), deliver(group, "b.txt")
    before = timezone.now() - timedelta(days=1)
    Delivery.objects.filter(pk=first.pk).update(time_of_delivery=before)
    other = AssignmentGroup.objects.create(name="Other")
    AssignmentGroup.objects.create(name="Not this one")
    page = page_of(browser, choose(browser, "copy", first, second))
    assert not list(page.root.find("input", type="radio"))
    page = page.submit("copy_form", {"search": "oth"}, "search_groups")
    form = page.form("copy_form")
    assert form.boxes["group"] == [str(other.pk)]
    page = page.submit("copy_form", {"group": [str(other.pk)]}, "copy")
    assert page.messages == ["2 deliveries were copied to “Other”."]
    copies = list(Delivery.objects.filter(assignment_group=other).order_by("number"))
    assert [copy.copy_of for copy in copies] == [first, second]
    assert [contents(copy) for copy in copies] == [{"a.txt": b"a.txt"}, {"b.txt": b"b.txt"}]
    assert copies[0].time_of_delivery == before
    assert logged(copies[0]) == [(ADDITION, f"Copied from Delivery {first.pk}.")]
    assert logged(first) == []


def test_deliveries_are_copied_where_numbers_are_grouped(browser: Client, settings: Any) -> None:
    """The form sends ids, whatever the site writes numbers like."""
    settings.USE_THOUSAND_SEPARATOR = True
    group = AssignmentGroup.objects.create(pk=23456, name="group")
    other = AssignmentGroup.objects.create(pk=34567, name="Other")
    delivery = Delivery.objects.create(pk=12345, assignment_group=group)
    delivery.add_file("a.txt", b"a")
    delivery.finish()
    page = page_of(browser, choose(browser, "copy", delivery))
    page = page.submit("copy_form", {"search": "oth"}, "search_groups")
    page = page.submit("copy_form", {"group": [str(other.pk)]}, "copy")
    assert page.messages == ["1 delivery was copied to “Other”."]
    assert other.deliveries.get().copy_of == delivery


def test_nothing_is_copied_without_a_group(browser: Client, group: AssignmentGroup) -> None:
    """A form that was sent without a choice, or with one that cannot be, is shown again."""
    delivery = deliver(group, "a.txt")
    sent = {"action": "copy", "_selected_action": [str(delivery.pk)], "copy": "Copy"}
    for chosen in ({"search": "the"}, {"search": "the", "group": "99999"}, {"group": "x\0"}):
        page = page_of(browser, browser.post(url_for(Delivery), {**sent, **chosen}, follow=True))
        assert "Search for a group" in page.text
    answer = browser.post(url_for(Delivery), {**sent, "search": "the"}, follow=True)
    page = page_of(browser, answer)
    assert page.errors == ["This field is required."]
    assert Delivery.objects.get() == delivery


def test_a_search_for_a_group_says_what_it_does_not_find(
    browser: Client, group: AssignmentGroup
) -> None:
    """Nothing, or more than there is room for."""
    delivery = deliver(group, "a.txt")
    AssignmentGroup.objects.bulk_create(AssignmentGroup(name=f"Team {n}") for n in range(21))
    page = page_of(browser, choose(browser, "copy", delivery))
    nothing = page.submit("copy_form", {"search": "nobody"}, "search_groups")
    assert "Nothing was found." in nothing.text
    many = page.submit("copy_form", {"search": "team"}, "search_groups")
    assert "There are more: write more of it." in many.text
    assert len(many.form("copy_form").boxes["group"]) == 20


def test_what_cannot_be_copied_is_told(browser: Client, group: AssignmentGroup) -> None:
    """Unfinished ones, and those whose bytes are gone; the others are copied."""
    whole, unfinished, gone = (
        deliver(group, "a.txt"),
        deliver(group, "b.txt", finish=False),
        deliver(group, "c.txt"),
    )
    harm(gone.files.get(), None)
    other = AssignmentGroup.objects.create(name="other")
    page = page_of(browser, choose(browser, "copy", whole, unfinished, gone))
    assert "not finished: it cannot be copied" in page.text
    page = page.submit("copy_form", {"search": "other"}, "search_groups")
    page = page.submit("copy_form", {"group": [str(other.pk)]}, "copy")
    told = "\n".join(page.messages)
    assert "1 delivery was copied to “other”." in told
    assert f"'{unfinished.pk}' is not finished" in told
    assert f"Delivery {gone.pk}: The store has no file" in told
    assert [copy.copy_of for copy in other.deliveries.all()] == [whole]


def test_group_that_its_admin_hides_is_not_copied_to(
    browser: Client, group: AssignmentGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a search nor an id leads to what the list of groups does not show."""
    delivery = deliver(group, "a.txt")
    hidden = AssignmentGroup.objects.create(name="hidden")
    shown = AssignmentGroup.objects.exclude(pk=hidden.pk)
    monkeypatch.setattr(AssignmentGroupAdmin, "get_queryset", lambda *args: shown.all())
    chosen = {"action": "copy", "_selected_action": [str(delivery.pk)], "copy": "Copy"}
    for search in ("", "hidden", str(hidden.pk)):
        browser.post(url_for(Delivery), {**chosen, "search": search, "group": str(hidden.pk)})
    assert Delivery.objects.get() == delivery
    browser.post(url_for(Delivery), {**chosen, "search": "", "group": str(group.pk)})
    assert Delivery.objects.count() == 2


def test_whoever_may_not_see_groups_names_one_by_its_id(group: AssignmentGroup) -> None:
    """There is no search for them, and no list."""
    delivery = deliver(group, "a.txt")
    other = AssignmentGroup.objects.create(name="other")
    browser = staff("view_delivery", *COPY)
    page = page_of(browser, choose(browser, "copy", delivery))
    page = page.submit("copy_form", {"search": "oth"}, "search_groups")
    assert not list(page.root.find("input", type="radio"))
    page = page.submit("copy_form", {"search": str(other.pk)}, "search_groups")
    page.submit("copy_form", {"group": [str(other.pk)]}, "copy")
    assert other.deliveries.get().copy_of == delivery


@pytest.mark.parametrize("action", ["verify", "copy"])
def test_not_too_many_are_worked_on_at_once(
    action: str, browser: Client, group: AssignmentGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request comes to an end."""
    monkeypatch.setattr(actions, "AT_ONCE", 1)
    answer = choose(browser, action, deliver(group, "a"), deliver(group, "b"))
    assert page_of(browser, answer).messages == ["Nothing was done: choose at most 1 at once."]
    assert not LogEntry.objects.exists()


def test_every_action_needs_a_token(browser: Client, group: AssignmentGroup) -> None:
    """What changes something is never done for another site's page."""
    delivery = deliver(group, "a.txt")
    client = Client(enforce_csrf_checks=True)
    client.cookies = browser.cookies
    for action in ("finish", "download", "verify", "copy", "delete_selected"):
        assert choose(client, action, delivery).status_code == 403


# -- Delete --


@pytest.mark.parametrize("way", ["page", "selected"])
@pytest.mark.parametrize("model", [Delivery, FileMeta])
def test_the_confirmation_tells_of_tombstones(
    way: str, model: Any, browser: Client, group: AssignmentGroup, settings: Any
) -> None:
    """Until when what is deleted can be brought back, or that it cannot."""
    delivery = deliver(group, "a.txt")
    row = delivery if model is Delivery else delivery.files.get()

    def confirmation() -> str:
        if way == "page":
            return Page.get(browser, f"{url_for(model)}{row.pk}/delete/").text
        chosen = {"action": "delete_selected", "_selected_action": str(row.pk), "index": "0"}
        return Page(browser, browser.post(url_for(model), chosen, follow=True), "").text

    assert "A tombstone for each file keeps its row" in confirmation()
    settings.DELIVERY_STORE_RETENTION_DAYS = 0
    assert "are removed from the store at once" in confirmation()
