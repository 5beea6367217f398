"""``manage.py purge_deliveries``: see :func:`devilry_storage.deletion.purging.purge`."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS
from django.template.defaultfilters import filesizeformat

from devilry_storage.deletion.purging import Event, purge

TROUBLE = {"kept", "failed", "skipped", "refused"}


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

        parser.add_argument(
            "--also",
            action="append",
            default=[],
            metavar="NAME",
            help=(
                "Besides all that is due, remove this deleted file although its size is not the "
                "recorded one."
            ),
        )

    def handle(self, *, dry_run: bool, database: str, also: list[str], **options: Any) -> None:
        counts: Counter[str] = Counter()
        size = 0
        for event in purge(using=database, dry_run=dry_run, also=also):
            counts[event.result] += 1
            if event.result in TROUBLE:
                self.stderr.write(f"{event.result}: {event.subject} ({event.reason})")
                continue
            size += event.size or 0
            if dry_run or options["verbosity"] > 1:
                self.stdout.write(_line(event, dry_run))
        files, verb = counts["removed"] + counts["due"], "Would remove" if dry_run else "Removed"
        self.stdout.write(
            f"{verb} {files} files ({filesizeformat(size)}) and {counts['upload']} stale uploads."
        )
        if counts["refused"] or counts["failed"]:
            raise CommandError(
                f"{counts['refused']} models were refused and {counts['failed']} removals failed: "
                "see the reasons above."
            )


def _line(event: Event, dry_run: bool) -> str:
    what = "stale upload " if event.result == "upload" else ""
    return f"{'would remove' if dry_run else 'removed'}: {what}{event.subject}"
