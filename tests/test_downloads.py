"""The download view, by Django's client."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from devilry_storage.deliveries.models import AssignmentGroup, Delivery
from devilry_storage.store import store_for

from .users import make_user

pytestmark = pytest.mark.django_db

DATA = b"0123456789"


@pytest.fixture
def group() -> Any:
    return AssignmentGroup.objects.create(name="group")


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


def test_a_row_has_the_url_of_its_download(row: Any) -> None:
    """Not that of the store, which knows nobody."""
    assert row.content.url == _url(row)


def test_whoever_may_not_see_a_row_learns_nothing(row: Any) -> None:
    """An id of somebody else's file is answered as one that does not exist."""
    client = Client()
    assert client.get(_url(row)).status_code == 302
    client.force_login(make_user("stranger"))
    absent = reverse("devilry_storage:download", args=["devilry_deliveries.filemeta", 10**30])
    for method in ("get", "head", "post", "put", "delete", "options"):
        one, other = getattr(client, method)(_url(row)), getattr(client, method)(absent)
        assert one.status_code == other.status_code == 404
        assert one.headers.items() == other.headers.items()


def test_bytes_that_are_gone_are_not_found(candidate: Client, row: Any, caplog: Any) -> None:
    """And the log has the key."""
    store_for(row).delete(row.content.name)
    assert candidate.get(_url(row)).status_code == 404
    assert row.content.name in caplog.text


def test_the_model_of_a_url_is_one_of_files(candidate: Client) -> None:
    """A label of another model, or of none, is not found."""
    for label in ("auth.user", "devilry_deliveries.delivery", "nothing", "a.b.c"):
        url = reverse("devilry_storage:download", args=[label, 1])
        assert candidate.get(url).status_code == 404
