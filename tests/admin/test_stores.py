"""The store browser: folders, states of files, downloads, and unrecorded files."""

from __future__ import annotations

import io
import os
import posixpath
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from devilry_storage.admin import store_listing
from devilry_storage.deletion import purge
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import StoreBrowser, Tombstone
from devilry_storage.restoring import restore
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.testing import MemoryDeliveryStore, override_deliverystore
from tests.harness.purging import past_due
from tests.harness.users import make_user
from tests.ordinary.models import Report
from tests.slow.explaining import recorded
from tests.testapp.models import Course, Handout, Paper

from .pages import Page, staff, url_for, url_of

pytestmark = pytest.mark.django_db

LABEL = "devilry_deliveries.filemeta"


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Use this store for FileMeta."""
    store: Any = MemoryDeliveryStore()
    if request.param == "disk":
        store = FsHierDeliveryStore(str(tmp_path / "store"))
    with override_deliverystore(store):
        yield store


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Any]:
    """Use a store on disk for FileMeta; its folder is ``location``."""
    store = FsHierDeliveryStore(str(tmp_path / "store"))
    with override_deliverystore(store):
        yield store


def delivered(pk: int | None = None, **files: bytes) -> Delivery:
    group, is_new = AssignmentGroup.objects.get_or_create(name="group")
    student = make_user("alex" if is_new else "kim")
    delivery: Delivery = Delivery.objects.create(
        pk=pk, assignment_group=group, delivered_by=student
    )
    delivery.add_files(files)
    delivery.finish()
    return delivery


def url(page: str = "folder", label: str = LABEL, **query: str) -> str:
    found = reverse(f"admin:devilry_storage_storebrowser_{page}", args=[label])
    return f"{found}?{urlencode(query)}" if query else found


def seen(browser: Client, **query: str) -> Page:
    page = Page.get(browser, url(**query))
    assert page.status == 200
    return page


def rows_of(page: Page) -> list[str]:
    return [row.text for body in page.root.find("tbody") for row in body.find("tr")]


def save_old(store: Any, name: str, data: bytes = b"orphan") -> str:
    """Save a file and make it nine days old."""
    saved: str = store.save(name, ContentFile(data))
    if isinstance(store, MemoryDeliveryStore):
        blob = store._blobs[saved]
        aged = type(blob)(blob.data, timezone.now() - timedelta(days=9))
        store._blobs[saved] = aged
    else:
        past = (timezone.now() - timedelta(days=9)).timestamp()
        os.utime(store.path(saved), (past, past))
    return saved


# -- Folders and files --


def test_pages_lead_from_stores_to_a_file(browser: Client, store: Any) -> None:
    """Folders show the ids of deliveries, files their rows."""
    delivery = delivered(1005, essay=b"12345")
    row = delivery.files.get()
    index = Page.get(browser, reverse("admin:index"))
    assert "Delivery stores" in index.text
    page = Page.get(browser, url_for(StoreBrowser))
    assert LABEL.replace("filemeta", "FileMeta") in page.text
    assert rows_of(seen(browser)) == ["0/ Deliveries 0–999999"]
    assert rows_of(seen(browser, folder="0")) == ["1/ Deliveries 1000–1999"]
    assert rows_of(seen(browser, folder="0/1")) == ["1005/ Delivery 1005"]
    page = seen(browser, folder="0/1/1005")
    (line,) = rows_of(page)
    for part in (str(row.pk), "Whole", "5\xa0bytes".replace("\xa0", " "), "essay", "alex"):
        assert part in line
    for link in (url_of(row), url_of(delivery), row.content.url):
        assert f'href="{link}"' in page.html
    breadcrumbs = next(page.root.find("ol", class_="breadcrumbs"))
    texts = [item.text for item in breadcrumbs.find("li")]
    assert texts[2:] == ["Delivery stores", "Store of files", "0", "1", "1005"]


def test_every_state_has_a_text(browser: Client, store: Any) -> None:
    """The colour is not the only sign of a state."""
    delivery = delivered(7, whole=b"1", lost=b"22", cut=b"333", deleted=b"4444")
    names = {row.filename: row.content.name for row in delivery.files}
    for name in ("lost", "cut"):
        store.delete(names[name])
    store.save(names["cut"], ContentFile(b"3"))
    delivery.files.get(filename="deleted").delete()
    store.save("0/0/7/999999", ContentFile(b"5"))
    store.save("0/0/7/notes.txt", ContentFile(b"6"))
    lines = rows_of(seen(browser, folder="0/0/7"))
    states = (
        *("Whole", "Wrong size: ", "Deleted file: ", "Unrecorded file: ", "Unknown file: "),
        "Missing: ",
    )
    assert len(lines) == len(states)
    for state in states:
        assert sum(f" {state}" in line for line in lines) == 1, (state, lines)
    store.save("notes/essay.txt", ContentFile(b"7"))
    assert "notes/ Not a folder of deliveries" in rows_of(seen(browser))


@pytest.mark.parametrize(
    ("to", "folder", "name"),
    [
        ("1005", "0/1/1005", ""),
        (" 1005 ", "0/1/1005", ""),
        ("001005", "0/1/1005", ""),
        ("\u0661\u0660\u0660\u0665", "\u0661\u0660\u0660\u0665", ""),
        ("\u00b2", "\u00b2", ""),
        ("99999999999999999999", "99999999999999/999999/99999999999999999999", ""),
        ("0/1", "0/1", ""),
        ("0/1/", "0/1", ""),
        ("old/essay", "old", "old/essay"),
        ("", "", ""),
        ("9" * 21, "9" * 21, ""),
    ],
)
def test_jump_finds_deliveries_folders_and_names(
    to: str, folder: str, name: str, browser: Client, store: Any
) -> None:
    """Digits are the id of a delivery."""
    store.save("old/essay", ContentFile(b"1"))
    if to.strip() == "99999999999999999999":
        folder = store.layout.folder(int(to))
    response = browser.get(url("jump", to=to))
    query = {key: value for key, value in (("folder", folder), ("name", name)) if value}
    assert response.status_code == 302
    assert response["Location"] == url(**query)
    page = seen(browser, **query)
    assert not name or f"Search: {name}" in page.text


def test_jump_finds_missing_file(browser: Client, store: Any) -> None:
    """Its row is shown."""
    row = delivered(7, essay=b"1").files.get()
    store.delete(row.content.name)
    page = Page.get(browser, url("jump", to=row.content.name))
    assert f"Search: {row.content.name}" in page.text
    assert any("Missing: " in line for line in rows_of(page))


def test_large_folder_has_several_pages(browser: Client, store: Any) -> None:
    """Their links lead to each file once, in order."""
    for number in range(250):
        store.save(f"many/{number}", ContentFile(b""))
    page, found = seen(browser, folder="many"), []
    while True:
        found += [line.split()[0] for line in rows_of(page)]
        links = list(page.root.find("a", rel="next"))
        if not links:
            break
        page = Page.get(browser, links[0].attributes["href"])
    assert found == [str(number) for number in range(250)]
    assert "First page" in page.text


@pytest.mark.parametrize("count", [1, 90])
def test_queries_of_a_page_do_not_depend_on_its_files(
    count: int, browser: Client, store: Any
) -> None:
    """The number is constant."""
    delivered(7, **{f"file{number}": b"1" for number in range(count)})
    seen(browser, folder="0/0/7")  # fills caches
    with CaptureQueriesContext(connection) as queries:
        assert len(rows_of(seen(browser, folder="0/0/7"))) == count
    assert len(queries) == 5, [query["sql"] for query in queries]


def test_owners_of_other_models_are_shown(browser: Client) -> None:
    """Such as a delivery by a generic relation, or a user as plain text."""
    course = Course.objects.create(pk=7, title="History", delivered_by="Professor <Kim>")
    for model, folder in ((Paper, "0/0/7"), (Handout, "0/0/0")):
        content = ContentFile(b"1", "essay")
        model.objects.create(filename="essay", delivery=course, content=content)
        page = Page.get(browser, url(label=model._meta.label_lower, folder=folder))
        (line,) = rows_of(page)
        assert "Whole" in line
        assert "History, Professor <Kim>" in line


def test_number_of_missing_files_is_limited(
    browser: Client, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This bounds the size of a page."""
    monkeypatch.setattr(store_listing, "MAX_ROWS", 2)
    for row in delivered(7, a=b"1", b=b"2", c=b"3").files:
        store.delete(row.content.name)
    store.save("0/0/7/notes.txt", ContentFile(b"4"))
    assert sum("Missing: " in line for line in rows_of(seen(browser, folder="0/0/7"))) == 2


@pytest.mark.skipif(connection.vendor != "sqlite", reason="The slow proofs cover PostgreSQL.")
def test_missing_files_are_found_by_index(browser: Client, store: Any) -> None:
    """SQLite does not scan the table of files."""
    row = delivered(7, essay=b"1").files.get()
    delivered(70, other=b"2")
    store.delete(row.content.name)
    store.save("0/0/7/notes.txt", ContentFile(b"3"))
    with recorded() as queries:
        (foreign, missing) = rows_of(seen(browser, folder="0/0/7"))
    assert ("Unknown file" in foreign, "Missing" in missing) == (True, True)
    assert queries.whole_scans(FileMeta._meta.db_table) == []


# -- Downloads --


def _body(response: Any) -> bytes:
    return b"".join(response.streaming_content)


@pytest.mark.parametrize("name", ["0/0/7/999", "notes/<script>.html"])
def test_files_without_rows_are_attachments(name: str, browser: Client, store: Any) -> None:
    """Their type is application/octet-stream, so that no browser executes them."""
    store.save(name, ContentFile(b"<script>alert(1)</script>"))
    page = seen(browser, folder=os.path.dirname(name))
    assert "<script>.html" not in page.html
    response = browser.get(url("file", name=name))
    assert _body(response) == b"<script>alert(1)</script>"
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"].startswith("attachment")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response["Content-Security-Policy"]


def test_files_with_rows_are_not_sent(browser: Client, store: Any) -> None:
    """Their download view checks permissions."""
    row = delivered(7, essay=b"1").files.get()
    assert browser.get(url("file", name=row.content.name)).status_code == 404
    assert browser.get(url("file", name="0/0/7/404")).status_code == 404
    assert browser.post(url("file", name="0/0/7/404")).status_code == 405


def test_folder_is_downloaded_as_zip(browser: Client, store: Any) -> None:
    """The zip has all files below the folder."""
    delivered(7, essay=b"1")
    page = seen(browser, folder="0/0")
    assert f'href="{url("archive", folder="0/0")}"' in page.html
    response = browser.get(url("archive", folder="0/0"))
    assert response["Content-Type"] == "application/zip"
    assert _body(response).startswith(b"PK")
    assert browser.get(url("archive")).status_code == 404


@pytest.mark.parametrize("label", [LABEL, "exercises.renamed"])
@pytest.mark.parametrize("may_view", [True, False])
def test_zip_of_a_folder_has_deleted_files_if_permitted(
    may_view: bool, label: str, store: Any
) -> None:
    """They need the permission to view deleted files, as single downloads do."""
    delivery = delivered(7, essay=b"1", deleted=b"2")
    buried = delivery.files.get(filename="deleted")
    name = buried.content.name
    buried.delete()
    Tombstone.objects.update(model=label, alias=label)
    store.save("0/0/7/999", ContentFile(b"1"))
    permissions = ["browse_store", "view_filemeta", *(["view_tombstone"] if may_view else [])]
    clerk = staff(*permissions)
    assert clerk.get(url("file", name=name)).status_code == (200 if may_view else 403)
    data = _body(clerk.get(url("archive", folder="0/0/7")))
    essay, deleted = (Path(path).name for path in (delivery.files.get().content.name, name))
    expected = {essay, "999", "REPORT.txt", "SHA256SUMS", *([deleted] if may_view else [])}
    assert set(zipfile.ZipFile(io.BytesIO(data)).namelist()) == expected


@pytest.mark.parametrize("store", ["disk"], indirect=True)
def test_file_of_another_model_has_only_its_own_view(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view asks for the permissions of that model."""
    monkeypatch.setattr(Report._meta.get_field("file"), "storage", store)
    delivered(7, essay=b"1")
    name = store.save("0/0/7/888", ContentFile(b"a salary"))
    Report.objects.create(file=name)
    clerk = staff("browse_store", "view_filemeta", "view_tombstone")
    assert clerk.get(url("file", name=name)).status_code == 403
    data = _body(clerk.get(url("archive", folder="0/0/7")))
    assert "888" not in zipfile.ZipFile(io.BytesIO(data)).namelist()
    page = clerk.get(url("folder", folder="0/0/7")).content.decode()
    assert "888" in page
    assert escape(url("file", name=name)) not in page


def test_zip_of_a_folder_has_restored_file(store: Any) -> None:
    """The file has its new name; the tombstone has the old one."""
    delivery = delivered(7, essay=b"1")
    delivery.files.get().delete()
    row = restore(Tombstone.objects.get())
    clerk = staff("browse_store", "view_filemeta")
    with zipfile.ZipFile(io.BytesIO(_body(clerk.get(url("archive", folder="0/0/7"))))) as zipped:
        assert posixpath.basename(row.content.name) in zipped.namelist()


def test_zip_of_a_folder_has_file_with_row_and_tombstone(store: Any) -> None:
    """The row takes precedence over the tombstone."""
    first, second = delivered(7, essay=b"1", other=b"2").files
    name = first.content.name
    first.delete()
    table = FileMeta._meta.db_table
    connection.cursor().execute(
        f"UPDATE {table} SET content = %s WHERE id = %s", [name, second.pk]
    )
    clerk = staff("browse_store", "view_filemeta")
    with zipfile.ZipFile(io.BytesIO(_body(clerk.get(url("archive", folder="0/0/7"))))) as zipped:
        assert posixpath.basename(name) in zipped.namelist()


def test_zip_of_a_folder_skips_invalid_names(on_disk: Any) -> None:
    """The database is not queried for names that are not text."""
    on_disk.save("0/0/7/999", ContentFile(b"1"))
    for name in (b"a\xff", b"back\\slash", b"ctl\x01"):
        Path(on_disk.location, "0/0/7", os.fsdecode(name)).write_bytes(b"foreign")
    clerk = staff("browse_store", "view_filemeta")
    data = _body(clerk.get(url("archive", folder="0/0/7")))
    with zipfile.ZipFile(io.BytesIO(data)) as zipped:
        assert zipped.namelist() == ["REPORT.txt", "999", "SHA256SUMS"]
        assert b"\n  a_\n  back_slash\n  ctl_\n" in zipped.read("REPORT.txt")


# -- Permissions --


PAGES = {
    "folder": {"folder": "0/0/7"},
    "jump": {"to": "7"},
    "file": {"name": "0/0/7/999"},
    "archive": {"folder": "0/0/7"},
    "bury": {"name": "0/0/7/999"},
}


@pytest.mark.parametrize("page", PAGES)
def test_pages_need_permission_to_browse(page: str, store: Any) -> None:
    """Staff get 403, other users the login page."""
    store.save("0/0/7/999", ContentFile(b"1"))
    target = url(page, **PAGES[page])
    clerk = staff("view_filemeta", "view_tombstone", "bury_orphan")
    for method in ("get", "post"):
        assert getattr(clerk, method)(target).status_code == 403
        for client in (Client(), _logged_in(f"student-{method}")):
            response = getattr(client, method)(target)
            assert response.status_code == 302
            assert response["Location"] == f"/admin/login/?next={quote(target)}"
    assert clerk.get(url_for(StoreBrowser)).status_code == 403
    assert "Delivery stores" not in Page.get(clerk, reverse("admin:index")).text


def _logged_in(name: str) -> Client:
    client = Client()
    client.force_login(make_user(name))
    return client


def test_permission_to_browse_allows_no_downloads_or_deletes(store: Any) -> None:
    """Names and owners are shown, without links."""
    delivery = delivered(7, essay=b"1", deleted=b"2")
    row = delivery.files.get(filename="essay")
    buried = delivery.files.get(filename="deleted")
    buried_name = buried.content.name
    buried.delete()
    store.save("0/0/7/999", ContentFile(b"1"))
    clerk = staff("browse_store")
    page = seen(clerk, folder="0/0/7")
    assert "essay" in page.text
    for link in (url_of(row), row.content.url, url("bury", name="0/0/7/999"), "/archive/"):
        assert link not in page.html
    assert clerk.get(url("bury", name="0/0/7/999")).status_code == 403
    assert clerk.post(url("bury", name="0/0/7/999")).status_code == 403
    assert clerk.get(url("archive", folder="0/0/7")).status_code == 403
    assert clerk.get(url("file", name=buried_name)).status_code == 403
    assert clerk.get(url("file", name="0/0/7/999")).status_code == 200
    assert not Tombstone.objects.filter(name="0/0/7/999").exists()


# -- Hostile URLs --


HOSTILE = (
    *("..", "../..", "0/../..", "/", "/etc", "/etc/passwd", "//", ".", "./0", "0//1", "0/"),
    *("\0", "0/\0", "a\nb", "\x1b", "..\\..", "%2e%2e", "%00", "~", "$HOME", "file:///etc"),
    *(".devilry-storage", ".devilry-storage/tmp", ".DEVILRY-STORAGE", "link", "link/secret"),
    *("n" * 300, "n" * 5000, "9" * 1000, "9" * 5000 + "/1", "/".join("1" * 500), "é" * 600),
)


@pytest.mark.parametrize("parameter", ["folder", "name", "after", "to"])
def test_hostile_urls_reveal_nothing(
    parameter: str, browser: Client, on_disk: Any, tmp_path: Path
) -> None:
    """No file outside of the store is shown, and no exception is raised."""
    on_disk.save("0/0/7/999", ContentFile(b"1"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"TOP-SECRET")
    (Path(on_disk.location) / "link").symlink_to(outside)
    pages = {"to": ["jump"], "after": ["folder"]}.get(
        parameter, ["folder", "file", "archive", "bury"]
    )
    for value in HOSTILE:
        for page in pages:
            response = browser.get(url(page, **{parameter: value}), follow=True)
            assert response.status_code in {200, 404}, (page, value)
            body = response.getvalue()
            assert b"TOP-SECRET" not in body
            assert b"root:" not in body
            if page == "folder" and parameter == "folder":
                assert b"secret</th>" not in body
    assert "link" not in " ".join(rows_of(seen(browser)))


@pytest.mark.parametrize(("length", "status"), [(4096, 200), (4097, 404)])
def test_length_of_page_token_is_limited(
    length: int, status: int, browser: Client, on_disk: Any
) -> None:
    """Longer tokens are rejected."""
    on_disk.save("0/0/7/999", ContentFile(b"1"))
    assert browser.get(url(folder="0/0/7", after="n" * length)).status_code == status


def test_name_in_url_is_escaped(browser: Client, store: Any) -> None:
    """A URL can have any text."""
    name = "<script>alert(1)<"
    assert "<script>alert" not in seen(browser, folder=name, name=f"{name}/a").html
    page = Page.get(browser, url("jump", to=name))
    assert "<script>alert" not in page.html
    assert "&lt;script&gt;alert" in page.html


def test_symlinked_folder_is_shown_as_empty(browser: Client, on_disk: Any, tmp_path: Path) -> None:
    """The page does not report a failure."""
    on_disk.save("0/0/7/999", ContentFile(b"1"))
    (Path(on_disk.location) / "link").symlink_to(tmp_path)
    page = seen(browser, folder="link")
    assert "Nothing is stored here: the folder is empty or does not exist." in page.text
    assert "cannot be listed" not in page.text


def test_unknown_stores_and_raw_paths_are_404(browser: Client, on_disk: Any) -> None:
    """The admin's page for unknown URLs is shown."""
    for label in ("nothing", "auth.user", "..", "%2e%2e", "\0", LABEL.upper(), "9" * 3000):
        target = f"/admin/devilry_storage/storebrowser/{quote(label)}/"
        assert browser.get(target).status_code == 404, label
    for rest in (f"{LABEL}/..%2f..%2fetc", f"{LABEL}//etc/passwd", "1/change/", "add/x/"):
        assert browser.get(f"/admin/devilry_storage/storebrowser/{rest}").status_code == 404


def test_names_with_invalid_bytes_are_shown_without_links(browser: Client, on_disk: Any) -> None:
    """A disk allows any bytes in names."""
    on_disk.save("a/file.txt", ContentFile(b"1"))
    top = os.fsencode(on_disk.location) + b"/a/"
    os.mkdir(top + b"fold\xff")
    with open(top + b"bad\xff\nname", "wb"):
        pass
    page = seen(browser, folder="a")
    assert "bad\\udcff" in page.text
    assert "fold\\udcff/" in page.text
    assert sum("Unknown file" in line for line in rows_of(page)) == 2
    assert sum("Not a folder of deliveries" in line for line in rows_of(page)) == 1


# -- Failing stores --


def test_unmounted_disk_is_reported(browser: Client, on_disk: Any, tmp_path: Path) -> None:
    """It would otherwise look like an empty store."""
    row = delivered(7, essay=b"1").files.get()
    assert row.content
    os.rename(on_disk.location, tmp_path / "elsewhere")
    for query in ({}, {"folder": "0/0/7"}):
        page = seen(browser, **query)
        assert "cannot be listed" in page.text
        assert "is missing" in page.text


def test_failing_store_is_reported(
    browser: Client, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On every page, with status 200."""

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(5, "Input/output error")

    store.save("0/0/7/999", ContentFile(b"1"))
    for method in ("page", "size", "scan"):
        monkeypatch.setattr(store, method, fail)
    assert "Input/output error" in seen(browser, folder="0/0/7").text
    for page, query in PAGES.items():
        response = browser.get(url(page, **query), follow=True)
        assert response.status_code == 200
        assert "Input/output error" in response.content.decode()


def test_dumpdata_skips_store_browser(store: Any) -> None:
    """Its model does not have a table."""
    for options in ({}, {"use_base_manager": True}):
        out = StringIO()
        call_command("dumpdata", "devilry_storage", stdout=out, **options)
        assert "deliverystore" not in out.getvalue()


# -- Unrecorded files --


def _recent_row(pk: int = 50) -> Any:
    """Return the row of a recently stored file; its id is higher than those of the orphans."""
    return delivered(pk, essay=b"1").files.get()


def test_unrecorded_file_is_deleted_and_purged(browser: Client, store: Any) -> None:
    """The page asks for confirmation, and the log has an entry."""
    row = _recent_row()
    name = save_old(store, f"0/0/7/{row.pk}_aB3dE6g")
    page = seen(browser, folder="0/0/7")
    assert url("bury", name=name) in page.html
    page = Page.get(browser, url("bury", name=name))
    assert name in page.text
    assert not Tombstone.objects.exists()
    page = page.submit("", {})
    assert any("can be restored until" in message for message in page.messages)
    tombstone = Tombstone.objects.get()
    assert (tombstone.name, tombstone.size, tombstone.rows) == (name, 6, [])
    assert tombstone.due > timezone.now() + timedelta(days=29)
    entry = LogEntry.objects.get()
    assert entry.object_id == str(tombstone.pk)
    assert "eleted an unrecorded file" in entry.change_message
    assert any("Deleted file: " in line for line in rows_of(seen(browser, folder="0/0/7")))
    Tombstone.objects.update(created=timezone.now() - timedelta(days=2))
    past_due()
    assert [event.result for event in purge()] == ["removed"]
    assert not store.exists(name)
    assert store.exists(row.content.name)


def test_only_unrecorded_files_can_be_deleted(browser: Client, store: Any) -> None:
    """Not whole, missing, deleted or unknown files."""
    delivery = delivered(7, whole=b"1", lost=b"2", deleted=b"3")
    names = {row.filename: row.content.name for row in delivery.files}
    store.delete(names["lost"])
    delivery.files.get(filename="deleted").delete()
    store.save("0/0/7/notes.txt", ContentFile(b"4"))
    before = list(Tombstone.objects.values_list("pk", flat=True))
    for name in (*names.values(), "0/0/7/notes.txt", "0/0/7/none", ""):
        target = url("bury", name=name)
        assert browser.get(target).status_code == 404, name
        browser.post(target)
    assert list(Tombstone.objects.values_list("pk", flat=True)) == before


def test_delete_needs_csrf_token(store: Any) -> None:
    """A POST without it is rejected."""
    row = _recent_row()
    name = save_old(store, f"0/0/7/{row.pk}_aB3dE6g")
    user = staff("browse_store", "bury_orphan")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = user.cookies
    assert strict.post(url("bury", name=name)).status_code == 403
    assert not Tombstone.objects.exists()
    assert user.post(url("bury", name=name)).status_code == 302
    assert Tombstone.objects.filter(name=name).exists()
