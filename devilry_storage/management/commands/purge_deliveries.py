"""``manage.py purge_deliveries``: see :func:`devilry_storage.deletion.purge`."""

from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS
from django.template.defaultfilters import filesizeformat

from devilry_storage.deletion import Result, purge

PROBLEMS = {Result.KEPT, Result.FAILED, Result.SKIPPED, Result.REFUSED}


class Command(BaseCommand):
    """Remove the bytes of deleted files whose retention is over, and stale uploads, once a day."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="Only show what would be removed."
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
        verb = "would remove" if dry_run else "removed"
        counts: Counter[Result] = Counter()
        size = not_found = 0
        for event in purge(using=database, dry_run=dry_run, also=also):
            counts[event.result] += 1
            if event.result in PROBLEMS:
                not_found += event.result is Result.SKIPPED and event.subject in also
                self.stderr.write(f"{event.result}: {event.subject} ({event.reason})")
                continue
            size += event.size or 0
            if dry_run or options["verbosity"] > 1:
                kind = "stale upload " if event.result is Result.UPLOAD else ""
                self.stdout.write(f"{verb}: {kind}{event.subject}")
        files = counts[Result.REMOVED] + counts[Result.DUE]
        self.stdout.write(
            f"{verb.capitalize()} {files} files ({filesizeformat(size)}) and "
            f"{counts[Result.UPLOAD]} stale uploads."
        )
        problems = [
            (counts[Result.REFUSED], "models were refused"),
            (counts[Result.FAILED], "removals failed"),
            (not_found, "names given with --also were not found"),
        ]
        if any(count for count, _ in problems):
            found = ", ".join(f"{count} {problem}" for count, problem in problems if count)
            raise CommandError(f"{found} (see above).")
