"""``demo``: from nothing to a delivered store of real files."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from demo import place, samples, server


class Command(BaseCommand):
    """Delivers a folder, reads it back, kills a writer, deletes a file; then the same on S3."""

    help = (
        "From nothing to a delivered store of real files: makes the database, delivers a folder, "
        "reads it back, kills a writer, deletes a file; then delivers it to a server of S3 that "
        "it starts and stops. What an earlier demo made is removed."
    )
    # There may be no folder yet that a database could be in; they run once it is made.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--source",
            type=Path,
            default=samples.DEFAULT_SOURCE,
            help="The folder whose files are delivered, hidden ones apart; unless given the "
            "source of Django's admin.",
        )
        parser.add_argument(
            "--s3-server",
            choices=[*server.TITLES, "none"],
            help="The server of S3 to start, an error if it cannot run here; 'none' leaves S3 "
            "out. Unless given SeaweedFS, else moto, and it is no error if neither can run.",
        )

    def handle(
        self, *args: Any, source: Path, s3_server: str | None = None, **options: Any
    ) -> None:
        try:
            from rich.console import Console
        except ImportError as exception:
            raise CommandError(
                f"The demo prints with rich ({exception}): python -m pip install rich."
            ) from exception
        from demo.tour import Tour

        if place.store_kind() == "memory":
            raise CommandError(
                "What the demo delivers is to be served afterwards, so it needs a store that "
                "lasts: unset DELIVERY_STORE. 'runserver' fills the one in memory itself."
            )
        # A terminal may know fewer letters than the names of files have.
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        with ExitStack() as stack:
            try:
                found = samples.find(source.absolute(), without=place.data_folder())
                stack.enter_context(place.reserved())
                place.empty()
            except (OSError, ValueError, ImproperlyConfigured) as exception:
                raise CommandError(str(exception)) from exception
            try:
                faults = Tour(Console(highlight=False), found, s3_server).run()
            except server.NoServer as exception:
                raise CommandError(str(exception)) from exception
            except KeyboardInterrupt as exception:
                raise CommandError("Interrupted.", returncode=130) from exception
        if faults:
            raise CommandError(f"A promise was broken: {'; '.join(faults)}.")
