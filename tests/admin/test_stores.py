"""The store browser: what lies in a store, page by page, beside what is recorded of it."""

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

from devilry_storage.admin import browsing
from devilry_storage.deletion import purge
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import StoreBrowser, Tombstone
from devilry_storage.restoring import restore
from devilry_storage.storages import FsHierDeliveryStore, MemoryDeliveryStore
from devilry_storage.testing import override_deliverystore
from tests.harness.purging import past_due
from tests.harness.users import make_user
from tests.slow.explaining import recorded
from tests.testapp.models import Course, Handout, Paper

from .pages import Page, url_for, url_of
from .test_permissions import staff

pytestmark = pytest.mark.django_db

LABEL = "devilry_deliveries.filemeta"


@pytest.fixture(params=["disk", "memory"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The store of FileMeta."""
    made: Any = MemoryDeliveryStore()
    if request.param == "disk":
        made = FsHierDeliveryStore(str(tmp_path / "store"))
    with override_deliverystore(made):
        yield made


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Any]:
    """The store of FileMeta, on disk; its folder is ``location``."""
    made = FsHierDeliveryStore(str(tmp_path / "store"))
    with override_deliverystore(made):
        yield made


def delivered(pk: int | None = None, **files: bytes) -> Delivery:
    group, _made = AssignmentGroup.objects.get_or_create(name="group")
    student = make_user("kim") if not _made else make_user("alex")
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


def old(store: Any, name: str, data: bytes = b"orphan") -> str:
    """Save a file that has lain there for long."""
    saved: str = store.save(name, ContentFile(data))
    if isinstance(store, MemoryDeliveryStore):
        blob = store._blobs[saved]
        aged = type(blob)(blob.data, timezone.now() - timedelta(days=9))
        store._blobs[saved] = aged
    else:
        past = (timezone.now() - timedelta(days=9)).timestamp()
        os.utime(store.path(saved), (past, past))
    return saved


# -- Walking --


def test_a_walk_from_the_stores_to_a_file(browser: Client, kept: Any) -> None:
    """Stores, folders with the ids that lie in them, files with what is recorded of them."""
    delivery = delivered(1005, essay=b"12345")
    row = delivery.files.get()
    index = Page.get(browser, reverse("admin:index"))
    assert "Delivery stores" in index.text
    page = Page.get(browser, url_for(StoreBrowser))
    assert LABEL.replace("filemeta", "FileMeta") in page.text
    assert rows_of(seen(browser)) == ["0/ deliveries 0–999999"]
    assert rows_of(seen(browser, folder="0")) == ["1/ deliveries 1000–1999"]
    assert rows_of(seen(browser, folder="0/1")) == ["1005/ delivery 1005"]
    page = seen(browser, folder="0/1/1005")
    (line,) = rows_of(page)
    for part in (str(row.pk), "whole", "5\xa0bytes".replace("\xa0", " "), "essay", "alex"):
        assert part in line
    for link in (url_of(row), url_of(delivery), row.content.url):
        assert f'href="{link}"' in page.html
    crumbs = next(page.root.find("div", class_="breadcrumbs"))
    assert [a.text for a in crumbs.find("a")][-3:] == ["Store of files", "0", "1"]


def test_every_state_is_told_in_words(browser: Client, kept: Any) -> None:
    """Whole, missing, wrong size, tombstoned, orphan, foreign: no colour is needed."""
    delivery = delivered(7, whole=b"1", lost=b"22", cut=b"333", deleted=b"4444")
    names = {row.filename: row.content.name for row in delivery.files}
    for name in ("lost", "cut"):
        kept.delete(names[name])
    kept.save(names["cut"], ContentFile(b"3"))
    delivery.files.get(filename="deleted").delete()
    kept.save("0/0/7/999999", ContentFile(b"5"))
    kept.save("0/0/7/notes.txt", ContentFile(b"6"))
    lines = rows_of(seen(browser, folder="0/0/7"))
    words = ("whole", "wrong size: ", "tombstoned: ", "orphan: ", "foreign: ", "missing: ")
    assert len(lines) == len(words)
    for word in words:
        assert sum(f" {word}" in line for line in lines) == 1, (word, lines)
    kept.save("notes/essay.txt", ContentFile(b"7"))
    assert "notes/ foreign: no folder of the layout" in rows_of(seen(browser))


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
def test_a_jump_leads_to_a_delivery_a_folder_or_a_name(
    to: str, folder: str, name: str, browser: Client, kept: Any
) -> None:
    """Digits are a delivery's id, all else is a name, of a file if there is one."""
    kept.save("old/essay", ContentFile(b"1"))
    if to.strip() == "99999999999999999999":
        folder = kept.layout.folder(int(to))
    response = browser.get(url("jump", to=to))
    query = {key: value for key, value in (("folder", folder), ("name", name)) if value}
    assert response.status_code == 302
    assert response["Location"] == url(**query)
    page = seen(browser, **query)
    assert not name or f"Asked for: {name}" in page.text


def test_a_key_that_is_missing_is_jumped_to(browser: Client, kept: Any) -> None:
    """What a row names is shown, though nothing lies there."""
    row = delivered(7, essay=b"1").files.get()
    kept.delete(row.content.name)
    page = Page.get(browser, url("jump", to=row.content.name))
    assert f"Asked for: {row.content.name}" in page.text
    assert any("missing: " in line for line in rows_of(page))


def test_a_folder_of_many_files_comes_in_pages(browser: Client, kept: Any) -> None:
    """Each file once, in order, by the links to the next page."""
    for number in range(250):
        kept.save(f"many/{number}", ContentFile(b""))
    page, found = seen(browser, folder="many"), []
    while True:
        found += [line.split()[0] for line in rows_of(page)]
        following = list(page.root.find("a", rel="next"))
        if not following:
            break
        page = Page.get(browser, following[0].attributes["href"])
    assert found == [str(number) for number in range(250)]
    assert "First page" in page.text


@pytest.mark.parametrize("count", [1, 90])
def test_a_page_takes_as_many_queries_however_many_files(
    count: int, browser: Client, kept: Any
) -> None:
    """And one listing."""
    delivered(7, **{f"file{number}": b"1" for number in range(count)})
    seen(browser, folder="0/0/7")  # what is cached from then on
    with CaptureQueriesContext(connection) as queries:
        assert len(rows_of(seen(browser, folder="0/0/7"))) == count
    assert len(queries) == 5, [query["sql"] for query in queries]


def test_owners_are_told_whatever_a_site_has_for_them(browser: Client) -> None:
    """A delivery that is any row, by a generic relation, too; who delivered it as mere text."""
    course = Course.objects.create(pk=7, title="History", delivered_by="Professor <Kim>")
    for model, folder in ((Paper, "0/0/7"), (Handout, "0/0/0")):
        content = ContentFile(b"1", "essay")
        model.objects.create(filename="essay", delivery=course, content=content)
        page = Page.get(browser, url(label=model._meta.label_lower, folder=folder))
        (line,) = rows_of(page)
        assert "whole" in line
        assert "History, Professor <Kim>" in line


def test_not_more_rows_than_a_bound_are_looked_for(
    browser: Client, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery of any number of rows makes a page that comes to an end."""
    monkeypatch.setattr(browsing, "LOOKED_FOR", 2)
    for row in delivered(7, a=b"1", b=b"2", c=b"3").files:
        kept.delete(row.content.name)
    kept.save("0/0/7/notes.txt", ContentFile(b"4"))
    assert sum("missing: " in line for line in rows_of(seen(browser, folder="0/0/7"))) == 2


@pytest.mark.skipif(connection.vendor != "sqlite", reason="Slow proofs ask PostgreSQL.")
def test_a_folder_is_compared_with_its_own_rows_alone(browser: Client, kept: Any) -> None:
    """SQLite finds those that are missing there by the index of names, not in all rows."""
    row = delivered(7, essay=b"1").files.get()
    delivered(70, other=b"2")
    kept.delete(row.content.name)
    kept.save("0/0/7/notes.txt", ContentFile(b"3"))
    with recorded() as queries:
        (foreign, missing) = rows_of(seen(browser, folder="0/0/7"))
    assert ("foreign" in foreign, "missing" in missing) == (True, True)
    assert queries.whole_scans(FileMeta._meta.db_table) == []


# -- Bytes --


def _body(response: Any) -> bytes:
    return b"".join(response.streaming_content)


@pytest.mark.parametrize("name", ["0/0/7/999", "notes/<script>.html"])
def test_bytes_without_a_row_are_attachments_of_no_type(
    name: str, browser: Client, kept: Any
) -> None:
    """Whatever somebody put there runs in no browser."""
    kept.save(name, ContentFile(b"<script>alert(1)</script>"))
    page = seen(browser, folder=os.path.dirname(name))
    assert "<script>.html" not in page.html
    response = browser.get(url("file", name=name))
    assert _body(response) == b"<script>alert(1)</script>"
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"].startswith("attachment")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response["Content-Security-Policy"]


def test_files_of_rows_are_not_sent_by_the_browser_of_stores(browser: Client, kept: Any) -> None:
    """They have a download view, which knows who may see them."""
    row = delivered(7, essay=b"1").files.get()
    assert browser.get(url("file", name=row.content.name)).status_code == 404
    assert browser.get(url("file", name="0/0/7/404")).status_code == 404
    assert browser.post(url("file", name="0/0/7/404")).status_code == 405


def test_a_folder_is_downloaded_as_zip(browser: Client, kept: Any) -> None:
    """All that lies below it."""
    delivered(7, essay=b"1")
    page = seen(browser, folder="0/0")
    assert f'href="{url("archive", folder="0/0")}"' in page.html
    response = browser.get(url("archive", folder="0/0"))
    assert response["Content-Type"] == "application/zip"
    assert _body(response).startswith(b"PK")
    assert browser.get(url("archive")).status_code == 404


@pytest.mark.parametrize("may_view", [True, False])
def test_deleted_bytes_are_in_the_zip_of_a_folder_for_who_may_view_tombstones(
    may_view: bool, kept: Any
) -> None:
    """As each of them is by itself; nothing else is left out, and nothing tells of them."""
    delivery = delivered(7, essay=b"1", deleted=b"2")
    buried = delivery.files.get(filename="deleted")
    name = buried.content.name
    buried.delete()
    kept.save("0/0/7/999", ContentFile(b"1"))
    permissions = ["browse_store", "view_filemeta", *(["view_tombstone"] if may_view else [])]
    clerk = staff(*permissions)
    assert clerk.get(url("file", name=name)).status_code == (200 if may_view else 403)
    data = _body(clerk.get(url("archive", folder="0/0/7")))
    essay, deleted = (Path(each).name for each in (delivery.files.get().content.name, name))
    expected = {essay, "999", "SHA256SUMS", *([deleted] if may_view else [])}
    assert set(zipfile.ZipFile(io.BytesIO(data)).namelist()) == expected


def test_a_restored_file_is_in_the_zip_of_a_folder(kept: Any) -> None:
    """Under its new name; the old one belongs to a tombstone."""
    delivery = delivered(7, essay=b"1")
    delivery.files.get().delete()
    row = restore(Tombstone.objects.get())
    clerk = staff("browse_store", "view_filemeta")
    with zipfile.ZipFile(io.BytesIO(_body(clerk.get(url("archive", folder="0/0/7"))))) as zipped:
        assert posixpath.basename(row.content.name) in zipped.namelist()


def test_file_with_row_and_tombstone_is_in_the_zip_of_a_folder(kept: Any) -> None:
    """Such a row can only be written past this package; its file is there."""
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


def test_a_foreign_file_of_any_name_does_not_end_the_zip_of_a_folder(on_disk: Any) -> None:
    """Not even for who may not view tombstones, for whom the database is asked of each name."""
    on_disk.save("0/0/7/999", ContentFile(b"1"))
    for name in (b"a\xff", b"back\\slash", b"ctl\x01"):
        Path(on_disk.location, "0/0/7", os.fsdecode(name)).write_bytes(b"foreign")
    clerk = staff("browse_store", "view_filemeta")
    data = _body(clerk.get(url("archive", folder="0/0/7")))
    with zipfile.ZipFile(io.BytesIO(data)) as zipped:
        assert zipped.namelist() == ["999", "MISSING.txt", "SHA256SUMS"]
        assert zipped.read("MISSING.txt") == b"a_\nback_slash\nctl_\n"


# -- Who may --


PAGES = {
    "folder": {"folder": "0/0/7"},
    "jump": {"to": "7"},
    "file": {"name": "0/0/7/999"},
    "archive": {"folder": "0/0/7"},
    "bury": {"name": "0/0/7/999"},
}


@pytest.mark.parametrize("page", PAGES)
def test_who_may_not_browse_sees_nothing(page: str, kept: Any) -> None:
    """Nobody's login redirect for whoever is not staff, 403 inside the admin for who is."""
    kept.save("0/0/7/999", ContentFile(b"1"))
    target = url(page, **PAGES[page])
    clerk = staff("view_filemeta", "view_tombstone", "bury_orphan")
    for method in ("get", "post"):
        assert getattr(clerk, method)(target).status_code == 403
        for nobody in (Client(), _logged_in(f"student-{method}")):
            response = getattr(nobody, method)(target)
            assert response.status_code == 302
            assert response["Location"] == f"/admin/login/?next={quote(target)}"
    assert clerk.get(url_for(StoreBrowser)).status_code == 403
    assert "Delivery stores" not in Page.get(clerk, reverse("admin:index")).text


def _logged_in(name: str) -> Client:
    client = Client()
    client.force_login(make_user(name))
    return client


def test_who_may_browse_alone_neither_reads_files_nor_removes_orphans(kept: Any) -> None:
    """Names and owners are shown; links are only to what the user may see."""
    delivery = delivered(7, essay=b"1", deleted=b"2")
    row = delivery.files.get(filename="essay")
    buried = delivery.files.get(filename="deleted")
    buried_name = buried.content.name
    buried.delete()
    kept.save("0/0/7/999", ContentFile(b"1"))
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
def test_hostile_urls_show_nothing_of_elsewhere(
    parameter: str, browser: Client, on_disk: Any, tmp_path: Path
) -> None:
    """Nothing outside, no word of what is there, and no error of the server."""
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
def test_token_of_page_has_a_longest_length(
    length: int, status: int, browser: Client, on_disk: Any
) -> None:
    """What is longer was given by no store."""
    on_disk.save("0/0/7/999", ContentFile(b"1"))
    assert browser.get(url(folder="0/0/7", after="n" * length)).status_code == status


def test_name_that_was_asked_for_is_escaped(browser: Client, kept: Any) -> None:
    """A link from elsewhere may have anything in it."""
    name = "<script>alert(1)<"
    assert "<script>alert" not in seen(browser, folder=name, name=f"{name}/a").html
    page = Page.get(browser, url("jump", to=name))
    assert "<script>alert" not in page.html
    assert "&lt;script&gt;alert" in page.html


def test_symlinked_folder_is_shown_as_one_without_files(
    browser: Client, on_disk: Any, tmp_path: Path
) -> None:
    """The store has no such folder, and the page reports no failure of the store."""
    on_disk.save("0/0/7/999", ContentFile(b"1"))
    (Path(on_disk.location) / "link").symlink_to(tmp_path)
    page = seen(browser, folder="link")
    assert "Nothing lies here." in page.text
    assert "cannot be shown" not in page.text


def test_unknown_stores_and_raw_paths_are_404(browser: Client, on_disk: Any) -> None:
    """The admin's own page for what is not there."""
    for label in ("nothing", "auth.user", "..", "%2e%2e", "\0", LABEL.upper(), "9" * 3000):
        target = f"/admin/devilry_storage/storebrowser/{quote(label)}/"
        assert browser.get(target).status_code == 404, label
    for rest in (f"{LABEL}/..%2f..%2fetc", f"{LABEL}//etc/passwd", "1/change/", "add/x/"):
        assert browser.get(f"/admin/devilry_storage/storebrowser/{rest}").status_code == 404


def test_names_that_are_no_text_are_shown_and_lead_nowhere(browser: Client, on_disk: Any) -> None:
    """A disk takes any bytes for a name."""
    on_disk.save("a/file.txt", ContentFile(b"1"))
    top = os.fsencode(on_disk.location) + b"/a/"
    os.mkdir(top + b"fold\xff")
    with open(top + b"bad\xff\nname", "wb"):
        pass
    page = seen(browser, folder="a")
    assert "bad\\udcff" in page.text
    assert "fold\\udcff/" in page.text
    assert sum("foreign" in line for line in rows_of(page)) == 3


# -- A store that cannot be asked --


def test_an_unmounted_disk_is_told(browser: Client, on_disk: Any, tmp_path: Path) -> None:
    """It looks like an empty one, so the page says what it sees."""
    row = delivered(7, essay=b"1").files.get()
    assert row.content
    os.rename(on_disk.location, tmp_path / "elsewhere")
    for query in ({}, {"folder": "0/0/7"}):
        page = seen(browser, **query)
        assert "cannot be shown" in page.text
        assert "is missing" in page.text


def test_a_store_that_fails_is_told(
    browser: Client, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On every page, and no page is an error of the server."""

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(5, "Input/output error")

    kept.save("0/0/7/999", ContentFile(b"1"))
    for method in ("page", "size", "scan"):
        monkeypatch.setattr(kept, method, fail)
    assert "Input/output error" in seen(browser, folder="0/0/7").text
    for page, query in PAGES.items():
        response = browser.get(url(page, **query), follow=True)
        assert response.status_code == 200
        assert "Input/output error" in response.content.decode()


def test_dumpdata_passes_the_stores_by(kept: Any) -> None:
    """There is no table behind them."""
    for options in ({}, {"use_base_manager": True}):
        out = StringIO()
        call_command("dumpdata", "devilry_storage", stdout=out, **options)
        assert "deliverystore" not in out.getvalue()


# -- Removing orphans --


def _aged_row(pk: int = 50) -> Any:
    """Return the row of a file that was stored lately, with ids above those of the orphans."""
    row = delivered(pk, essay=b"1").files.get()
    return row


def test_an_orphan_is_removed_by_tombstone_and_purge(browser: Client, kept: Any) -> None:
    """After a page that asks; the log says who did it."""
    row = _aged_row()
    name = old(kept, f"0/0/7/{row.pk}_aB3dE6g")
    page = seen(browser, folder="0/0/7")
    assert url("bury", name=name) in page.html
    page = Page.get(browser, url("bury", name=name))
    assert name in page.text
    assert not Tombstone.objects.exists()
    page = page.submit("", {})
    assert any("has a tombstone now" in message for message in page.messages)
    tombstone = Tombstone.objects.get()
    assert (tombstone.name, tombstone.size, tombstone.rows) == (name, 6, [])
    assert tombstone.due > timezone.now() + timedelta(days=29)
    entry = LogEntry.objects.get()
    assert (entry.object_id, "orphan removed" in entry.change_message) == (
        str(tombstone.pk),
        True,
    )
    assert any("tombstoned: " in line for line in rows_of(seen(browser, folder="0/0/7")))
    Tombstone.objects.update(created=timezone.now() - timedelta(days=2))
    past_due()
    assert [event.result for event in purge()] == ["removed"]
    assert not kept.exists(name)
    assert kept.exists(row.content.name)


def test_only_an_orphan_is_asked_about_and_removed(browser: Client, kept: Any) -> None:
    """Not a file that a row or a tombstone names, a foreign or a missing one."""
    delivery = delivered(7, whole=b"1", lost=b"2", deleted=b"3")
    names = {row.filename: row.content.name for row in delivery.files}
    kept.delete(names["lost"])
    delivery.files.get(filename="deleted").delete()
    kept.save("0/0/7/notes.txt", ContentFile(b"4"))
    before = list(Tombstone.objects.values_list("pk", flat=True))
    for name in (*names.values(), "0/0/7/notes.txt", "0/0/7/none", ""):
        target = url("bury", name=name)
        assert browser.get(target).status_code == 404, name
        browser.post(target)
    assert list(Tombstone.objects.values_list("pk", flat=True)) == before


def test_removing_needs_the_token_of_a_form(kept: Any) -> None:
    """A foreign page cannot have it done."""
    row = _aged_row()
    name = old(kept, f"0/0/7/{row.pk}_aB3dE6g")
    user = staff("browse_store", "bury_orphan")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = user.cookies
    assert strict.post(url("bury", name=name)).status_code == 403
    assert not Tombstone.objects.exists()
    assert user.post(url("bury", name=name)).status_code == 302
    assert Tombstone.objects.filter(name=name).exists()
