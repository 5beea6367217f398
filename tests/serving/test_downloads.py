"""The download view, by Django's client."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from itertools import product
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Permission
from django.core.files.base import ContentFile
from django.db.models import QuerySet
from django.http import Http404
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils.http import http_date

from devilry_storage.deliveries.models import Delivery
from devilry_storage.resolving import store_for
from devilry_storage.serving import record_access
from devilry_storage.signals import file_served
from devilry_storage.views import DownloadView

from ..harness.users import make_user
from ..testapp.models import Course, MarkedFile, Note, Paper, ProxyFile

pytestmark = pytest.mark.django_db

DATA = b"0123456789"


@pytest.fixture
def row(group: Any) -> Any:
    delivery = Delivery.begin(group)
    filemeta = delivery.add_file("answer.txt", DATA)
    delivery.finish()
    return filemeta


@pytest.fixture
def candidate(group: Any) -> Client:
    user = make_user("anna")
    group.candidates.add(user)
    client = Client()
    client.force_login(user)
    return client


def _url(row: Any) -> str:
    return reverse("devilry_storage:download", args=["devilry_deliveries.filemeta", row.pk])


def test_a_candidate_gets_the_whole_file(candidate: Client, row: Any) -> None:
    """With the headers of the design, and the bytes that were delivered."""
    answer = candidate.get(_url(row))
    assert answer.status_code == 200
    assert b"".join(answer) == DATA
    assert answer["Content-Length"] == "10"
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="answer.txt"'
    assert answer["ETag"] == f'"{hashlib.sha256(DATA).hexdigest()}"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]
    assert answer["Cache-Control"] == "private, no-cache"
    assert "Cookie" in answer["Vary"]
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer["Referrer-Policy"] == "no-referrer"


def test_a_range_is_a_part_of_it(candidate: Client, row: Any) -> None:
    """Status 206, and where it lies."""
    answer = candidate.get(_url(row), headers={"range": "bytes=2-4"})
    assert answer.status_code == 206
    assert b"".join(answer) == b"234"
    assert answer["Content-Range"] == "bytes 2-4/10"
    answer = candidate.get(_url(row), headers={"range": "bytes=10-"})
    assert answer.status_code == 416
    assert answer["Content-Range"] == "bytes */10"


# -- Who --

FILEMETA = "devilry_deliveries.filemeta"
METHODS = ("get", "head", "options", "post", "put", "patch", "delete", "trace")

#: What is no id of any row, and a label of no model of files.
NOBODYS = [
    *((FILEMETA, pk) for pk in ("0", "999999", "9" * 19, "9" * 30, "9" * 5000)),
    *((FILEMETA, pk) for pk in ("-1", "+1", "007", "1.0", "1e3", "1_0", "x", "٣", " 1", "None")),
    *((label, "1") for label in ("auth.user", "devilry_deliveries.delivery", "nothing", "a.b.c")),
    *((label, "1") for label in ("Devilry_Deliveries.FileMeta", "devilry_storage.tombstone")),
]


def _nobodys() -> list[str]:
    return [reverse("devilry_storage:download", args=names) for names in NOBODYS]


def logged_in(user: Any) -> Client:
    client = Client(raise_request_exception=True)
    client.force_login(user)
    return client


@pytest.mark.parametrize("is_known", [False, True], ids=["anonymous", "inactive"])
def test_whoever_is_nobody_is_led_to_the_login(
    row: Any, group: Any, settings: Any, is_known: bool, subtests: pytest.Subtests
) -> None:
    """Whether there is such a file or not, and though an inactive candidate had been one."""
    # A backend that lets inactive users in to see that they are.
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.AllowAllUsersModelBackend"]
    client = Client()
    if is_known:
        user = make_user("gone", is_active=False)
        group.candidates.add(user)
        client.force_login(user)
    for method, url in product(METHODS, (_url(row), *_nobodys())):
        with subtests.test(method, url=url):
            answer = getattr(client, method)(url)
            assert answer.status_code == 302
            assert answer["Location"] == f"/accounts/login/?{urlencode({'next': url}, safe='/')}"


@pytest.mark.parametrize("debug", [False, True])
def test_whoever_may_not_see_a_row_learns_nothing(row: Any, settings: Any, debug: bool) -> None:
    """By no method, range or condition: all is as for an id that there is not."""
    settings.DEBUG = debug
    client = logged_in(make_user("stranger"))
    # As long an id, which makes as long a page.
    nobodys = next(pk for pk in (row.pk + 1, row.pk - 1) if len(str(pk)) == len(str(row.pk)))
    absent = reverse("devilry_storage:download", args=[FILEMETA, nobodys])
    headers: list[dict[str, str]] = [
        {},
        {"range": "bytes=0-0"},
        {"range": "bytes=99-"},
        {"if-none-match": f'"{row.sha256}"'},
        {"if-none-match": "*"},
        {"if-match": "*"},
        {"if-match": '"x"'},
        {"if-modified-since": "Sun, 06 Nov 2094 08:49:37 GMT"},
        {"if-unmodified-since": "Sun, 06 Nov 1994 08:49:37 GMT"},
    ]
    for method, each in product(METHODS, headers):
        one = getattr(client, method)(_url(row), headers=each)
        other = getattr(client, method)(absent, headers=each)
        assert one.status_code == other.status_code == 404
        assert _plain(one) == _plain(other)


def _plain(answer: Any) -> tuple[bytes, dict[str, str]]:
    """Return body and headers without what was asked for; a page for debugging shows that."""
    return re.sub(rb"filemeta/\d+/", b"", answer.content), dict(answer.headers)


def test_what_is_nobodys_is_not_found(candidate: Client) -> None:
    """Whatever stands for the id, and for the model."""
    assert {candidate.get(url).status_code for url in _nobodys()} == {404}


def test_id_has_one_spelling_in_a_url(candidate: Client, row: Any) -> None:
    """No zeros, signs or spaces before it, and no digits of another script."""
    arabic = "".join(chr(0x660 + int(digit)) for digit in str(row.pk))
    for spelling in (
        f"0{row.pk}",
        f"+{row.pk}",
        f" {row.pk}",
        f"{row.pk}.0",
        f"{row.pk} ",
        arabic,
    ):
        url = reverse("devilry_storage:download", args=[FILEMETA, spelling])
        assert candidate.get(url).status_code == 404, spelling
    assert candidate.get(_url(row)).status_code == 200


def test_a_file_is_for_whom_visible_to_says(group: Any, row: Any) -> None:
    """Candidates of the group; its examiners once it is finished; holders of the permission."""
    unfinished = Delivery.begin(group).add_file("draft.txt", DATA)
    candidate, examiner, staff = (make_user(name) for name in ("anna", "erik", "stine"))
    group.candidates.add(candidate)
    group.examiners.add(examiner)
    staff.user_permissions.add(Permission.objects.get(codename="view_filemeta"))
    found = {
        user.get_username().split("@")[0]: [
            logged_in(user).get(_url(each)).status_code for each in (row, unfinished)
        ]
        for user in (candidate, examiner, staff)
    }
    assert found == {"anna": [200, 200], "erik": [200, 404], "stine": [200, 200]}


def test_whoever_may_see_it_may_only_read_it(candidate: Client, row: Any) -> None:
    """The methods are told, to whom the file is told."""
    for method in ("post", "put", "patch", "delete"):
        answer = getattr(candidate, method)(_url(row))
        assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert candidate.options(_url(row)).status_code == 200
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = candidate.cookies
    assert strict.post(_url(row)).status_code == 403
    assert strict.post(f"{_url(row)[:-1]}9/").status_code == 403


def test_a_view_of_ones_own_may_have_other_rules(row: Any, rf: RequestFactory) -> None:
    """By its queryset; its model needs no place in the URL then."""

    class OpenView(DownloadView):
        model = type(row)

        def get_queryset(self) -> QuerySet[Any]:
            rows: QuerySet[Any] = type(row).objects.filter(filename=self.kwargs["filename"])
            return rows

    request = rf.get("/")
    request.user = make_user("stranger")
    answer = OpenView.as_view()(request, pk=row.pk, filename="answer.txt")
    assert b"".join(answer.streaming_content) == DATA  # type: ignore[attr-defined]
    with pytest.raises(Http404):
        OpenView.as_view()(request, pk=row.pk, filename="other.txt")


def test_no_transaction_is_open_while_a_store_is_asked(settings: Any) -> None:
    """Not even where every other view has one."""
    marked = DownloadView.as_view()._non_atomic_requests  # type: ignore[attr-defined]
    assert marked == set(settings.DATABASES)


# -- What --


def test_bytes_that_are_gone_are_not_found(candidate: Client, row: Any, caplog: Any) -> None:
    """And the log has the key."""
    store_for(row).delete(row.content.name)
    assert candidate.get(_url(row)).status_code == 404
    assert row.content.name in caplog.text


def test_a_row_without_content_is_not_found(group: Any, candidate: Client) -> None:
    """There is nothing to be had of it, yet or any more."""
    row = Delivery.begin(group).add_file("draft.txt", DATA)
    row.content.delete()
    assert candidate.get(_url(row)).status_code == 404


def test_only_what_cannot_change_has_a_date(group: Any, candidate: Client) -> None:
    """A tag tells contents apart; a date does where there can be no other content any more."""
    delivery = Delivery.begin(group)
    row = delivery.add_file("draft.txt", DATA)
    first = candidate.get(_url(row))
    row.content = ContentFile(b"other")
    row.save()
    second = candidate.get(_url(row))
    assert "Last-Modified" not in first
    assert "Last-Modified" not in second
    assert first["ETag"] != second["ETag"]
    delivery.finish()
    finished = candidate.get(_url(row))
    assert finished["Last-Modified"] == http_date(delivery.time_of_delivery.timestamp())
    assert finished["ETag"] == second["ETag"]


@pytest.mark.parametrize("sha256", ["", "x", '"\r\nX-Evil: 1', "0" * 63, "g" * 64, "\u0660" * 64])
def test_malformed_checksum_is_in_no_header(candidate: Client, row: Any, sha256: str) -> None:
    """A row that was loaded raw may have any text there; its tag is made of name and size."""
    type(row).objects.filter(pk=row.pk).update(sha256=sha256)
    tag = candidate.head(_url(row))["ETag"]
    assert re.fullmatch('"[0-9a-f]{64}"', tag)
    assert tag != f'"{row.sha256}"'
    assert candidate.get(_url(row), headers={"if-none-match": tag}).status_code == 304


def test_every_model_of_files_is_served(admin_client: Client, group: Any) -> None:
    """One without deliveries, a multi-table child, one with a plain parent: at one include."""
    note = Note.objects.create(filename="note.txt", content=ContentFile(DATA))
    course = Course.objects.create(title="course")
    paper = Paper.objects.create(delivery=course, content=ContentFile(DATA, "a.txt"), title="page")
    delivery = Delivery.begin(group)
    marked = MarkedFile.objects.create(delivery=delivery, content=ContentFile(DATA, "m.txt"))
    proxy = ProxyFile.objects.get(pk=marked.pk)
    for row in (note, paper, marked, proxy):
        assert b"".join(admin_client.get(row.content.url)) == DATA
    # Of a child and a proxy it is that of the model with the file, whose permission counts.
    for label in ("testapp.markedfile", "testapp.proxyfile"):
        url = reverse("devilry_storage:download", args=[label, marked.pk])
        assert admin_client.get(url).status_code == 404


# -- URLs --


def test_a_row_has_the_url_of_its_download(row: Any) -> None:
    """Not that of the store, which knows nobody."""
    assert row.content.url == _url(row)


@pytest.mark.urls("tests.urls_admin")
def test_without_the_views_a_file_has_no_url(row: Any) -> None:
    """Nor an exception, which would break the admin's pages."""
    assert row.content.url == ""


def test_what_has_no_id_has_no_url(row: Any) -> None:
    """A row that is about to be saved as another one."""
    row.pk = None
    assert row.content.url == ""


# -- Who was served what --


@pytest.fixture
def served() -> Iterator[list[dict[str, Any]]]:
    """What the signal was sent with."""
    received: list[dict[str, Any]] = []

    def receive(sender: Any, signal: Any, **kwargs: Any) -> None:
        received.append({"sender": sender, **kwargs})

    file_served.connect(receive)
    yield received
    file_served.disconnect(receive)


def test_an_access_is_logged_and_signalled_when_it_has_ended(
    candidate: Client, row: Any, served: list[dict[str, Any]], caplog: Any
) -> None:
    """Who, what, the way, the bytes and the outcome; no name that a user has chosen."""
    caplog.set_level(logging.INFO, "devilry_storage.access")
    answer = candidate.get(_url(row))
    assert served == []
    assert b"".join(answer) == DATA
    answer.close()
    (found,) = served
    user = found.pop("user")
    assert found == {
        "sender": type(row),
        "instance": row,
        "way": "stream",
        "size": 10,
        "outcome": "complete",
    }
    (record,) = [each for each in caplog.records if each.name == "devilry_storage.access"]
    assert record.levelno == logging.INFO
    assert record.getMessage() == (
        f"user={user.pk} file=devilry_deliveries.filemeta:{row.pk} method=GET way=stream bytes=10 "
        "outcome=complete"
    )


@pytest.mark.parametrize(
    ("method", "headers", "size", "outcome", "signals"),
    [
        ("get", {"range": "bytes=2-4"}, 3, "complete", 1),
        ("get", {"range": "bytes=99-"}, 0, "refused", 1),
        ("get", {"if-none-match": "*"}, 0, "unmodified", 1),
        ("get", {"if-match": '"x"'}, 0, "refused", 1),
        ("head", {}, 0, "complete", 0),
    ],
)
def test_every_request_has_one_line(
    candidate: Client,
    row: Any,
    served: list[dict[str, Any]],
    caplog: Any,
    method: str,
    headers: dict[str, str],
    size: int,
    outcome: str,
    signals: int,
) -> None:
    """Whatever was answered; receivers hear of a GET alone."""
    caplog.set_level(logging.INFO, "devilry_storage.access")
    answer = getattr(candidate, method)(_url(row), headers=headers)
    b"".join(answer)
    answer.close()
    (line,) = [each.getMessage() for each in caplog.records if each.name.endswith(".access")]
    assert line.endswith(f"bytes={size} outcome={outcome}")
    assert [(each["size"], each["outcome"]) for each in served] == [(size, outcome)] * signals


def test_what_stands_in_an_access_cannot_look_like_another(
    rf: RequestFactory, caplog: Any
) -> None:
    """A site's users may have keys of text."""
    caplog.set_level(logging.INFO, "devilry_storage.access")
    request: Any = rf.get("/")
    request.user = SimpleNamespace(pk="x outcome=complete\nuser=root")
    record_access(request, "name:a b\r\n", "stream", 1, "complete")
    (line,) = [each.getMessage() for each in caplog.records]
    assert line == (
        "user=x%20outcome%3Dcomplete%0Auser%3Droot file=name:a%20b%0D%0A method=GET way=stream "
        "bytes=1 outcome=complete"
    )


def test_a_receiver_that_fails_hurts_nobody(candidate: Client, row: Any, caplog: Any) -> None:
    """It is logged, and the file is served."""

    def fail(**kwargs: Any) -> None:
        raise RuntimeError("planned")

    file_served.connect(fail)
    try:
        answer = candidate.get(_url(row))
        assert b"".join(answer) == DATA
        answer.close()
    finally:
        file_served.disconnect(fail)
    assert "planned" in caplog.text
