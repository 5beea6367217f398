"""``runserver``, with a store that has what the rows name."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from django.contrib.staticfiles.management.commands import runserver
from django.core.management import call_command
from django.core.management.base import CommandError

from demo import delivering, people, place, samples


class Command(runserver.Command):
    """Serves what the demo left on disk, or samples in memory."""

    def handle(self, *args: Any, **options: Any) -> None:
        if place.store_kind() == "memory":
            # Bytes in memory are this process's own: a reload would lose them, and the logins.
            options["use_reloader"] = False
        elif not place.database().exists():
            raise CommandError(
                f"There is no database '{place.database()}' yet: run the command 'demo' first, or "
                "serve samples in memory with DELIVERY_STORE=memory."
            )
        # Its style sheets and scripts, without DEBUG too.
        options["insecure_serving"] = True
        super().handle(*args, **options)

    def inner_run(self, *args: Any, **options: Any) -> None:
        if place.store_kind() != "memory":
            super().inner_run(*args, **options)
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(place.reserved())
                place.empty()
            except OSError as exception:
                raise CommandError(str(exception)) from exception
            stack.callback(place.empty)  # rows that outlived the process would name no bytes
            self._deliver_in_memory()
            super().inner_run(*args, **options)

    def _deliver_in_memory(self) -> None:
        call_command("migrate", verbosity=0)
        everyone = people.create()
        found = samples.find(samples.DEFAULT_SOURCE, without=place.data_folder())
        delivered = delivering.deliver(samples.batches(found.files), everyone.groups)
        self.stdout.write(
            f"Delivered {len(delivered)} files to a store in memory, gone when this server ends.\n"
            f"Log in as '{people.ADMIN}' with the password '{everyone.password}', or with the "
            f"same as '{people.STUDENT}', a student, or '{people.EXAMINER}', who examines.\n\n"
        )
        self.stdout.flush()
