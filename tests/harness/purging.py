"""Helpers for tests of purging: deliveries, tombstones and the command."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

from django.core.management import CommandError, call_command
from django.utils import timezone

from devilry_storage.deliveries.models import AssignmentGroup, Delivery
from devilry_storage.models import Tombstone


def delivered(**files: bytes) -> Delivery:
    """Return a finished delivery of these files."""
    group, _ = AssignmentGroup.objects.get_or_create(name="group")
    delivery = Delivery.begin(group)
    delivery.add_files(files)
    delivery.finish()
    return delivery


def past_due() -> None:
    """End the retention of all tombstones."""
    Tombstone.objects.update(due=timezone.now() - timedelta(seconds=1))


def left() -> list[Tombstone]:
    """Return the tombstones whose bytes have not been removed."""
    return list(Tombstone.objects.filter(done=None).order_by("pk"))


def purged(**options: Any) -> tuple[str, str]:
    """Run the command and return its output and its errors, a CommandError included."""
    out, err = StringIO(), StringIO()
    try:
        call_command("purge_deliveries", stdout=out, stderr=err, **options)
    except CommandError as error:
        err.write(str(error))
    return out.getvalue(), err.getvalue()
