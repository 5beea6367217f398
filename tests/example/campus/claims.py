"""Tests of the example site's pages; ``test_campus.py`` runs them with the site's settings."""

from __future__ import annotations

import errno
import hashlib
import io
import re
import zipfile
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from campus.middleware import POLICY
from demo import people
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.testing import MemoryDeliveryStore
from tests.harness.flushing import keep_permissions

pytestmark = pytest.mark.django_db(transaction=True)

FILES = {"essay.txt": b"An essay.", "<b>&.txt": b"hostile", "empty": b""}
MiB = 1024**2


class FullStore(MemoryDeliveryStore):
    """A store on a full disk."""

    def _create(self, name: str, content: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Speed up the flush after each test."""
    with django_db_blocker.unblock():
        keep_permissions()


@pytest.fixture(autouse=True)
def quick_hasher(settings: Any) -> None:
    """Speed up logging in."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryDeliveryStore:
    """An empty store, because SQLite reuses ids."""
    made = MemoryDeliveryStore(interval=10)
    monkeypatch.setattr(FileMeta, "deliverystore", made)
    return made


@pytest.fixture
def who() -> people.People:
    return people.create()


@pytest.fixture
def group(who: people.People) -> AssignmentGroup:
    """The group of anna and bjarne."""
    return who.groups[0]


def browser(name: str, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(User.objects.get(username=name))
    return client


def delivered(group: AssignmentGroup, files: dict[str, bytes] = FILES) -> Any:
    delivery = Delivery.begin(group, group.candidates.first())
    delivery.add_files(files)
    delivery.finish()
    return delivery


def send(client: Client, group: AssignmentGroup, files: dict[str, bytes], **more: Any) -> Any:
    uploads = [SimpleUploadedFile(name, data) for name, data in files.items()]
    fields = {"uploads": uploads, "end": "end"}
    return client.post(f"/groups/{group.pk}/", fields, **more)


def scripted(client: Client, group: AssignmentGroup, files: dict[str, bytes]) -> Any:
    """Send files as the page's script does."""
    return send(client, group, files, headers={"accept": "application/json"})


class _Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if tag == "a" and name == "href"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def html(response: Any) -> str:
    page: str = response.content.decode()
    return page


def read(response: Any) -> _Texts:
    parser = _Texts()
    parser.feed(html(response))
    return parser


_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


def token_of(response: Any) -> str:
    """Return the CSRF token of a page, which differs between responses."""
    found = _TOKEN.search(html(response))
    assert found
    return found[1]


def data_of(response: Any) -> bytes:
    data: bytes = b"".join(response.streaming_content)
    return data


def text(response: Any) -> str:
    return " ".join(" ".join(read(response).texts).split())


# -- The project --


def test_checks_report_nothing() -> None:
    """Settings, models and URLs of the example are valid."""
    call_command("check", databases=["default"], fail_level="WARNING")


# -- Permissions --


def test_start_page_links_to_login_for_anonymous_users(client: Client) -> None:
    """It describes the site and contains no names of groups."""
    response = client.get("/")
    assert response.status_code == 200
    assert "/login/" in read(response).links
    assert not AssignmentGroup.objects.filter(name__in=text(response)).exists()


@pytest.mark.parametrize("name", people.LOGINS)
def test_users_can_log_in_and_out(who: people.People, name: str) -> None:
    """With the forms of the pages and their tokens."""
    client = Client(enforce_csrf_checks=True)
    fields = {"username": name, "csrfmiddlewaretoken": token_of(client.get("/login/"))}
    refused = client.post("/login/", {**fields, "password": "wrong"})
    assert "correct username and password" in text(refused)
    response = client.post("/login/", {**fields, "password": who.password}, follow=True)
    assert response.redirect_chain == [("/", 302)]
    assert name in text(response)
    token = token_of(response)
    response = client.post("/logout/", {"csrfmiddlewaretoken": token}, follow=True)
    assert "Log in" in text(response)


ANONYMOUS, UNRELATED, CANDIDATE, EXAMINER, STAFF, VIEWER = (
    "",
    "chandra",
    "anna",
    "eva",
    "staff",
    "viewer",
)
#: Status of the pages of a group and a delivery, and of a new delivery, by user.
STATUSES = {
    ANONYMOUS: (302, 302, 302),
    UNRELATED: (404, 404, 404),
    CANDIDATE: (200, 200, 302),
    EXAMINER: (200, 200, 404),
    STAFF: (404, 404, 404),
    VIEWER: (200, 200, 404),
}


@pytest.mark.parametrize(("name", "expected"), STATUSES.items())
def test_only_members_of_the_group_see_its_pages(
    group: AssignmentGroup, name: str, expected: tuple[int, int, int]
) -> None:
    """Other users get the same response as for a missing row."""
    delivery = delivered(group)
    User.objects.create(username="staff", is_staff=True)
    viewer = User.objects.create(username="viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename="view_delivery"))
    client = browser(name) if name else Client()
    group_page = client.get(f"/groups/{group.pk}/")
    delivery_page = client.get(f"/deliveries/{delivery.pk}/")
    sent = send(client, group, FILES)
    assert (group_page.status_code, delivery_page.status_code, sent.status_code) == expected
    assert (sent.status_code == 302 and bool(name)) is (Delivery.objects.count() == 2)
    for page, absent in (
        (group_page, "/groups/4711/"),
        (delivery_page, "/deliveries/99999999999999999999999/"),
    ):
        if page.status_code == 404:
            other = client.get(absent)
            assert other.status_code == 404
            assert _TOKEN.sub("", html(other)) == _TOKEN.sub("", html(page))
            assert other.headers == page.headers
            assert "Page not found" in text(page)


def test_unfinished_delivery_is_hidden(group: AssignmentGroup) -> None:
    """The upload is still running, or was interrupted."""
    unfinished = Delivery.begin(group)
    unfinished.add_file("half.txt", b"half")
    for name in ("anna", "eva", "admin"):
        client = browser(name)
        assert client.get(f"/deliveries/{unfinished.pk}/").status_code == 404
        assert "No deliveries yet." in text(client.get(f"/groups/{group.pk}/"))
        assert "No deliveries yet" in text(client.get("/"))


def test_delivery_page_shows_only_visible_files(group: AssignmentGroup) -> None:
    """Users who may only view deliveries see no files, and deleted files are hidden."""
    delivery = delivered(group)
    user = User.objects.create_user("clerk")
    user.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    clerk = Client()
    clerk.force_login(user)
    page = text(clerk.get(f"/deliveries/{delivery.pk}/"))
    assert "SHA-256" not in page
    row = delivery.files.earliest("pk")
    row.content.delete()
    page = text(browser("anna").get(f"/deliveries/{delivery.pk}/"))
    assert row.filename not in page


def test_start_page_lists_the_groups_of_the_user(group: AssignmentGroup) -> None:
    """Students and examiners see their groups. Only staff see the link to the admin."""
    delivered(group)
    delivered(group)
    anna, eva, admin = (client.get("/") for client in map(browser, ("anna", "eva", "admin")))
    assert "Your groups Anna and Bjarne 2 deliveries, the latest on" in text(anna)
    assert "Chandra" not in text(anna)
    assert re.search("Groups you examine .* Anna and Bjarne 2 deliveries", text(eva))
    assert "Chandra No deliveries yet" in text(eva)
    assert ["/admin/" in read(page).links for page in (anna, eva, admin)] == [False, False, True]


def test_only_candidates_see_the_upload_form(group: AssignmentGroup) -> None:
    """Examiners see only the list of deliveries."""
    url = f"/groups/{group.pk}/"
    assert 'type="file"' in html(browser("anna").get(url))
    assert 'type="file"' not in html(browser("eva").get(url))


def test_limits_for_the_script_have_no_separators(group: AssignmentGroup, settings: Any) -> None:
    """JavaScript cannot parse "20,971,520"."""
    settings.USE_THOUSAND_SEPARATOR = True
    settings.DELIVERY_STORE_UPLOAD_MAX_FILES = 1000
    page = html(browser(CANDIDATE).get(f"/groups/{group.pk}/"))
    limits = dict(re.findall(r'data-max-([\w-]+)="([^"]*)"', page))
    assert limits == {
        "files": "1000",
        "bytes": str(settings.DELIVERY_STORE_UPLOAD_MAX_BYTES),
        "total-bytes": str(settings.DELIVERY_STORE_UPLOAD_MAX_TOTAL_BYTES),
    }


# -- Delivering --


def test_delivery_without_script_shows_the_stored_files(group: AssignmentGroup) -> None:
    """Name, size, checksum and link of every file, and a success message."""
    client = browser("anna")
    response = client.get(send(client, group, FILES).url)
    delivery = Delivery.objects.get()
    assert (delivery.successful, delivery.delivered_by.username) == (True, "anna")
    assert "Delivery 1 was received in full: 3 files, 16 bytes." in text(response)
    for file in delivery.files:
        digest = hashlib.sha256(FILES[file.filename]).hexdigest()
        assert f"{file.filename} {file.size} bytes SHA-256 {digest}" in text(response)
        download = client.get(file.content.url)
        assert data_of(download) == FILES[file.filename]
        assert file.content.url in read(response).links
    assert "<b>&.txt" not in html(response)


def test_script_gets_the_url_of_the_delivery(group: AssignmentGroup) -> None:
    """The page there has the success message."""
    client = browser("anna")
    response = scripted(client, group, FILES)
    assert response.status_code == 201
    page = client.get(response.json()["url"])
    assert "Delivery 1 was received in full" in text(page)
    assert "was received in full" not in text(client.get(response.json()["url"]))


@pytest.mark.parametrize("by_script", [True, False])
def test_errors_name_the_files(group: AssignmentGroup, by_script: bool) -> None:
    """Nothing is delivered, and the page says so."""
    client = browser("anna")
    files = {"fine.txt": b"x", "large.bin": bytes(20 * MiB + 1)}
    response = (scripted if by_script else send)(client, group, files)
    error = (
        "“large.bin”: the file is too large: it is 20971521 bytes, the maximum is 20971520 bytes."
    )
    if by_script:
        assert (response.status_code, response.json()) == (
            422,
            {"errors": [error], "perhaps_delivered": False},
        )
    else:
        assert f"Nothing was delivered. {error}" in text(response)
        assert 'role="alert"' in html(response)
    assert not Delivery.objects.exists()
    data = scripted(client, group, {str(n): b"" for n in range(51)}).json()
    assert data["errors"] == ["You chose 51 files. At most 50 files are allowed."]


@pytest.mark.parametrize("by_script", [True, False])
def test_full_disk_is_reported(
    group: AssignmentGroup, monkeypatch: pytest.MonkeyPatch, by_script: bool
) -> None:
    """The error names the file, and there is no delivery."""
    monkeypatch.setattr(FileMeta, "deliverystore", FullStore())
    client = browser("anna")
    response = (scripted if by_script else send)(client, group, {"a.txt": b"a"})
    message = response.json()["errors"][0] if by_script else text(response)
    assert "“a.txt” was not stored, because the server has no space left" in message
    assert "No deliveries yet." in text(client.get(f"/groups/{group.pk}/"))
    assert not Delivery.objects.exists()


def test_incomplete_request_is_rejected(group: AssignmentGroup) -> None:
    """An interrupted upload is not delivered in part."""
    client = browser("anna")
    response = client.post(f"/groups/{group.pk}/", {"uploads": [SimpleUploadedFile("a", b"a")]})
    assert "The upload was interrupted" in text(response)
    assert not Delivery.objects.exists()


def test_delivery_requires_a_csrf_token(group: AssignmentGroup) -> None:
    """The error page explains what to do."""
    response = send(browser("anna", enforce_csrf_checks=True), group, FILES)
    assert response.status_code == 403
    assert "This page has expired" in text(response)
    assert not Delivery.objects.exists()


def test_too_many_files_for_django_have_an_error_page(group: AssignmentGroup) -> None:
    """Django rejects them before the form does. The page says that nothing was delivered."""
    response = send(browser("anna"), group, {str(n): b"" for n in range(201)})
    assert response.status_code == 400
    assert "Nothing was delivered." in text(response)


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_other_methods_are_not_allowed(group: AssignmentGroup, method: str) -> None:
    """Pages accept only GET and HEAD, and POST for deliveries."""
    client = browser("anna")
    urls = ["/", f"/groups/{group.pk}/", f"/deliveries/{delivered(group).pk}/"]
    assert [getattr(client, method)(url).status_code for url in urls] == [405, 405, 405]
    assert [client.head(url).status_code for url in urls] == [200, 200, 200]


# -- All pages --


def urls(group: AssignmentGroup) -> list[str]:
    delivery = delivered(group)
    return ["/", f"/groups/{group.pk}/", f"/deliveries/{delivery.pk}/", "/login/", "/nothing/"]


class _Inline(HTMLParser):
    """Find scripts and styles that a strict content security policy blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.found.append(tag)
        self.found += [name for name in given if name == "style" or name.startswith("on")]


@pytest.mark.parametrize("name", ["", "anna", "eva", "admin"])
def test_pages_comply_with_a_strict_policy(group: AssignmentGroup, name: str) -> None:
    """They contain no inline scripts and styles."""
    client = browser(name) if name else Client()
    for url in urls(group):
        response = client.get(url)
        assert response.headers["Content-Security-Policy"] == POLICY
        parser = _Inline()
        parser.feed(html(response))
        assert parser.found == []


def test_downloads_have_their_own_policy(group: AssignmentGroup) -> None:
    """Files of students are sandboxed."""
    file = delivered(group).files.first()
    response = browser("eva").get(file.content.url)
    assert data_of(response) == FILES[file.filename]
    assert "sandbox" in response.headers["Content-Security-Policy"]


def test_number_of_queries_is_constant(group: AssignmentGroup) -> None:
    """For any number of deliveries and groups."""
    client, numbers = browser("eva"), []
    for _ in range(2):
        pages = urls(group)
        with CaptureQueriesContext(connection) as queries:
            for url in pages:
                client.get(url)
        numbers.append(len(queries))
        for _more in range(5):
            delivered(group, {str(n): b"" for n in range(10)})
            more = AssignmentGroup.objects.create(name="more")
            more.examiners.set(group.examiners.all())
    assert numbers[0] == numbers[1] <= 30


# -- Archives --


def zipped(response: Any) -> dict[str, bytes]:
    """Return the members of a zip file by their names without folders."""
    with zipfile.ZipFile(io.BytesIO(data_of(response))) as archive:
        return {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist()}


def download(client: Client, page: str, text: str) -> dict[str, bytes]:
    """Follow the link with this text on a page, and return the members of the archive."""
    (url,) = re.findall(rf'href="([^"]+)">{text}</a>', html(client.get(page)))
    return zipped(client.get(url.replace("&amp;", "&")))


def test_examiner_downloads_archives(who: people.People) -> None:
    """Of a delivery, of a group, and of tonight's deliveries."""
    one = delivered(who.groups[0], {"old.txt": b"old"})
    delivered(who.groups[0], {"new.txt": b"new"})
    delivered(who.groups[1], {"other.txt": b"other"})
    eva = browser("eva")
    assert (
        download(eva, f"/deliveries/{one.pk}/", r"Download all files \(zip\)")["old.txt"] == b"old"
    )
    of_group = download(eva, f"/groups/{who.groups[0].pk}/", r"Download all deliveries \(zip\)")
    assert {"old.txt", "new.txt"} <= of_group.keys()
    tonight = download(eva, "/", r"Download the latest deliveries \(zip\)")
    assert (tonight["new.txt"], tonight["other.txt"]) == (b"new", b"other")
    assert "old.txt" not in tonight


def test_tonights_link_requires_a_recent_delivery(who: people.People) -> None:
    """Without a delivery in the past 24 hours the link would lead nowhere."""
    delivery = delivered(who.groups[0])
    link = "Download the latest deliveries (zip)"
    assert link in text(browser("eva").get("/"))
    assert link not in text(browser("anna").get("/"))
    Delivery.objects.filter(pk=delivery.pk).update(
        time_of_delivery=timezone.now() - timedelta(hours=25)
    )
    assert link not in text(browser("eva").get("/"))


def test_form_limit_is_below_djangos_limit(settings: Any) -> None:
    """So that users see an error of the form instead of a status of 400."""
    assert settings.DATA_UPLOAD_MAX_NUMBER_FILES > settings.DELIVERY_STORE_UPLOAD_MAX_FILES
