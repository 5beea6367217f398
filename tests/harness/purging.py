"""Deliveries to be purged, and the command that does it."""

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
    """Let the retention of all tombstones be over."""
    Tombstone.objects.update(due=timezone.now() - timedelta(seconds=1))


def left() -> list[Tombstone]:
    """Return the tombstones whose bytes are not removed yet."""
    return list(Tombstone.objects.filter(done=None).order_by("pk"))


def purged(**options: Any) -> tuple[str, str]:
    """Run the command and return what it wrote, errors with the words of a refusal."""
    out, err = StringIO(), StringIO()
    try:
        call_command("purge_deliveries", stdout=out, stderr=err, **options)
    except CommandError as error:
        err.write(str(error))
    return out.getvalue(), err.getvalue()
