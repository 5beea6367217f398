"""``manage.py purge_deliveries``: see :func:`devilry_storage.purge.purge`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS
from django.template.defaultfilters import filesizeformat

from devilry_storage.purge import purge

WORDS = {
    "removed": "removed",
    "due": "would remove",
    "upload": "removed stale upload",
    "kept": "kept",
    "failed": "failed",
    "skipped": "skipped",
    "refused": "refused",
}


class Command(BaseCommand):
    """Remove the bytes of deleted files whose retention is over, and stale uploads."""

    help = (
        "Remove the bytes of deleted files whose retention is over, and what writers that died "
        "left behind. Run it daily."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="Only tell what would be removed."
        )
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, help="The database whose tombstones to purge."
        )

    def handle(self, *, dry_run: bool, database: str, **options: Any) -> None:
        counts = dict.fromkeys(WORDS, 0)
        size = 0
        for event in purge(using=database, dry_run=dry_run):
            counts[event.result] += 1
            size += event.size or 0 if event.result in {"removed", "due"} else 0
            trouble = event.result in {"kept", "failed", "skipped", "refused"}
            if trouble or options["verbosity"] > 1 or dry_run:
                word = (
                    "would remove stale upload" if dry_run and event.result == "upload" else None
                )
                line = f"{word or WORDS[event.result]}: {event.subject}"
                line += f" ({event.reason})" if event.reason else ""
                (self.stderr if trouble else self.stdout).write(line)
        verb = "Would remove" if dry_run else "Removed"
        self.stdout.write(
            f"{verb} {counts['removed'] + counts['due']} files ({filesizeformat(size)}) and "
            f"{counts['upload']} stale uploads."
        )
        if counts["refused"] or counts["failed"]:
            raise CommandError(
                f"{counts['refused']} models were refused and {counts['failed']} files failed: see "
                "the reasons above."
            )
