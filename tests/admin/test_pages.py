"""Pages of deliveries and files."""

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
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.testing import MemoryDeliveryStore

from .pages import Page, add_files, contents, upload, url_for, url_of

MODELS = (AssignmentGroup, Delivery, FileMeta, Tombstone)


class DownStore(FsHierDeliveryStore):
    """A store that is not available."""

    def _fail(self, *args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.EIO, "the disk is gone")

    _open = _create = exists = size = listdir = scan = stream = delete_many = _fail


def test_delivery_shows_name_size_digest_and_key_of_files(
    browser: Client, delivery: Delivery
) -> None:
    """Files are shown in an inline."""
    row = delivery.add_file("report.pdf", b"x" * 2048)
    page = Page.get(browser, url_of(delivery))
    (shown,) = page.root.find("tr", id="stored-filemetas-0")
    for part in ("report.pdf", "2.0 KB", row.sha256, row.content.name):
        assert part in shown.text
    assert "1 file, 2.0 KB" in page.text


def test_row_without_bytes_is_shown_as_not_stored(browser: Client, delivery: Delivery) -> None:
    """On all pages with files."""
    row = FileMeta.objects.create(delivery=delivery, filename="pending.txt")
    for url in (url_of(delivery), url_of(row), url_for(FileMeta)):
        assert "Not stored" in Page.get(browser, url).text


def test_stored_file_is_read_only(browser: Client, delivery: Delivery) -> None:
    """Forged values for its filename and content are ignored."""
    row = delivery.add_file("a.txt", b"first")
    page = Page.get(browser, url_of(delivery))
    form = page.form("delivery_form")
    names = {name for name in form.names if name.startswith("stored-filemetas-0-")}
    assert names == {f"stored-filemetas-0-{name}" for name in ("id", "delivery", "DELETE")}
    forged = {"stored-filemetas-0-filename": "b.txt", "stored-filemetas-0-content": upload()}
    browser.post(page.url, {**form.filled({}, "_save"), **forged})
    browser.post(url_of(row), {"filename": "b.txt", "content": upload(), "_save": "1"})
    assert contents(delivery) == {"a.txt": b"first"}
    assert not Tombstone.objects.exists()


@pytest.mark.usefixtures("without_downloads")
def test_key_is_a_link_if_the_store_has_urls(
    browser: Client, delivery: Delivery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a URL no empty link is shown."""
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


@pytest.mark.parametrize("failure", ["none", "down", "missing"])
def test_pages_do_not_depend_on_the_store(
    failure: str, browser: Client, group: AssignmentGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They open if the store fails or has lost the files."""
    delivery, finished = Delivery.begin(group), Delivery.begin(group)
    row = delivery.add_file("a.txt", b"a")
    finished.add_file("b.txt", b"b")
    finished.add_file("c.txt", b"c").delete()
    finished.finish()
    if failure == "down":
        monkeypatch.setattr(FileMeta, "deliverystore", DownStore(location="/nonexistent"))
    elif failure == "missing":
        monkeypatch.setattr(FileMeta, "deliverystore", MemoryDeliveryStore())
    urls = [url_for(model) for model in MODELS]
    urls += [url_for(model, "add") for model in (AssignmentGroup, Delivery, FileMeta)]
    rows = [group, delivery, finished, row]
    for page in ("change", "history"):
        urls += [url_of(shown, page) for shown in [*rows, Tombstone.objects.get()]]
    urls += [url_of(shown, "delete") for shown in rows]
    for url in urls:
        assert (url, Page.get(browser, url).status) == (url, 200)


def test_invalid_id_is_reported(browser: Client, subtests: pytest.Subtests) -> None:
    """Invalid ids in URLs do not raise exceptions."""
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


def test_page_shows_first_of_many_files(browser: Client, delivery: Delivery) -> None:
    """The page can be saved although Django limits the number of fields."""
    many = [FileMeta(delivery=delivery, filename=f"{number:04}.txt") for number in range(1200)]
    FileMeta.objects.bulk_create(many)
    page = Page.get(browser, url_of(delivery))
    (link,) = (a for a in page.root.find("a") if a.text.startswith("1200 files"))
    assert link.text == "1200 files, 0 bytes (below are the first 100)"
    assert "1200 files" in Page.get(browser, link.attributes["href"]).text
    clash = add_files(page, ("1100.txt", upload()))
    assert "already" in " ".join(clash.errors)
    page = add_files(page, ("new.txt", upload()))
    assert page.status == 200
    assert delivery.files.get(filename="new.txt").size == len(b"uploaded")
