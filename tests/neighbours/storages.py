"""Storages for django-filer, which creates its storages from classes and not from aliases."""

from __future__ import annotations

from django.core.files.storage import Storage, storages


def files() -> Storage:
    return storages["default"]


def thumbnails() -> Storage:
    return storages["public"]


def private_files() -> Storage:
    return storages["private"]


def private_thumbnails() -> Storage:
    return storages["private_thumbnails"]
