"""What the pages of the example site do; run by ``test_campus.py`` under its settings."""

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
from devilry_storage.storages import MemoryDeliveryStore
from tests.harness.flushing import keep_permissions

pytestmark = pytest.mark.django_db(transaction=True)

FILES = {"essay.txt": b"An essay.", "<b>&.txt": b"hostile", "empty": b""}
MiB = 1024**2


class FullStore(MemoryDeliveryStore):
    """A store on a disk without room."""

    def _create(self, name: str, content: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """A quick flush after each test."""
    with django_db_blocker.unblock():
        keep_permissions()


@pytest.fixture(autouse=True)
def quick_hasher(settings: Any) -> None:
    """Logging in is not what this is about."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryDeliveryStore:
    """An empty store: SQLite hands out ids again."""
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
    """Send as the page's script does."""
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
    """Return the token of a page, which is another one each time."""
    found = _TOKEN.search(html(response))
    assert found
    return found[1]


def data_of(response: Any) -> bytes:
    data: bytes = b"".join(response.streaming_content)
    return data


def text(response: Any) -> str:
    return " ".join(" ".join(read(response).texts).split())


# -- The project --


def test_check_finds_nothing() -> None:
    """Settings, models and URLs of the example are sound."""
    call_command("check", databases=["default"], fail_level="WARNING")


# -- Who sees what --


def test_front_page_leads_a_stranger_to_the_login(client: Client) -> None:
    """It says what this is; it names no group."""
    response = client.get("/")
    assert response.status_code == 200
    assert "/login/" in read(response).links
    assert not AssignmentGroup.objects.filter(name__in=text(response)).exists()


@pytest.mark.parametrize("name", people.LOGINS)
def test_people_log_in_with_the_password_and_out_again(who: people.People, name: str) -> None:
    """By the page's own form, with its token."""
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


STRANGER, UNRELATED, CANDIDATE, EXAMINER, STAFF, VIEWER = (
    "",
    "chandra",
    "anna",
    "eva",
    "staff",
    "viewer",
)
#: Who gets which status for: the group, a delivery, a new delivery.
WHO_GETS = {
    STRANGER: (302, 302, 302),
    UNRELATED: (404, 404, 404),
    CANDIDATE: (200, 200, 302),
    EXAMINER: (200, 200, 404),
    STAFF: (404, 404, 404),
    VIEWER: (200, 200, 404),
}


@pytest.mark.parametrize(("name", "expected"), WHO_GETS.items())
def test_pages_are_for_those_of_the_group(
    group: AssignmentGroup, name: str, expected: tuple[int, int, int]
) -> None:
    """Whoever has nothing to do with it is told that there is none, as for an id that is none."""
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
            assert "There is no such page" in text(page)


def test_unfinished_delivery_is_shown_to_nobody(group: AssignmentGroup) -> None:
    """Somebody is delivering, or was killed while they did: none of it has arrived."""
    unfinished = Delivery.begin(group)
    unfinished.add_file("half.txt", b"half")
    for name in ("anna", "eva", "admin"):
        client = browser(name)
        assert client.get(f"/deliveries/{unfinished.pk}/").status_code == 404
        assert "None yet." in text(client.get(f"/groups/{group.pk}/"))
        assert "No deliveries yet" in text(client.get("/"))


def test_page_of_a_delivery_shows_the_files_that_the_user_may_see(group: AssignmentGroup) -> None:
    """None to whoever may view deliveries alone, and to nobody one that was deleted since."""
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


def test_front_page_names_the_groups_of_each(group: AssignmentGroup) -> None:
    """Students see theirs, examiners those that they examine, and only staff the admin."""
    delivered(group)
    delivered(group)
    anna, eva, admin = (client.get("/") for client in map(browser, ("anna", "eva", "admin")))
    assert "Where you deliver Anna and Bjarne 2 deliveries, the last one" in text(anna)
    assert "Chandra" not in text(anna)
    assert re.search("What you examine .* Anna and Bjarne 2 deliveries", text(eva))
    assert "Chandra No deliveries yet" in text(eva)
    assert ["/admin/" in read(page).links for page in (anna, eva, admin)] == [False, False, True]


def test_only_candidates_are_shown_the_form(group: AssignmentGroup) -> None:
    """Examiners get the list alone."""
    url = f"/groups/{group.pk}/"
    assert 'type="file"' in html(browser("anna").get(url))
    assert 'type="file"' not in html(browser("eva").get(url))


def test_script_is_told_plain_limits_where_numbers_are_grouped(
    group: AssignmentGroup, settings: Any
) -> None:
    """It compares sizes with them; "20,971,520" is no number to it."""
    settings.USE_THOUSAND_SEPARATOR = True
    settings.DELIVERY_STORE_UPLOAD_MAX_FILES = 1000
    page = html(browser(CANDIDATE).get(f"/groups/{group.pk}/"))
    told = dict(re.findall(r'data-max-([\w-]+)="([^"]*)"', page))
    assert told == {
        "files": "1000",
        "bytes": str(settings.DELIVERY_STORE_UPLOAD_MAX_BYTES),
        "total-bytes": str(settings.DELIVERY_STORE_UPLOAD_MAX_TOTAL_BYTES),
    }


# -- Delivering --


def test_delivery_without_a_script_shows_what_arrived(group: AssignmentGroup) -> None:
    """Name, size and checksum of every file, a link to each, and that it is whole."""
    client = browser("anna")
    response = client.get(send(client, group, FILES).url)
    delivery = Delivery.objects.get()
    assert (delivery.successful, delivery.delivered_by.username) == (True, "anna")
    assert "Delivery 1 has arrived whole: 3 files, 16 bytes." in text(response)
    for file in delivery.files:
        digest = hashlib.sha256(FILES[file.filename]).hexdigest()
        assert f"{file.filename} {file.size} bytes SHA-256 {digest}" in text(response)
        download = client.get(file.content.url)
        assert data_of(download) == FILES[file.filename]
        assert file.content.url in read(response).links
    assert "<b>&.txt" not in html(response)


def test_script_is_told_where_the_delivery_is(group: AssignmentGroup) -> None:
    """The page there says that it has arrived."""
    client = browser("anna")
    response = scripted(client, group, FILES)
    assert response.status_code == 201
    page = client.get(response.json()["url"])
    assert "Delivery 1 has arrived whole" in text(page)
    assert "has arrived whole" not in text(client.get(response.json()["url"]))


@pytest.mark.parametrize("by_script", [True, False])
def test_faults_are_told_by_the_names_of_the_files(
    group: AssignmentGroup, by_script: bool
) -> None:
    """Too large, too many, of one name: nothing is delivered, and the page says so."""
    client = browser("anna")
    files = {"fine.txt": b"x", "large.bin": bytes(20 * MiB + 1)}
    response = (scripted if by_script else send)(client, group, files)
    fault = "“large.bin”: it has 20971521 bytes, at most 20971520 bytes are allowed."
    if by_script:
        assert (response.status_code, response.json()) == (
            422,
            {"errors": [fault], "perhaps_delivered": False},
        )
    else:
        assert f"Nothing was delivered. {fault}" in text(response)
        assert 'role="alert"' in html(response)
    assert not Delivery.objects.exists()
    told = scripted(client, group, {str(n): b"" for n in range(51)}).json()
    assert told["errors"] == ["You chose 51 files, at most 50 are allowed."]


@pytest.mark.parametrize("by_script", [True, False])
def test_full_disk_is_told_and_nothing_is_shown(
    group: AssignmentGroup, monkeypatch: pytest.MonkeyPatch, by_script: bool
) -> None:
    """The words name the file; the group has no delivery afterwards."""
    monkeypatch.setattr(FileMeta, "deliverystore", FullStore())
    client = browser("anna")
    response = (scripted if by_script else send)(client, group, {"a.txt": b"a"})
    told = response.json()["errors"][0] if by_script else text(response)
    assert "“a.txt” was not stored, because the store of the deliveries is full" in told
    assert "None yet." in text(client.get(f"/groups/{group.pk}/"))
    assert not Delivery.objects.exists()


def test_request_without_its_end_is_refused(group: AssignmentGroup) -> None:
    """What broke off is not delivered as if it were all."""
    client = browser("anna")
    response = client.post(f"/groups/{group.pk}/", {"uploads": [SimpleUploadedFile("a", b"a")]})
    assert "The upload broke off before its end" in text(response)
    assert not Delivery.objects.exists()


def test_delivery_needs_the_token_of_the_page(group: AssignmentGroup) -> None:
    """Another site cannot deliver for a student; the page of the refusal says what to do."""
    response = send(browser("anna", enforce_csrf_checks=True), group, FILES)
    assert response.status_code == 403
    assert "This page was too old" in text(response)
    assert not Delivery.objects.exists()


def test_too_many_files_for_django_are_a_page_of_the_site(group: AssignmentGroup) -> None:
    """Its own refusal comes before the form's; the page says that nothing was delivered."""
    response = send(browser("anna"), group, {str(n): b"" for n in range(201)})
    assert response.status_code == 400
    assert "Nothing was delivered." in text(response)


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_other_methods_are_refused(group: AssignmentGroup, method: str) -> None:
    """A page is read or sent."""
    client = browser("anna")
    urls = ["/", f"/groups/{group.pk}/", f"/deliveries/{delivered(group).pk}/"]
    assert [getattr(client, method)(url).status_code for url in urls] == [405, 405, 405]
    assert [client.head(url).status_code for url in urls] == [200, 200, 200]


# -- The pages themselves --


def urls(group: AssignmentGroup) -> list[str]:
    delivery = delivered(group)
    return ["/", f"/groups/{group.pk}/", f"/deliveries/{delivery.pk}/", "/login/", "/nothing/"]


class _Inline(HTMLParser):
    """Finds what a strict content security policy blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.found.append(tag)
        self.found += [name for name in given if name == "style" or name.startswith("on")]


@pytest.mark.parametrize("name", ["", "anna", "eva", "admin"])
def test_pages_have_a_strict_policy_and_nothing_that_it_blocks(
    group: AssignmentGroup, name: str
) -> None:
    """No script and no style is written into a page."""
    client = browser(name) if name else Client()
    for url in urls(group):
        response = client.get(url)
        assert response.headers["Content-Security-Policy"] == POLICY
        parser = _Inline()
        parser.feed(html(response))
        assert parser.found == []


def test_downloads_keep_the_policy_of_their_own(group: AssignmentGroup) -> None:
    """What students made is sandboxed."""
    file = delivered(group).files.first()
    response = browser("eva").get(file.content.url)
    assert data_of(response) == FILES[file.filename]
    assert "sandbox" in response.headers["Content-Security-Policy"]


def test_pages_take_as_many_queries_for_many_deliveries_as_for_few(
    group: AssignmentGroup,
) -> None:
    """Whatever there is, nothing is asked a row."""
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


# -- Fetching --


def zipped(response: Any) -> dict[str, bytes]:
    """Return the members of a zip by their names without folders."""
    with zipfile.ZipFile(io.BytesIO(data_of(response))) as archive:
        return {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist()}


def fetched(client: Client, page: str, text: str) -> dict[str, bytes]:
    """Follow the link of that text on a page, and return what it gives."""
    (url,) = re.findall(rf'href="([^"]+)">{text}</a>', html(client.get(page)))
    return zipped(client.get(url.replace("&amp;", "&")))


def test_examiner_fetches_a_delivery_a_group_and_tonight(who: people.People) -> None:
    """One link each, on the page where it is looked for."""
    one = delivered(who.groups[0], {"old.txt": b"old"})
    delivered(who.groups[0], {"new.txt": b"new"})
    delivered(who.groups[1], {"other.txt": b"other"})
    eva = browser("eva")
    assert fetched(eva, f"/deliveries/{one.pk}/", "All files as zip")["old.txt"] == b"old"
    of_group = fetched(eva, f"/groups/{who.groups[0].pk}/", "All of this group as zip")
    assert {"old.txt", "new.txt"} <= of_group.keys()
    tonight = fetched(eva, "/", "Tonight's deliveries as one zip")
    assert (tonight["new.txt"], tonight["other.txt"]) == (b"new", b"other")
    assert "old.txt" not in tonight


def test_tonight_is_the_last_day_and_not_offered_if_nothing_was_delivered(
    who: people.People,
) -> None:
    """A link that leads nowhere helps nobody."""
    delivery = delivered(who.groups[0])
    link = "Tonight's deliveries as one zip"
    assert link in text(browser("eva").get("/"))
    assert link not in text(browser("anna").get("/"))
    Delivery.objects.filter(pk=delivery.pk).update(
        time_of_delivery=timezone.now() - timedelta(hours=25)
    )
    assert link not in text(browser("eva").get("/"))


def test_settings_let_the_form_refuse_before_django_does(settings: Any) -> None:
    """So that there are words instead of a bare 400."""
    assert settings.DATA_UPLOAD_MAX_NUMBER_FILES > settings.DELIVERY_STORE_UPLOAD_MAX_FILES
