"""The store browser on S3: what a page sends over the wire, and what it says of faults there."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from devilry_storage.deliveries.models import AssignmentGroup, Delivery
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.testing import override_deliverystore
from tests.harness import s3servers
from tests.harness.http_faults import Answer
from tests.harness.http_proxy import HttpProxy
from tests.harness.purging import delivered

from .pages import Page, url_of

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

LABEL = "devilry_deliveries.filemeta"


def made(bucket: str, endpoint_url: str, **options: Any) -> S3DeliveryStore:
    """Return a store below a prefix of its own."""
    given = {**s3servers.get("seaweedfs").options(bucket), "location": uuid.uuid4().hex}
    return S3DeliveryStore(**{**given, "endpoint_url": endpoint_url, **options})


@pytest.fixture
def kept(proxy: HttpProxy, bucket: str) -> Iterator[S3DeliveryStore]:
    """The store of FileMeta, on SeaweedFS behind a proxy."""
    proxy.forget()
    store = made(bucket, proxy.endpoint_url, attempts=1)
    with override_deliverystore(store):
        yield store
    proxy.forget()


def url(page: str = "folder", **query: str) -> str:
    found = reverse(f"admin:devilry_storage_storebrowser_{page}", args=[LABEL])
    return f"{found}?{urlencode(query)}"


def lines(page: Page) -> list[str]:
    assert page.status == 200
    return [row.text for body in page.root.find("tbody") for row in body.find("tr")]


def test_a_walk_through_a_bucket(browser: Client, kept: S3DeliveryStore) -> None:
    """Folders with their ids down to a file with its row; a sibling's prefix is no part of it."""
    group = AssignmentGroup.objects.create(name="group")
    row = Delivery.objects.create(pk=5, assignment_group=group).add_file("essay", b"12345")
    folder = row.content.name.rpartition("/")[0]
    kept.save("0/10/10005/999999", ContentFile(b"orphan"))
    assert lines(Page.get(browser, url())) == ["0/ deliveries 0–999999"]
    found = lines(Page.get(browser, url(folder="0")))
    assert found == ["0/ deliveries 0–999", "10/ deliveries 10000–10999"]
    page = Page.get(browser, url(folder=folder))
    (line,) = lines(page)
    assert "whole" in line
    assert f'href="{url_of(row)}"' in page.html
    (line,) = lines(Page.get(browser, url(folder="0/10/10005")))
    assert "orphan: " in line


@pytest.mark.parametrize("count", [2, 250])
def test_a_page_sends_one_listing_and_as_many_queries_whatever_lies_there(
    count: int, browser: Client, kept: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """One ListObjectsV2 and nothing else: no HEAD a file, on the first page as on the next."""
    delivered(essay=b"1")
    for number in range(count):
        kept.remote.call("put_object", f"many/{number}", Body=b"")
    browser.get(url(folder="many"))  # what is cached from then on
    target, shown = url(folder="many"), 0
    while target:
        proxy.forget()
        with CaptureQueriesContext(connection) as queries:
            page = Page.get(browser, target)
        assert proxy.operations() == ["ListObjectsV2"]
        assert proxy.requests[0].query["delimiter"] == ["/"]
        # The log at DEBUG, which these tests watch, shows the admin's history of each template.
        sent = [each["sql"] for each in queries if 'FROM "django_admin_log"' not in each["sql"]]
        # Session, user, rows and tombstones.
        assert len(sent) == 4, sent
        shown += len(lines(page))
        links = list(page.root.find("a", rel="next"))
        target = links[0].attributes["href"] if links else ""
    assert shown == count


def test_a_prefix_that_was_emptied_is_an_empty_folder(
    browser: Client, kept: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """Some servers list it still; it opens, and a second listing tells it from an empty store."""
    kept.save("elsewhere", ContentFile(b"1"))
    kept.delete(kept.save("0/0/7/999", ContentFile(b"1")))
    proxy.forget()
    page = Page.get(browser, url(folder="0/0/7"))
    assert "Nothing lies here" in page.text
    assert "cannot be shown" not in page.text
    assert proxy.operations() == ["ListObjectsV2"] * 2


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "InvalidArgument"), (403, "AccessDenied"), (404, "NoSuchBucket"), (503, "SlowDown")],
)
def test_a_server_that_refuses_is_told(
    status: int, code: str, browser: Client, kept: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """In words on the page, also for a token that it does not know."""
    proxy.fault("ListObjectsV2", Answer(status, code), times=20)
    for query in ({"folder": "0"}, {"folder": "0", "after": "no token"}):
        page = Page.get(browser, url(**query))
        assert page.status == 200
        assert "The store cannot be shown" in page.text


def test_a_server_that_is_gone_is_told(browser: Client, bucket: str) -> None:
    """Every page answers, names the trouble and shows no secret."""
    gone = made(bucket, "http://127.0.0.1:1", attempts=1, deadline=1)
    with override_deliverystore(gone):
        assert "The store cannot be shown" in Page.get(browser, url(folder="0")).text
        for page, query in (
            ("jump", {"to": "notes"}),
            ("file", {"name": "0/0/7/9"}),
            ("archive", {"folder": "0"}),
            ("bury", {"name": "0/0/7/9"}),
        ):
            shown = Page.get(browser, url(page, **query))
            assert shown.status == 200, page
            assert "cannot be shown" in shown.text, page
            assert str(gone.secret_key) not in shown.html


@pytest.mark.parametrize("token", ["..", "\0", "é", "\n", "x" * 4000, "../../other/secret"])
def test_tokens_of_nobody_show_nothing_of_elsewhere(
    token: str, browser: Client, kept: S3DeliveryStore, bucket: str, proxy: HttpProxy
) -> None:
    """Whatever the server makes of them: no error of ours, no name of another prefix."""
    made(bucket, proxy.endpoint_url).save("a/secret", ContentFile(b"1"))
    kept.save("a/file.txt", ContentFile(b"1"))
    page = Page.get(browser, url(folder="a", after=token))
    assert page.status == 200
    assert not any("secret" in line for line in lines(page))
