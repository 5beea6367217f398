"""Wagtail: images, renditions and documents, in the default storage."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage, storages
from django.core.management import call_command
from django.test import Client, override_settings
from wagtail.documents.models import Document
from wagtail.images.models import Image, Rendition

from tests.harness import chosen

from .settings import WITH_DJANGO

pytestmark = pytest.mark.django_db


@pytest.fixture
def image(picture: Any) -> Image:
    return Image.objects.create(title="a", file=picture())


@pytest.fixture
def document() -> Document:
    made = Document(title="a", file=ContentFile(b"%PDF-1.7 document", "a.pdf"))
    made._set_document_file_metadata()
    made.save()
    return made


def test_rendition_is_made_once(image: Image) -> None:
    rendition = image.get_rendition("fill-20x20")
    assert (rendition.width, rendition.height) == (20, 20)
    assert default_storage.exists(rendition.file.name)
    assert Image.objects.get().get_rendition("fill-20x20") == rendition
    assert (image.width, image.height) == (80, 60)
    assert image.is_stored_locally() is (WITH_DJANGO or not chosen.ON_S3)


def test_deletes_remove_the_files(
    image: Image, document: Document, django_capture_on_commit_callbacks: Any
) -> None:
    """After COMMIT, by a storage that is made again from deconstruct()."""
    rendition = image.get_rendition("fill-20x20")
    names = [image.file.name, rendition.file.name, document.file.name]
    with django_capture_on_commit_callbacks(execute=True):
        image.delete()
        document.delete()
    assert [name for name in names if default_storage.exists(name)] == []


def test_command_renews_renditions(image: Image, django_capture_on_commit_callbacks: Any) -> None:
    """The old file is removed, also if the new one has its name."""
    old = image.get_rendition("fill-20x20").file.name
    with django_capture_on_commit_callbacks(execute=True):
        call_command("wagtail_update_image_renditions", verbosity=0)
    new = Rendition.objects.get().file.name
    assert default_storage.exists(new)
    assert new == old or not default_storage.exists(old)


def test_image_is_shown_to_users_with_permission(image: Image, staff: Client) -> None:
    url = image.file.url
    if WITH_DJANGO:
        assert url == f"/media/{image.file.name}"
        return
    response = staff.get(url, follow=True)
    with image.file.open() as file:
        assert b"".join(response) == file.read()
    assert Client().get(url).status_code in {302, 403, 404}


def test_public_rendition_is_shown_to_visitors(image: Image, monkeypatch: Any) -> None:
    """As with WAGTAILIMAGES_RENDITION_STORAGE, which Wagtail reads when it is imported."""
    monkeypatch.setattr(Rendition._meta.get_field("file"), "storage", storages["public"])
    rendition = image.get_rendition("fill-20x20")
    assert rendition.url == f"/media/{rendition.file.name}"
    assert storages["public"].exists(rendition.file.name)


@override_settings(WAGTAILDOCS_SERVE_METHOD="serve_view")
def test_document_is_served_to_visitors(document: Document) -> None:
    """Wagtail asks for the restrictions of the collection."""
    response = Client().get(document.url)
    assert response.status_code == 200
    assert b"".join(response) == b"%PDF-1.7 document"
    assert response["Content-Type"] == "application/pdf"


def test_admin_uploads_and_lists(staff: Client, picture: Any) -> None:
    upload = picture("upload.png")
    response = staff.post(
        "/cms/images/multiple/add/", {"title": "b", "files[]": upload, "collection": 1}
    )
    assert response.json()["success"], response.content
    assert staff.get("/cms/images/").status_code == 200
    assert Image.objects.get().width == 80
