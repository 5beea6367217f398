"""Django REST framework: a serializer of the model, and uploads by multipart."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client, RequestFactory, override_settings
from rest_framework.test import APIClient

from .accounts import account
from .api import SentFileSerializer
from .models import Homework, SentFile

pytestmark = pytest.mark.django_db(transaction=True)


def _upload(data: bytes = b"text", name: str = "a.txt") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data)


def _post(homework: Homework, **fields: Any) -> Any:
    return APIClient().post("/api/sent/", {"delivery": homework.pk, **fields}, "multipart")


def test_upload_is_stored_and_listed_with_its_url(homework: Homework, staff: Client) -> None:
    response = _post(homework, content=_upload())
    assert response.status_code == 201, response.content
    row = SentFile.objects.get()
    shown = {
        "id": row.pk,
        "delivery": homework.pk,
        "filename": "a.txt",
        "content": f"http://testserver{row.content.url}",
        "size": 4,
        "sha256": hashlib.sha256(b"text").hexdigest(),
    }
    assert response.json() == shown
    assert APIClient().get("/api/sent/").json() == [shown]
    assert APIClient().get(f"/api/sent/{row.pk}/").json() == shown
    assert b"".join(staff.get(shown["content"])) == b"text"


def test_patch_replaces_the_file_or_keeps_it(homework: Homework) -> None:
    """The validator sees the filename of an upload, and does not see the key of a stored file."""
    url = f"/api/sent/{_post(homework, content=_upload()).json()['id']}/"
    old = SentFile.objects.get().content.name
    assert APIClient().patch(url, {"filename": "b.txt"}, "multipart").status_code == 200
    assert SentFile.objects.get().content.name == old
    response = APIClient().patch(url, {"content": _upload(b"new")}, "multipart")
    assert response.status_code == 200, response.content
    row = SentFile.objects.get()
    assert (row.filename, row.size, row.content.open().read()) == ("b.txt", 3, b"new")
    assert account(SentFile) == ({row.content.name}, {old})
    assert APIClient().delete(url).status_code == 204
    assert account(SentFile) == (set(), {old, row.content.name})


def test_validators_of_the_field_reject_uploads(homework: Homework) -> None:
    """A rejected upload leaves no row and no bytes."""
    response = _post(homework, content=_upload(name="a.exe"))
    assert response.status_code == 400
    assert "exe" in response.json()["content"][0]
    response = _post(homework, content=_upload(), filename="a/b.txt")
    assert (response.status_code, "a/b.txt" in response.content.decode()) == (400, True)
    homework.add_file("a.txt", b"text")
    homework.finish()
    assert _post(homework, content=_upload(name="late.txt")).status_code == 400
    assert SentFile.objects.count() == 1
    account(SentFile)


@override_settings(ROOT_URLCONF="tests.urls_admin")
def test_row_without_url_has_null(homework: Homework) -> None:
    """The store is private, and the site has no view of downloads."""
    request = RequestFactory().get("/api/")
    for content in (ContentFile(b"text", "a.txt"), None):
        row = SentFile.objects.create(delivery=homework, filename="a.txt", content=content)
        data = SentFileSerializer(row, context={"request": request}).data
        assert data["content"] is None
