"""The download view, with Django's test client."""

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
from devilry_storage.exceptions import NoURL
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


def test_candidate_downloads_the_whole_file(candidate: Client, row: Any) -> None:
    """With all documented headers."""
    response = candidate.get(_url(row))
    assert response.status_code == 200
    assert b"".join(response) == DATA
    assert response["Content-Length"] == "10"
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response["Content-Disposition"] == 'attachment; filename="answer.txt"'
    assert response["ETag"] == f'"{hashlib.sha256(DATA).hexdigest()}"'
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response["Content-Security-Policy"]
    assert response["Cache-Control"] == "private, no-cache"
    assert "Cookie" in response["Vary"]
    assert response["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response["Referrer-Policy"] == "no-referrer"


def test_range_request_returns_a_part(candidate: Client, row: Any) -> None:
    """Status 206 with Content-Range, or 416 for a range outside of the file."""
    response = candidate.get(_url(row), headers={"range": "bytes=2-4"})
    assert response.status_code == 206
    assert b"".join(response) == b"234"
    assert response["Content-Range"] == "bytes 2-4/10"
    response = candidate.get(_url(row), headers={"range": "bytes=10-"})
    assert response.status_code == 416
    assert response["Content-Range"] == "bytes */10"


# -- Permissions --

FILEMETA = "devilry_deliveries.filemeta"
METHODS = ("get", "head", "options", "post", "put", "patch", "delete", "trace")

#: Ids of no row, and labels of no model of files.
MISSING = [
    *((FILEMETA, pk) for pk in ("0", "999999", "9" * 19, "9" * 30, "9" * 5000)),
    *((FILEMETA, pk) for pk in ("-1", "+1", "007", "1.0", "1e3", "1_0", "x", "٣", " 1", "None")),
    *((label, "1") for label in ("auth.user", "devilry_deliveries.delivery", "nothing", "a.b.c")),
    *((label, "1") for label in ("Devilry_Deliveries.FileMeta", "devilry_storage.tombstone")),
]


def _missing_urls() -> list[str]:
    return [reverse("devilry_storage:download", args=names) for names in MISSING]


def logged_in(user: Any) -> Client:
    client = Client(raise_request_exception=True)
    client.force_login(user)
    return client


@pytest.mark.parametrize("is_known", [False, True], ids=["anonymous", "inactive"])
def test_anonymous_and_inactive_users_are_redirected_to_login(
    row: Any, group: Any, settings: Any, is_known: bool, subtests: pytest.Subtests
) -> None:
    """Whether the file exists or not, and even if the inactive user is a candidate."""
    # A backend that lets inactive users log in.
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.AllowAllUsersModelBackend"]
    client = Client()
    if is_known:
        user = make_user("gone", is_active=False)
        group.candidates.add(user)
        client.force_login(user)
    for method, url in product(METHODS, (_url(row), *_missing_urls())):
        with subtests.test(method, url=url):
            response = getattr(client, method)(url)
            assert response.status_code == 302
            assert response["Location"] == f"/accounts/login/?{urlencode({'next': url}, safe='/')}"


@pytest.mark.parametrize("debug", [False, True])
def test_hidden_rows_look_like_missing_rows(row: Any, settings: Any, debug: bool) -> None:
    """For every method, range and condition."""
    settings.DEBUG = debug
    client = logged_in(make_user("stranger"))
    # An id of the same length, so that the pages have the same length.
    unused = next(pk for pk in (row.pk + 1, row.pk - 1) if len(str(pk)) == len(str(row.pk)))
    absent = reverse("devilry_storage:download", args=[FILEMETA, unused])
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
    for method, conditions in product(METHODS, headers):
        one = getattr(client, method)(_url(row), headers=conditions)
        other = getattr(client, method)(absent, headers=conditions)
        assert one.status_code == other.status_code == 404
        assert _plain(one) == _plain(other)


def _plain(response: Any) -> tuple[bytes, dict[str, str]]:
    """Return body and headers without the requested path, which debug pages show."""
    return re.sub(rb"filemeta/\d+/", b"", response.content), dict(response.headers)


def test_invalid_ids_and_models_are_not_found(candidate: Client) -> None:
    """For any value of the id and of the model's label."""
    assert {candidate.get(url).status_code for url in _missing_urls()} == {404}


def test_id_has_one_spelling_in_a_url(candidate: Client, row: Any) -> None:
    """Leading zeros, signs, spaces and digits of other scripts are rejected."""
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


def test_visible_to_decides_who_may_download(group: Any, row: Any) -> None:
    """Candidates, examiners after the delivery is finished, and users with the permission."""
    unfinished = Delivery.begin(group).add_file("draft.txt", DATA)
    candidate, examiner, staff = (make_user(name) for name in ("anna", "erik", "stine"))
    group.candidates.add(candidate)
    group.examiners.add(examiner)
    staff.user_permissions.add(Permission.objects.get(codename="view_filemeta"))
    found = {
        user.get_username().split("@")[0]: [
            logged_in(user).get(_url(file)).status_code for file in (row, unfinished)
        ]
        for user in (candidate, examiner, staff)
    }
    assert found == {"anna": [200, 200], "erik": [200, 404], "stine": [200, 200]}


def test_other_methods_are_not_allowed(candidate: Client, row: Any) -> None:
    """Only users who may see the file get the allowed methods."""
    for method in ("post", "put", "patch", "delete"):
        response = getattr(candidate, method)(_url(row))
        assert (response.status_code, response["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert candidate.options(_url(row)).status_code == 200
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = candidate.cookies
    assert strict.post(_url(row)).status_code == 403
    assert strict.post(f"{_url(row)[:-1]}9/").status_code == 403


def test_subclass_may_use_its_own_rules(row: Any, rf: RequestFactory) -> None:
    """It overrides get_queryset(). With the attribute ``model``, the URL needs no label."""

    class OpenView(DownloadView):
        model = type(row)

        def get_queryset(self) -> QuerySet[Any]:
            rows: QuerySet[Any] = type(row).objects.filter(filename=self.kwargs["filename"])
            return rows

    request = rf.get("/")
    request.user = make_user("stranger")
    response = OpenView.as_view()(request, pk=row.pk, filename="answer.txt")
    assert b"".join(response.streaming_content) == DATA  # type: ignore[attr-defined]
    with pytest.raises(Http404):
        OpenView.as_view()(request, pk=row.pk, filename="other.txt")


def test_no_transaction_is_open_during_downloads(settings: Any) -> None:
    """Even with ATOMIC_REQUESTS."""
    marked = DownloadView.as_view()._non_atomic_requests  # type: ignore[attr-defined]
    assert marked == set(settings.DATABASES)


# -- Content --


def test_missing_files_are_not_found(candidate: Client, row: Any, caplog: Any) -> None:
    """The key is logged."""
    store_for(row).delete(row.content.name)
    assert candidate.get(_url(row)).status_code == 404
    assert row.content.name in caplog.text


def test_rows_without_content_are_not_found(group: Any, candidate: Client) -> None:
    """The file is not stored yet, or it was deleted."""
    row = Delivery.begin(group).add_file("draft.txt", DATA)
    row.content.delete()
    assert candidate.get(_url(row)).status_code == 404


def test_only_files_of_finished_deliveries_have_last_modified(
    group: Any, candidate: Client
) -> None:
    """The content of other files can still be replaced, which only the entity tag shows."""
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
def test_malformed_checksum_is_not_sent(candidate: Client, row: Any, sha256: str) -> None:
    """Imported rows may contain any text. Their entity tag is made of name and size."""
    type(row).objects.filter(pk=row.pk).update(sha256=sha256)
    tag = candidate.head(_url(row))["ETag"]
    assert re.fullmatch('"[0-9a-f]{64}"', tag)
    assert tag != f'"{row.sha256}"'
    assert candidate.get(_url(row), headers={"if-none-match": tag}).status_code == 304


def test_one_include_serves_every_model_of_files(admin_client: Client, group: Any) -> None:
    """A model without deliveries, a multi-table child, and a model with a plain parent."""
    note = Note.objects.create(filename="note.txt", content=ContentFile(DATA))
    course = Course.objects.create(title="course")
    paper = Paper.objects.create(delivery=course, content=ContentFile(DATA, "a.txt"), title="page")
    delivery = Delivery.begin(group)
    marked = MarkedFile.objects.create(delivery=delivery, content=ContentFile(DATA, "m.txt"))
    proxy = ProxyFile.objects.get(pk=marked.pk)
    for row in (note, paper, marked, proxy):
        assert b"".join(admin_client.get(row.content.url)) == DATA
    # For a child or proxy it is the URL of the model that declares the file field.
    for label in ("testapp.markedfile", "testapp.proxyfile"):
        url = reverse("devilry_storage:download", args=[label, marked.pk])
        assert admin_client.get(url).status_code == 404


# -- URLs --


def test_url_of_a_file_is_its_download_view(row: Any) -> None:
    """Not the URL of the store, which does not check permissions."""
    assert row.content.url == _url(row)


@pytest.mark.urls("tests.urls_admin")
def test_file_has_no_url_without_the_views(row: Any) -> None:
    with pytest.raises(NoURL, match=r"Include devilry_storage\.urls"):
        _ = row.content.url


def test_unsaved_row_has_no_url(row: Any) -> None:
    """For example a row that is about to be saved as a copy."""
    row.pk = None
    with pytest.raises(NoURL):
        _ = row.content.url


# -- Access log --


@pytest.fixture
def served() -> Iterator[list[dict[str, Any]]]:
    """The arguments of the signal, for every access."""
    received: list[dict[str, Any]] = []

    def receive(sender: Any, signal: Any, **kwargs: Any) -> None:
        received.append({"sender": sender, **kwargs})

    file_served.connect(receive)
    yield received
    file_served.disconnect(receive)


def test_access_is_logged_and_signalled_at_its_end(
    candidate: Client, row: Any, served: list[dict[str, Any]], caplog: Any
) -> None:
    """With user, file, way, bytes and outcome, but without names that users have chosen."""
    caplog.set_level(logging.INFO, "devilry_storage.access")
    response = candidate.get(_url(row))
    assert served == []
    assert b"".join(response) == DATA
    response.close()
    (found,) = served
    user = found.pop("user")
    assert found == {
        "sender": type(row),
        "instance": row,
        "way": "stream",
        "size": 10,
        "outcome": "complete",
    }
    (record,) = [record for record in caplog.records if record.name == "devilry_storage.access"]
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
def test_every_request_is_logged_once(
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
    """For every status. The signal is sent for GET only."""
    caplog.set_level(logging.INFO, "devilry_storage.access")
    response = getattr(candidate, method)(_url(row), headers=headers)
    b"".join(response)
    response.close()
    (line,) = [record.getMessage() for record in caplog.records if record.name.endswith(".access")]
    assert line.endswith(f"bytes={size} outcome={outcome}")
    assert [(access["size"], access["outcome"]) for access in served] == [
        (size, outcome)
    ] * signals


def test_access_log_escapes_user_input(rf: RequestFactory, caplog: Any) -> None:
    """Primary keys of users may be arbitrary text."""
    caplog.set_level(logging.INFO, "devilry_storage.access")
    request: Any = rf.get("/")
    request.user = SimpleNamespace(pk="x outcome=complete\nuser=root")
    record_access(request, "name:a b\r\n", "stream", 1, "complete")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "user=x%20outcome%3Dcomplete%0Auser%3Droot file=name:a%20b%0D%0A method=GET way=stream "
        "bytes=1 outcome=complete"
    )


def test_failing_signal_receiver_does_not_affect_the_download(
    candidate: Client, row: Any, caplog: Any
) -> None:
    """The exception is logged and the file is served."""

    def fail(**kwargs: Any) -> None:
        raise RuntimeError("planned")

    file_served.connect(fail)
    try:
        response = candidate.get(_url(row))
        assert b"".join(response) == DATA
        response.close()
    finally:
        file_served.disconnect(fail)
    assert "planned" in caplog.text
