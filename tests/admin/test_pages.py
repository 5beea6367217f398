"""What the pages show, whatever the store does."""

from __future__ import annotations

import errno
import itertools
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.storages import FsHierDeliveryStore, MemoryDeliveryStore

from .pages import Page, add_files, contents, upload, url_for, url_of

MODELS = (AssignmentGroup, Delivery, FileMeta, Tombstone)


class DownStore(FsHierDeliveryStore):
    """A store that cannot be reached."""

    def _fail(self, *args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.EIO, "the disk is gone")

    _open = _create = exists = size = listdir = scan = stream = delete_many = _fail


def test_a_delivery_shows_name_size_digest_and_key_of_each_file(
    browser: Client, delivery: Delivery
) -> None:
    """Files are inline: name, size in human units, SHA-256, key."""
    row = delivery.add_file("report.pdf", b"x" * 2048)
    page = Page.get(browser, url_of(delivery))
    (shown,) = page.root.find("tr", id="stored-filemetas-0")
    for part in ("report.pdf", "2.0 KB", row.sha256, row.content.name):
        assert part in shown.text
    assert "1 file, 2.0 KB" in page.text


def test_a_row_without_bytes_is_shown_as_such(browser: Client, delivery: Delivery) -> None:
    """A row that is being stored, or was left behind, breaks no page."""
    row = FileMeta.objects.create(delivery=delivery, filename="left.txt")
    for url in (url_of(delivery), url_of(row), url_for(FileMeta)):
        assert "not stored" in Page.get(browser, url).text


def test_a_stored_file_is_read_only(browser: Client, delivery: Delivery) -> None:
    """Neither its name nor its content can be changed, whatever is sent."""
    row = delivery.add_file("a.txt", b"first")
    page = Page.get(browser, url_of(delivery))
    form = page.form("delivery_form")
    mine = {name for name in form.names if name.startswith("stored-filemetas-0-")}
    assert mine == {f"stored-filemetas-0-{name}" for name in ("id", "delivery", "DELETE")}
    forged = {"stored-filemetas-0-filename": "b.txt", "stored-filemetas-0-content": upload()}
    browser.post(page.url, {**form.filled({}, "_save"), **forged})
    browser.post(url_of(row), {"filename": "b.txt", "content": upload(), "_save": "1"})
    assert contents(delivery) == {"a.txt": b"first"}
    assert not Tombstone.objects.exists()


@pytest.mark.usefixtures("without_downloads")
def test_the_key_is_a_link_only_where_the_store_has_a_url(
    browser: Client, delivery: Delivery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store without URL makes no link, and none that leads nowhere."""
    monkeypatch.setattr(FileMeta, "deliverystore", FsHierDeliveryStore(location=tmp_path))
    row = delivery.add_file("a.txt", b"a")
    urls = (url_of(delivery), url_of(row), url_for(FileMeta))
    for url in urls:
        links = Page.get(browser, url).root.find("a")
        assert not [link.text for link in links if not link.attributes.get("href")]
    public = FsHierDeliveryStore(location=tmp_path, base_url="https://files.example/")
    monkeypatch.setattr(FileMeta, "deliverystore", public)
    for url in urls:
        links = Page.get(browser, url).root.find("a", href=f"https://files.example/{row.content}")
        assert {link.text for link in links} - {"Download"} == {str(row.content)}


@pytest.mark.parametrize("trouble", ["none", "down", "missing"])
def test_every_page_opens_whatever_the_store_does(
    trouble: str, browser: Client, group: AssignmentGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No page asks the store: neither one that fails nor one that has lost the files."""
    delivery, finished = Delivery.begin(group), Delivery.begin(group)
    row = delivery.add_file("a.txt", b"a")
    finished.add_file("b.txt", b"b")
    finished.add_file("c.txt", b"c").delete()
    finished.finish()
    if trouble == "down":
        monkeypatch.setattr(FileMeta, "deliverystore", DownStore(location="/nonexistent"))
    elif trouble == "missing":
        monkeypatch.setattr(FileMeta, "deliverystore", MemoryDeliveryStore())
    urls = [url_for(model) for model in MODELS]
    urls += [url_for(model, "add") for model in (AssignmentGroup, Delivery, FileMeta)]
    rows = [group, delivery, finished, row]
    for page in ("change", "history"):
        urls += [url_of(shown, page) for shown in [*rows, Tombstone.objects.get()]]
    urls += [url_of(shown, "delete") for shown in rows]
    for url in urls:
        assert (url, Page.get(browser, url).status) == (url, 200)


def test_an_impossible_id_is_told(browser: Client, subtests: pytest.Subtests) -> None:
    """Bad input gives a clear error, on no page an exception."""
    ids = ["abc", "99999999999999999999999", "-1", "1.5", "a%00b"]
    for model, bad in itertools.product(MODELS, ids):
        with subtests.test(model._meta.label, bad=bad):
            Page.get(browser, reverse("admin:index"))  # clears the message of the previous row
            name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
            url = reverse(name, args=[bad])
            assert "Perhaps it was deleted?" in Page.get(browser, url).messages[0]
            for other in ("/change/", "/delete/", "/history/"):
                browser.get(url.replace("/change/", other))
                browser.post(url.replace("/change/", other), {"post": "yes"})


def test_only_the_first_files_of_many_are_on_the_page(browser: Client, delivery: Delivery) -> None:
    """A delivery with more files than Django lets a form have fields is shown and saved."""
    many = [FileMeta(delivery=delivery, filename=f"{number:04}.txt") for number in range(1200)]
    FileMeta.objects.bulk_create(many)
    page = Page.get(browser, url_of(delivery))
    (link,) = (each for each in page.root.find("a") if each.text.startswith("1200 files"))
    assert link.text == "1200 files, 0 bytes, the first 100 of them below"
    assert "1200 files" in Page.get(browser, link.attributes["href"]).text
    clash = add_files(page, ("1100.txt", upload()))
    assert "already" in " ".join(clash.errors)
    page = add_files(page, ("new.txt", upload()))
    assert page.status == 200
    assert delivery.files.get(filename="new.txt").size == len(b"uploaded")
