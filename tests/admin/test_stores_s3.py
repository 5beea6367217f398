"""The store browser on S3: requests of a page, and failures of the server."""

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


def make_store(bucket: str, endpoint_url: str, **options: Any) -> S3DeliveryStore:
    """Return a store with its own prefix."""
    given = {**s3servers.get("seaweedfs").options(bucket), "location": uuid.uuid4().hex}
    return S3DeliveryStore(**{**given, "endpoint_url": endpoint_url, **options})


@pytest.fixture
def store(proxy: HttpProxy, bucket: str) -> Iterator[S3DeliveryStore]:
    """Use a store on SeaweedFS, behind a proxy, for FileMeta."""
    proxy.forget()
    store = make_store(bucket, proxy.endpoint_url, attempts=1)
    with override_deliverystore(store):
        yield store
    proxy.forget()


def url(page: str = "folder", **query: str) -> str:
    found = reverse(f"admin:devilry_storage_storebrowser_{page}", args=[LABEL])
    return f"{found}?{urlencode(query)}"


def lines(page: Page) -> list[str]:
    assert page.status == 200
    return [row.text for body in page.root.find("tbody") for row in body.find("tr")]


def test_pages_lead_from_bucket_to_a_file(browser: Client, store: S3DeliveryStore) -> None:
    """Files below the prefix of another store are not shown."""
    group = AssignmentGroup.objects.create(name="group")
    row = Delivery.objects.create(pk=5, assignment_group=group).add_file("essay", b"12345")
    folder = row.content.name.rpartition("/")[0]
    store.save("0/10/10005/999999", ContentFile(b"orphan"))
    assert lines(Page.get(browser, url())) == ["0/ Deliveries 0–999999"]
    found = lines(Page.get(browser, url(folder="0")))
    assert found == ["0/ Deliveries 0–999", "10/ Deliveries 10000–10999"]
    page = Page.get(browser, url(folder=folder))
    (line,) = lines(page)
    assert "Whole" in line
    assert f'href="{url_of(row)}"' in page.html
    (line,) = lines(Page.get(browser, url(folder="0/10/10005")))
    assert "Unrecorded file: " in line


@pytest.mark.parametrize("count", [2, 250])
def test_page_needs_one_listing_and_constant_queries(
    count: int, browser: Client, store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """It sends one ListObjectsV2 and no HEAD for files, on each page."""
    delivered(essay=b"1")
    for number in range(count):
        store.remote.call("put_object", f"many/{number}", Body=b"")
    browser.get(url(folder="many"))  # fills caches
    target, shown = url(folder="many"), 0
    while target:
        proxy.forget()
        with CaptureQueriesContext(connection) as queries:
            page = Page.get(browser, target)
        assert proxy.operations() == ["ListObjectsV2"]
        assert proxy.requests[0].query["delimiter"] == ["/"]
        # Logging at DEBUG evaluates the admin's log in the context of templates.
        sent = [query["sql"] for query in queries if 'FROM "django_admin_log"' not in query["sql"]]
        # The session, the user, the rows and the tombstones.
        assert len(sent) == 4, sent
        shown += len(lines(page))
        links = list(page.root.find("a", rel="next"))
        target = links[0].attributes["href"] if links else ""
    assert shown == count


def test_empty_prefix_is_an_empty_folder(
    browser: Client, store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """A second listing distinguishes it from an empty store."""
    store.save("elsewhere", ContentFile(b"1"))
    store.delete(store.save("0/0/7/999", ContentFile(b"1")))
    proxy.forget()
    page = Page.get(browser, url(folder="0/0/7"))
    assert "Nothing is stored here" in page.text
    assert "cannot be listed" not in page.text
    assert proxy.operations() == ["ListObjectsV2"] * 2


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "InvalidArgument"), (403, "AccessDenied"), (404, "NoSuchBucket"), (503, "SlowDown")],
)
def test_error_of_the_server_is_reported(
    status: int, code: str, browser: Client, store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """Also for an invalid token."""
    proxy.fault("ListObjectsV2", Answer(status, code), times=20)
    for query in ({"folder": "0"}, {"folder": "0", "after": "no token"}):
        page = Page.get(browser, url(**query))
        assert page.status == 200
        assert "The store cannot be listed" in page.text


def test_unreachable_server_is_reported(browser: Client, bucket: str) -> None:
    """On every page, and without secrets."""
    unreachable = make_store(bucket, "http://127.0.0.1:1", attempts=1, deadline=1)
    with override_deliverystore(unreachable):
        assert "The store cannot be listed" in Page.get(browser, url(folder="0")).text
        for page, query in (
            ("jump", {"to": "notes"}),
            ("file", {"name": "0/0/7/9"}),
            ("archive", {"folder": "0"}),
            ("bury", {"name": "0/0/7/9"}),
        ):
            shown = Page.get(browser, url(page, **query))
            assert shown.status == 200, page
            assert "cannot be listed" in shown.text, page
            assert str(unreachable.secret_key) not in shown.html


@pytest.mark.parametrize("token", ["..", "\0", "é", "\n", "x" * 4000, "../../other/secret"])
def test_forged_tokens_reveal_nothing(
    token: str, browser: Client, store: S3DeliveryStore, bucket: str, proxy: HttpProxy
) -> None:
    """No exception is raised, and no name of another prefix is shown."""
    make_store(bucket, proxy.endpoint_url).save("a/secret", ContentFile(b"1"))
    store.save("a/file.txt", ContentFile(b"1"))
    page = Page.get(browser, url(folder="a", after=token))
    assert page.status == 200
    assert not any("secret" in line for line in lines(page))
