"""``demo``: deliver real files to a new store, and check the results."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from demo import samples, server, workspace


class Command(BaseCommand):
    """Run the steps of the demo."""

    help = (
        "Creates the database, delivers the files of a folder, reads them back, kills a process "
        "during an upload, and deletes a file. Then delivers the files to an S3 server, which it "
        "starts and stops. Removes the data of an earlier demo."
    )
    # The checks run later, because the folder of the database may not exist yet.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--source",
            type=Path,
            default=samples.DEFAULT_SOURCE,
            help="The folder whose files are delivered, except hidden files. The default is the "
            "source code of Django's admin.",
        )
        parser.add_argument(
            "--s3-server",
            choices=[*server.TITLES, "none"],
            help="The S3 server to start; it is an error if it cannot run. 'none' leaves S3 out. "
            "The default is SeaweedFS, or else moto, or no server if neither can run.",
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

        if workspace.store_kind() == "memory":
            raise CommandError(
                "The demo needs a persistent store, because its files are served afterwards: "
                "unset DELIVERY_STORE. 'runserver' fills the store in memory itself."
            )
        # The terminal's encoding may lack characters of the filenames.
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        with ExitStack() as stack:
            try:
                found = samples.find(source.absolute(), without=workspace.data_folder())
                stack.enter_context(workspace.reserved())
                workspace.empty()
            except (OSError, ValueError, ImproperlyConfigured) as exception:
                raise CommandError(str(exception)) from exception
            try:
                faults = Tour(Console(highlight=False), found, s3_server).run()
            except server.NoServer as exception:
                raise CommandError(str(exception)) from exception
            except KeyboardInterrupt as exception:
                raise CommandError("Interrupted.", returncode=130) from exception
        if faults:
            raise CommandError(f"The demo failed: {'; '.join(faults)}.")
