"""sorl-thumbnail: thumbnails, and their records in a key-value store."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.storage import default_storage
from sorl.thumbnail import delete, get_thumbnail
from sorl.thumbnail.images import ImageFile

from . import thumbnails  # noqa: F401  # connects the receiver
from .accounts import account
from .images import size_of
from .models import Homework, Photo, Picture

pytestmark = pytest.mark.django_db(transaction=True)


def test_thumbnail_of_an_ordinary_image(picture: Any) -> None:
    """It is made once and deleted with its source."""
    row = Picture._default_manager.create(image=picture())
    made = get_thumbnail(row.image, "20x20", crop="center")
    assert size_of(made) == (20, 20)
    again = get_thumbnail(row.image, "20x20", crop="center")
    assert (again.name, again.size) == (made.name, [20, 20])
    delete(row.image)
    assert not default_storage.exists(made.name)
    assert not default_storage.exists(row.image.name)


def test_thumbnails_of_equal_keys_differ(homework: Homework, picture: Any) -> None:
    """The record of a thumbnail has the alias of its source."""
    row = Photo.objects.create(delivery=homework, content=picture())
    made = get_thumbnail(row.content, "20x20", crop="center")
    assert size_of(made) == (20, 20)
    assert get_thumbnail(row.content, "20x20", crop="center").name == made.name
    assert ImageFile(row.content).serialize_storage() == "photos"
    name = default_storage.save(row.content.name, picture(colour="blue"))
    assert name == row.content.name
    assert get_thumbnail(name, "20x20", crop="center").name != made.name
    assert account(Photo) == ({row.content.name}, set())


def test_thumbnail_is_removed_with_a_delivered_image(homework: Homework, picture: Any) -> None:
    """By the receiver."""
    row = Photo.objects.create(delivery=homework, content=picture())
    made = get_thumbnail(row.content, "20x20", crop="center")
    row.delete()
    assert not default_storage.exists(made.name)
    assert account(Photo)[0] == set()
