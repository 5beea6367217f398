"""Files sent by nginx or Apache on behalf of Django, configured as in the manual."""

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

#: The folder of a store may have any name.
ROOT = 'the "store" \\ of søknader, 提出 100%41 %2e%2e'

#: Adopted files may have any name, too. Some names equal another one after decoding.
ADOPTED = ["100%41.txt", "100A.txt", "x%2fy", "x/y", "a b+c.txt", "a b c.txt", "søknad 提出.txt"]
ADOPTED += ["a;b\"c'd.txt", "?q#f", "%00"]

#: Headers that are the same for both ways. The validators of the web server differ.
COMMON_HEADERS = [
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
    """Send a request without changing its path."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)) as connection:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())


class Site(NamedTuple):
    """A site behind a web server, with a user's session and a file."""

    direct: str
    url: str
    cookie: str
    row: Any
    store: FsHierDeliveryStore

    def get(self, row: Any = None, method: str = "GET", **headers: str) -> Reply:
        """Request the file of a row from the web server."""
        return ask(self.url, path_of(row or self.row), method, Cookie=self.cookie, **headers)


def path_of(row: Any) -> str:
    return reverse("devilry_storage:download", args=["devilry_deliveries.filemeta", row.pk])


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users than the one running the tests can read."""
    with tempfile.TemporaryDirectory(prefix="devilry-storage-web-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture(params=[webservers.NGINX, webservers.APACHE], ids=["nginx", "apache"])
def server(request: pytest.FixtureRequest) -> webservers.WebServer:
    chosen: webservers.WebServer = request.param
    return chosen


@pytest.fixture
def site(
    server: webservers.WebServer, public_folder: Path, live_server: Any, settings: Any
) -> Iterator[Site]:
    """A site whose files are sent by the web server."""
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
    """Return the row of a file that the user has delivered."""
    group, _ = AssignmentGroup.objects.get_or_create(name="group")
    group.candidates.add(user)
    delivery = Delivery.begin(group, user)
    row = delivery.add_file(filename, DATA)
    delivery.finish()
    return row


def test_web_server_sends_the_file(site: Site) -> None:
    """For any name of the store's folder. Django sends none of the bytes."""
    handed_over = ask(site.direct, path_of(site.row), Cookie=site.cookie)
    assert (handed_over.status, handed_over.body) == (200, b"")
    reply = site.get()
    assert (reply.status, reply.body) == (200, DATA)


def test_headers_match_those_of_a_streamed_file(site: Site, settings: Any) -> None:
    """Name, type, disposition and all security headers."""
    sent = site.get()
    settings.DELIVERY_STORE_SERVE = "stream"
    streamed = site.get()
    assert streamed.body == sent.body == DATA
    for name in COMMON_HEADERS:
        assert streamed.headers.get_all(name), name
        assert sent.headers.get_all(name) == streamed.headers.get_all(name), name
    assert sent.headers["X-Sendfile"] is None
    assert sent.headers["X-Accel-Redirect"] is None


def test_range_request_returns_a_part(site: Site) -> None:
    """With the same headers. A range past the end has the status 416."""
    reply = site.get(Range="bytes=1000-1999")
    assert (reply.status, reply.body) == (206, DATA[1000:2000])
    assert reply.headers["Content-Range"] == f"bytes 1000-1999/{len(DATA)}"
    assert "attachment" in reply.headers["Content-Disposition"]
    assert "sandbox" in reply.headers["Content-Security-Policy"]
    assert site.get(Range="bytes=-10").body == DATA[-10:]
    assert site.get(Range=f"bytes={len(DATA)}-").status == 416


def test_conditional_requests_use_the_web_servers_validators(site: Site) -> None:
    """They also work for resuming a download."""
    first = site.get()
    again = site.get(**{"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    rest = site.get(Range="bytes=5-", **{"If-Range": first.headers["ETag"]})
    assert (rest.status, rest.body) == (206, DATA[5:])
    changed = site.get(Range="bytes=5-", **{"If-Range": '"another"'})
    assert (changed.status, changed.body) == (200, DATA)


def test_head_has_length_and_no_body(site: Site) -> None:
    """Content-Length is that of the file."""
    reply = site.get(method="HEAD")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["Content-Length"] == str(len(DATA))


def test_adopted_names_are_not_decoded(site: Site) -> None:
    """Names with percent signs or spaces refer to exactly one file."""
    delivery = Delivery.begin(site.row.delivery.assignment_group)
    rows = {}
    for number, name in enumerate(ADOPTED):
        site.store.save(name, ContentFile(name.encode()))
        rows[name] = FileMeta.objects.adopt(name, delivery=delivery, filename=str(number))
    delivery.finish()
    assert {name: site.get(row).body.decode() for name, row in rows.items()} == {
        name: name for name in ADOPTED
    }


def test_store_is_not_publicly_accessible(site: Site) -> None:
    """Neither through the internal location nor through any other path."""
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
def test_longest_filenames_fit_into_headers(
    site: Site, settings: Any, way: str, filename: str
) -> None:
    """They are percent-encoded in headers, and twice in signed URLs."""
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


@pytest.mark.parametrize("server", [webservers.NGINX], ids=["nginx"])
@pytest.mark.parametrize(
    ("path", "accepts"),
    [
        ("/", False),
        ("/accounts/login/", False),
        ("/admin/login/", False),
        ("/deliver/", True),
        ("/admin/devilry_deliveries/delivery/add/", True),
    ],
)
def test_only_pages_that_receive_files_accept_large_requests(
    path: str, accepts: bool, site: Site
) -> None:
    """A response with status 413 is that of nginx."""
    with closing(http.client.HTTPConnection(urlsplit(site.url).netloc, timeout=30)) as connection:
        connection.request("POST", path, body=bytes(3 << 20), headers={"Cookie": site.cookie})
        assert (connection.getresponse().status != 413) == accepts


def test_django_checks_permissions(site: Site) -> None:
    """404 for other users, the login page for anonymous users."""
    client = Client()
    client.force_login(make_user("stranger"))
    name = django_settings.SESSION_COOKIE_NAME
    other = ask(site.url, path_of(site.row), Cookie=f"{name}={client.cookies[name].value}")
    assert other.status == 404
    anonymous = ask(site.url, path_of(site.row))
    assert (anonymous.status, anonymous.body) == (302, b"")


def test_missing_file_is_not_found(site: Site) -> None:
    """The response has the status 404, as for a file that never existed."""
    Path(site.store.path(site.row.content.name)).unlink()
    assert site.get().status == 404


def test_symlinks_are_not_followed(site: Site) -> None:
    """Regardless of the target."""
    path = Path(site.store.path(site.row.content.name))
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")
    assert site.get().status in {400, 404}


def test_slow_client_does_not_block_django(site: Site) -> None:
    """Django has responded before the client reads anything."""
    host, _, port = urlsplit(site.url).netloc.partition(":")
    with closing(socket.create_connection((host, int(port)), 30)) as slow:
        lines = (f"GET {path_of(site.row)} HTTP/1.1", f"Host: {host}")
        head = "\r\n".join((*lines, f"Cookie: {site.cookie}", "", ""))
        slow.sendall(head.encode())
        assert site.get().body == DATA
