"""``manage.py deliverystore_stats``: see :func:`devilry_storage.usage.refresh`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DEFAULT_DB_ALIAS
from django.template.defaultfilters import filesizeformat

from devilry_storage.usage import refresh


class Command(BaseCommand):
    """Count the stored files by month, for the dashboard of the admin. Run it daily."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, help="The database whose rows are counted."
        )

    def handle(self, *, database: str, **options: Any) -> None:
        sums = refresh(using=database)
        files = sum(monthly.files for monthly in sums)
        size = sum(monthly.size for monthly in sums)
        months = len({monthly.month for monthly in sums})
        self.stdout.write(f"Counted {files} files ({filesizeformat(size)}) of {months} months.")
