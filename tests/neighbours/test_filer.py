"""django-filer: files and images with thumbnails, public and private."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage, storages
from django.test import Client
from filer.models import File, Image

pytestmark = pytest.mark.django_db(transaction=True)


def _names(storage: Any, folder: str = "") -> list[str]:
    folders, files = storage.listdir(folder)
    below = [name for inner in folders for name in _names(storage, f"{folder}/{inner}".strip("/"))]
    return [f"{folder}/{name}".strip("/") for name in files] + below


def test_image_has_thumbnails_and_is_deleted_with_them(picture: Any) -> None:
    image = Image.objects.create(file=picture(), original_filename="a.png")
    assert (image.width, image.height, image.size > 0) == (80, 60, True)
    made = image.file.get_thumbnail({"size": (20, 20), "crop": True})
    assert made.url == f"/media/{made.name}"
    assert made.storage.exists(made.name)
    image.delete()
    assert not made.storage.exists(made.name)
    assert _names(default_storage) == []


def test_equal_files_have_names_of_their_own() -> None:
    """So the delete of one keeps the other."""
    first = File.objects.create(
        file=ContentFile(b"text", "a.txt"), original_filename="a.txt", name="a"
    )
    second = File.objects.create(
        file=ContentFile(b"text", "a.txt"), original_filename="a.txt", name="b"
    )
    assert first.sha1 == second.sha1
    assert first.file.name != second.file.name
    first.delete()
    assert default_storage.open(second.file.name).read() == b"text"


def test_canonical_url_leads_to_the_file(staff: Client) -> None:
    """It redirects to the URL of the storage."""
    row = File.objects.create(file=ContentFile(b"text", "a.txt"), original_filename="a.txt")
    response = staff.get(row.canonical_url)
    assert response.status_code == 302
    assert response["Location"] == row.file.url
    if not row.file.url.startswith("/media/"):
        assert b"".join(staff.get(row.file.url, follow=True)) == b"text"


def test_private_image_is_served_to_its_owner(picture: Any) -> None:
    """From stores with URLs that the package's views serve, after it was public."""
    owner = User.objects.create_user("owner")
    row = Image.objects.create(file=picture(), original_filename="a.png", owner=owner)
    row.is_public = False
    row.save()
    assert _names(default_storage) == []
    assert _names(storages["private"]) == [row.file.name]
    thumbnail = row.file.get_thumbnail({"size": (20, 20), "crop": True})
    assert row.url == f"/private/{row.file.name}"
    assert thumbnail.url == f"/private_thumbnails/{thumbnail.name}"
    client = Client()
    for url in (row.url, thumbnail.url):
        assert client.get(url).status_code == 404
    client.force_login(owner)
    for url in (row.url, thumbnail.url):
        assert client.get(url).content.startswith(b"\x89PNG" if url == row.url else b"\xff\xd8")
