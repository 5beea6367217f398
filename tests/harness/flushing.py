"""Flushing the database after a test that commits, without making all permissions again."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import management
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.management import create_contenttypes
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models.signals import post_migrate

_UID = "django.contrib.auth.management.create_permissions"


def keep_permissions() -> None:
    """Let a flush put back the content types and permissions that the database has now.

    Django looks for those of each app and makes them one by one, which takes most of a flush.
    """
    kept: tuple[list[Any], ...] = (
        list(ContentType.objects.all()),
        list(Permission.objects.all()),
    )

    def put_back(using: str, **kwargs: Any) -> None:
        if ContentType.objects.using(using).exists():
            return  # the signal is sent for every app
        with transaction.atomic(using):
            for rows in kept:
                type(rows[0])._default_manager.using(using).bulk_create(rows)

    post_migrate.disconnect(create_contenttypes)
    post_migrate.disconnect(management.create_permissions, dispatch_uid=_UID)
    post_migrate.connect(put_back, weak=False)
