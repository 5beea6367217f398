"""Thumbnails of delivered images."""

from __future__ import annotations

from typing import Any

import sorl.thumbnail
from django.core.files.storage import storages
from django.dispatch import receiver
from easy_thumbnails.files import get_thumbnailer

from devilry_storage.signals import file_removed

from .models import Photo


def thumbnailer_of(photo: Any) -> Any:
    """Return a thumbnailer of easy-thumbnails, with a folder for each model."""
    thumbnailer = get_thumbnailer(photo.content)
    thumbnailer.thumbnail_basedir = photo._meta.label_lower
    thumbnailer.thumbnail_storage = storages["public"]
    return thumbnailer


@receiver(file_removed, sender=Photo)
def remove_thumbnails(instance: Photo, **kwargs: Any) -> None:
    """Remove the thumbnails of deleted and replaced images."""
    thumbnailer_of(instance).delete_thumbnails()
    sorl.thumbnail.delete(instance.content, delete_file=False)
