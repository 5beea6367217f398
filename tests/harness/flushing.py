"""Make the flush after transactional tests faster."""

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
    """Let a flush insert the current content types and permissions with two queries.

    Django creates them one by one for every app, which takes most of the time of a flush.
    """
    kept: tuple[list[Any], ...] = (list(ContentType.objects.all()), list(Permission.objects.all()))

    def put_back(using: str, **kwargs: Any) -> None:
        if ContentType.objects.using(using).exists():
            return  # The signal is sent for every app.
        with transaction.atomic(using):
            for rows in kept:
                type(rows[0])._default_manager.using(using).bulk_create(rows)

    post_migrate.disconnect(create_contenttypes)
    post_migrate.disconnect(management.create_permissions, dispatch_uid=_UID)
    post_migrate.connect(put_back, weak=False)
