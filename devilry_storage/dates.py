"""Dates on pages."""

from datetime import datetime

from django.utils import formats, timezone

from .conf import conf


def format_datetime(value: datetime) -> str:
    """Format a datetime in the current time zone and language."""
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    return formats.date_format(local, "DATETIME_FORMAT")


def restorable_until() -> str:
    """Return until when files that are deleted now can be restored, as text."""
    return format_datetime(timezone.now() + conf.retention)
