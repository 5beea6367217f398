"""``runserver``, with the data of the demo or with samples in memory."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from django.contrib.staticfiles.management.commands import runserver
from django.core.management import call_command
from django.core.management.base import CommandError

from demo import delivering, people, samples, workspace


class Command(runserver.Command):
    """Serve the data of the demo, or samples in memory."""

    def handle(self, *args: Any, **options: Any) -> None:
        if workspace.store_kind() == "memory":
            # A reload would lose the files in memory and the sessions.
            options["use_reloader"] = False
        elif not workspace.database().exists():
            raise CommandError(
                f"There is no database '{workspace.database()}' yet: run the command 'demo' "
                "first, or serve samples in memory with DELIVERY_STORE=memory."
            )
        # Serve static files without DEBUG, too.
        options["insecure_serving"] = True
        super().handle(*args, **options)

    def inner_run(self, *args: Any, **options: Any) -> None:
        if workspace.store_kind() != "memory":
            super().inner_run(*args, **options)
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(workspace.reserved())
                workspace.empty()
            except OSError as exception:
                raise CommandError(str(exception)) from exception
            stack.callback(workspace.empty)  # the files are lost when the process ends
            self._deliver_in_memory()
            super().inner_run(*args, **options)

    def _deliver_in_memory(self) -> None:
        call_command("migrate", verbosity=0)
        everyone = people.create()
        found = samples.find(samples.DEFAULT_SOURCE, without=workspace.data_folder())
        delivered = delivering.deliver(samples.batches(found.files), everyone.groups)
        self.stdout.write(
            f"Delivered {len(delivered)} files to a store in memory, until the server stops.\n"
            f"Log in as '{people.ADMIN}' with the password '{everyone.password}'. The student "
            f"'{people.STUDENT}' and the examiner '{people.EXAMINER}' have the same "
            "password.\n\n"
        )
        self.stdout.flush()
