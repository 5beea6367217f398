"""Files that nginx or Apache sends, because Django said so: as the manual configures them."""

from __future__ import annotations

import http.client
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import pytest
from django.conf import settings as django_settings
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import reverse
from django_sendfile.utils import _get_sendfile

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.storages import FsHierDeliveryStore, S3DeliveryStore
from devilry_storage.testing import override_deliverystore

from ..harness import webservers
from ..harness.users import make_user

pytestmark = pytest.mark.servers

DATA = bytes(range(256)) * 1000
FILENAME = "Øving «én» 100%25.py"

#: A folder of a store may be called anything.
ROOT = 'the "store" \\ of søknader, 提出 100%41 %2e%2e'

#: As may what lies in it and was adopted; the second is what a first one is decoded to.
ADOPTED = ["100%41.txt", "100A.txt", "x%2fy", "x/y", "a b+c.txt", "a b c.txt", "søknad 提出.txt"]
ADOPTED += ["a;b\"c'd.txt", "?q#f", "%00"]

#: What both ways say alike; validators differ: the web server has its own.
ALIKE = [
    "Content-Type",
    "Content-Disposition",
    "Content-Length",
    "Accept-Ranges",
    "Cache-Control",
    "Vary",
    "X-Content-Type-Options",
    "Content-Security-Policy",
    "Cross-Origin-Resource-Policy",
    "Referrer-Policy",
]


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def ask(url: str, path: str, method: str = "GET", **headers: str) -> Reply:
    """Send a request, its path as it is."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read())


class Site(NamedTuple):
    """A site behind a web server: who asks, for what, and where it lies."""

    direct: str
    url: str
    cookie: str
    row: Any
    store: FsHierDeliveryStore

    def get(self, row: Any = None, method: str = "GET", **headers: str) -> Reply:
        """Ask the web server for the file of a row."""
        return ask(self.url, path_of(row or self.row), method, Cookie=self.cookie, **headers)


def path_of(row: Any) -> str:
    return reverse("devilry_storage:download", args=["devilry_deliveries.filemeta", row.pk])


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users than the one of the tests can read."""
    with tempfile.TemporaryDirectory(prefix="devilry-storage-web-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture(params=[webservers.NGINX, webservers.APACHE], ids=["nginx", "apache"])
def server(request: pytest.FixtureRequest) -> webservers.WebServer:
    chosen: webservers.WebServer = request.param
    return chosen


@pytest.fixture
def site(
    server: webservers.WebServer,
    public_folder: Path,
    live_server: Any,
    settings: Any,
) -> Iterator[Site]:
    """A site whose files the web server sends."""
    root = public_folder / ROOT
    settings.ALLOWED_HOSTS = ["*"]
    settings.DELIVERY_STORE_SERVE = "sendfile"
    settings.SENDFILE_BACKEND = server.backend
    settings.SENDFILE_ROOT = str(root)
    settings.SENDFILE_URL = "/the-store"
    _get_sendfile.cache_clear()
    with (
        override_deliverystore(FsHierDeliveryStore(root, durable=False)) as store,
        webservers.running(server, public_folder, root, live_server.url) as url,
    ):
        user = make_user("anna")
        row = deliver(user, FILENAME)
        client = Client()
        client.force_login(user)
        name = django_settings.SESSION_COOKIE_NAME
        yield Site(live_server.url, url, f"{name}={client.cookies[name].value}", row, store)
    _get_sendfile.cache_clear()


def deliver(user: Any, filename: str) -> Any:
    """Return a file that this user has delivered."""
    group, _ = AssignmentGroup.objects.get_or_create(name="group")
    group.candidates.add(user)
    delivery = Delivery.begin(group, user)
    row = delivery.add_file(filename, DATA)
    delivery.finish()
    return row


def test_the_web_server_sends_the_file(site: Site) -> None:
    """Whatever the folder of the store is called; Django sends none of the bytes."""
    handed_over = ask(site.direct, path_of(site.row), Cookie=site.cookie)
    assert (handed_over.status, handed_over.body) == (200, b"")
    reply = site.get()
    assert (reply.status, reply.body) == (200, DATA)


def test_the_headers_are_those_of_a_streamed_file(site: Site, settings: Any) -> None:
    """Name, type, disposition, and all that protects whoever opens it."""
    sent = site.get()
    settings.DELIVERY_STORE_SERVE = "stream"
    streamed = site.get()
    assert streamed.body == sent.body == DATA
    for name in ALIKE:
        assert streamed.headers.get_all(name), name
        assert sent.headers.get_all(name) == streamed.headers.get_all(name), name
    assert sent.headers["X-Sendfile"] is None
    assert sent.headers["X-Accel-Redirect"] is None


def test_a_range_is_a_part_of_it(site: Site) -> None:
    """With the same headers; a range past the end is told so."""
    reply = site.get(Range="bytes=1000-1999")
    assert (reply.status, reply.body) == (206, DATA[1000:2000])
    assert reply.headers["Content-Range"] == f"bytes 1000-1999/{len(DATA)}"
    assert "attachment" in reply.headers["Content-Disposition"]
    assert "sandbox" in reply.headers["Content-Security-Policy"]
    assert site.get(Range="bytes=-10").body == DATA[-10:]
    assert site.get(Range=f"bytes={len(DATA)}-").status == 416


def test_a_file_that_the_client_has_is_not_sent_again(site: Site) -> None:
    """By the web server's validators, which continue a download, too."""
    first = site.get()
    again = site.get(**{"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    rest = site.get(Range="bytes=5-", **{"If-Range": first.headers["ETag"]})
    assert (rest.status, rest.body) == (206, DATA[5:])
    changed = site.get(Range="bytes=5-", **{"If-Range": '"another"'})
    assert (changed.status, changed.body) == (200, DATA)


def test_a_head_has_no_body(site: Site) -> None:
    """But the length."""
    reply = site.get(method="HEAD")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["Content-Length"] == str(len(DATA))


def test_a_name_that_was_adopted_is_that_file_and_no_other(site: Site) -> None:
    """Nothing between Django and the disk decodes it once more."""
    delivery = Delivery.begin(site.row.delivery.assignment_group)
    rows = {}
    for number, name in enumerate(ADOPTED):
        site.store.save(name, ContentFile(name.encode()))
        rows[name] = FileMeta.objects.adopt(name, delivery=delivery, filename=str(number))
    delivery.finish()
    assert {name: site.get(row).body.decode() for name, row in rows.items()} == {
        name: name for name in ADOPTED
    }


def test_the_store_itself_is_closed_to_everybody(site: Site) -> None:
    """Neither the internal place nor any way around leads into it."""
    name = site.row.content.name
    assert (Path(site.store.path(name))).read_bytes() == DATA
    root = str(site.store.location)
    planted = {
        "X-Accel-Redirect": f"/the-store/{name}",
        "X-Sendfile": os.fsencode(f"{root}/{name}").decode("latin-1"),
    }
    root = quote(root)
    for path in (
        f"/the-store/{name}",
        f"/the-store//{name}",
        f"/THE-STORE/{name}",
        "/the-store/",
        "/the-store",
        f"/%74he-store/{name}",
        f"/x/../the-store/{name}",
        f"/files/..%2fthe-store/{name}",
        f"/./the-store/{quote(name, safe='')}",
        f"{root}/{name}",
        f"/..{root}/{name}",
        f"/the-store/../..{root}/{name}",
    ):
        reply = ask(site.url, path, Cookie=site.cookie, **planted)
        assert reply.status in {400, 404}, path
        assert DATA[:256] not in reply.body


@pytest.mark.parametrize("filename", ["\N{GRINNING FACE}" * 255, "\u4e2d" * 251 + ".pdf"])
@pytest.mark.parametrize("way", ["sendfile", "stream", "redirect"])
def test_the_longest_names_pass(site: Site, settings: Any, way: str, filename: str) -> None:
    """In a header they are encoded, in a signed URL twice: the web server has room for that."""
    settings.SESSION_SAVE_EVERY_REQUEST = True
    settings.DELIVERY_STORE_SERVE, settings.DELIVERY_STORE_REDIRECT_MIN_BYTES = way, 0
    row = deliver(make_user("bjarne"), filename)  # of the same group
    if way != "redirect":
        assert site.get(row).body == DATA
        return
    keys: dict[str, Any] = {
        "access_key": "A" * 20,
        "secret_key": "s",
        "security_token": "t" * 1000,
    }
    nowhere = S3DeliveryStore(bucket_name="b", endpoint_url="http://127.0.0.1:9", **keys)
    with override_deliverystore(nowhere):
        reply = site.get(row)
    assert reply.status == 302
    assert len(reply.headers["Location"]) > 5000


def test_others_get_what_they_get_without_a_web_server(site: Site) -> None:
    """Who may read is Django's to say: 404 for others, the login page for nobody in particular."""
    client = Client()
    client.force_login(make_user("stranger"))
    name = django_settings.SESSION_COOKIE_NAME
    other = ask(site.url, path_of(site.row), Cookie=f"{name}={client.cookies[name].value}")
    assert other.status == 404
    anonymous = ask(site.url, path_of(site.row))
    assert (anonymous.status, anonymous.body) == (302, b"")


def test_a_file_that_is_gone_is_not_found(site: Site) -> None:
    """As if there had never been one."""
    Path(site.store.path(site.row.content.name)).unlink()
    assert site.get().status == 404


def test_a_symlink_that_was_planted_is_not_followed(site: Site) -> None:
    """Whatever it leads to."""
    path = Path(site.store.path(site.row.content.name))
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")
    assert site.get().status in {400, 404}


def test_a_slow_client_holds_only_the_web_server(site: Site) -> None:
    """Django has answered, and is free, before the client has read anything."""
    host, _, port = urlsplit(site.url).netloc.partition(":")
    with closing(socket.create_connection((host, int(port)), 30)) as slow:
        lines = (f"GET {path_of(site.row)} HTTP/1.1", f"Host: {host}")
        head = "\r\n".join((*lines, f"Cookie: {site.cookie}", "", ""))
        slow.sendall(head.encode())
        assert site.get().body == DATA
