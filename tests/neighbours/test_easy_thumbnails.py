"""easy-thumbnails: thumbnails of ordinary images and of delivered ones."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.storage import default_storage
from easy_thumbnails.files import get_thumbnailer

from .accounts import account
from .images import size_of
from .models import Homework, Photo, Picture, RecordedFile
from .thumbnails import thumbnailer_of

pytestmark = pytest.mark.django_db(transaction=True)

SMALL = {"size": (20, 20), "crop": True}


def test_thumbnail_of_an_ordinary_image(picture: Any) -> None:
    """It is made once, and made again for another image."""
    row = Picture._default_manager.create(image=picture())
    thumbnailer = get_thumbnailer(row.image)
    made = thumbnailer.get_thumbnail(SMALL)
    assert size_of(made) == (20, 20)
    assert (made.width, made.height) == (20, 20)
    assert get_thumbnailer(row.image).get_thumbnail(SMALL).name == made.name
    assert len(default_storage.listdir("pictures")[1]) == 2
    row.image = picture("b.png")
    row.save()
    assert get_thumbnailer(row.image).get_thumbnail(SMALL).name != made.name
    assert thumbnailer.delete_thumbnails() == 1
    assert not default_storage.exists(made.name)


def test_thumbnail_of_a_delivered_image(homework: Homework, picture: Any) -> None:
    """It is removed with its image."""
    row = Photo.objects.create(delivery=homework, content=picture())
    made = thumbnailer_of(row).get_thumbnail(SMALL)
    assert size_of(made) == (20, 20)
    assert made.url == f"/media/neighbours.photo/{made.name.partition('/')[2]}"
    assert thumbnailer_of(row).get_thumbnail(SMALL).name == made.name
    assert account(Photo) == ({row.content.name}, set())
    row.content = picture("b.png", colour="blue")
    row.save()
    new = thumbnailer_of(row).get_thumbnail(SMALL)
    assert (made.storage.exists(made.name), new.storage.exists(new.name)) == (False, True)
    row.delete()
    assert not new.storage.exists(new.name)


def test_thumbnails_of_equal_keys_differ(homework: Homework, picture: Any) -> None:
    """By the folder of the model; easy-thumbnails would mix them up otherwise."""
    row = Photo.objects.create(pk=7, delivery=homework, content=picture())
    other = RecordedFile.objects.create(
        pk=7, delivery=homework, content=picture("b.png", colour="blue")
    )
    assert other.content.name == row.content.name
    mixed = [get_thumbnailer(it.content).get_thumbnail(SMALL).name for it in (row, other)]
    assert mixed[0] == mixed[1]
    made = [thumbnailer_of(it).get_thumbnail(SMALL).name for it in (row, other)]
    assert made[0] != made[1]
