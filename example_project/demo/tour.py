"""The steps of the demo. Each step performs an operation, checks the result and prints it."""

from __future__ import annotations

import time
from io import StringIO
from itertools import count

from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS
from rich.console import Console
from rich.filesize import decimal

from devilry_storage.deletion import purge
from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for

from . import deleting, delivering, killing, people, samples, server, showing, verifying, workspace
from . import switching as s3


class Tour:
    """Run the steps of the demo. ``faults`` lists the failed checks.

    With a store on disk, the last step delivers the files to S3. ``s3_server`` is the name of the
    server to start, ``"none"`` to skip this step, or None for the first available server.
    """

    def __init__(self, console: Console, found: samples.Samples, s3_server: str | None) -> None:
        self.console = console
        self.found = found
        self.s3_server = s3_server
        self.faults: list[str] = []
        self.summary: dict[str, str] = {}
        self._steps = count(1)

    def run(self) -> list[str]:
        """Run all steps and return the faults.

        Raises NoServer if the requested server is not available.
        """
        started = time.monotonic()
        on_disk = workspace.store_kind() == "disk"
        who = self.make_project()
        delivered = self.deliver(who)
        self.show_store(delivered)
        self.read_back(delivered)
        stored = s3.on_disk(workspace.store_folder()) if on_disk else {}
        if on_disk:
            self.kill_a_writer(who)
        self.delete_a_file(delivered)
        if on_disk and self.s3_server != "none":
            self.switch_to_s3(stored)
        self.summary["whole demo"] = f"{time.monotonic() - started:.1f} s"
        self.summarise(who)
        return self.faults

    def make_project(self) -> people.People:
        """Create the database, users and groups."""
        self._begin("Create a project")
        with showing.working(self.console, "creating the database"):
            call_command("migrate", verbosity=0)
            call_command("check", databases=[DEFAULT_DB_ALIAS], stdout=StringIO())
            who = people.create()
        showing.facts(
            self.console,
            {
                "database": showing.relative(workspace.database()),
                "store": showing.location_of(store_for(FileMeta)),
                "checks": "passed (manage.py check --database default)",
                "users": f"{people.ADMIN}, {people.EXAMINER} (examiner), "
                f"{len(who.students)} students",
                "groups": "; ".join(group.name for group in who.groups),
            },
        )
        return who

    def deliver(self, who: people.People) -> list[delivering.Delivered]:
        """Deliver the samples, in batches."""
        self._begin("Deliver real files")
        showing.facts(self.console, {"from": showing.relative(self.found.source)})
        showing.left_out(self.console, self.found.skipped)
        started = time.monotonic()
        with showing.progress(self.console, len(self.found.files)) as advance:
            batches = samples.batches(self.found.files)
            delivered = delivering.deliver(batches, who.groups, advance)
        seconds = time.monotonic() - started
        size = decimal(sum(copy.filemeta.size or 0 for copy in delivered))
        self.summary["delivered"] = (
            f"{len(delivered)} files, {size}, in {Delivery.objects.count()} deliveries, "
            f"{len(delivered) / seconds:.0f} files a second"
        )
        showing.facts(self.console, {"delivered": self.summary["delivered"]})
        return delivered

    def show_store(self, delivered: list[delivering.Delivered]) -> None:
        """Show the keys in the store and their database rows."""
        self._begin("Stored files: <top>/<sub>/<delivery>/<file>")
        self.console.print(showing.key_tree(store_for(FileMeta)))
        self._begin("Database rows of some files")
        self.console.print(showing.file_table([copy.filemeta for copy in delivered]))

    def read_back(self, delivered: list[delivering.Delivered]) -> None:
        """Read everything back and compare."""
        self._begin("Read every file back")
        with showing.working(self.console, "reading"):
            result = verifying.verify(delivered)
        self.summary["verified"] = (
            f"{result.files} files, {decimal(result.size)}, {len(result.different)} different"
        )
        self._check(not result.different, f"{len(result.different)} files have changed")
        showing.facts(
            self.console,
            {
                "verified": self.summary["verified"],
                "compared": "SHA-256 of the stored file, the source file and the database row",
            },
        )

    def kill_a_writer(self, who: people.People) -> None:
        """Kill a process while it stores a file."""
        self._begin("Kill a process while it stores a file")
        with showing.working(self.console, "waiting for an incomplete file"):
            killed = killing.kill_a_writer(who.groups[0])
        self._check(not killed.torn, f"{len(killed.torn)} incomplete files are visible")
        self._check(killed.content is None, "the row of an incomplete file names content")
        self._check(bool(killed.refused), "a delivery with an incomplete file could be finished")
        self.summary["killed"] = (
            f"1 process, after {decimal(killed.written)} of a file; "
            f"{len(killed.torn)} incomplete files visible"
        )
        showing.facts(
            self.console,
            {
                "killed": f"by {killed.signal}, with {decimal(killed.written)} written to "
                f"{killed.temp_file}",
                "visible": f"{len(killed.torn)} incomplete files: every file with a key is "
                "complete; purge_deliveries removes the temporary file after a day",
                "its row": f"names {killed.content or 'no content'}",
                "finish()": killed.refused,
                "again": f"{killed.again.filename}, {showing.size_of(killed.again)}, is delivered "
                f"under {killed.again.content.name}",
            },
        )

    def delete_a_file(self, delivered: list[delivering.Delivered]) -> None:
        """Delete the largest file."""
        self._begin("Delete a file")
        largest = max(delivered, key=lambda copy: copy.filemeta.size or 0).filemeta
        deleted = deleting.delete(largest)
        self._check(not deleted.row_exists, "a deleted row still exists")
        self._check(deleted.bytes_equal, "the bytes of a deleted file were removed too early")
        purged = list(purge())
        self._check(not purged, "a purge removed a file that is not due")
        self.summary["deleted"] = (
            f"1 file; {Tombstone.objects.count()} tombstone, its bytes still in the store: "
            f"{'yes' if deleted.bytes_equal else 'NO'}"
        )
        self.console.print(showing.tombstone_table(Tombstone.objects.all()))
        showing.facts(
            self.console,
            {
                "deleted": deleted.filename,
                "in store": "yes, unchanged" if deleted.bytes_equal else "NO",
                "purge": f"purge_deliveries removes {len(purged)} files today: the file can "
                "still be restored",
            },
        )

    def switch_to_s3(self, on_disk: dict[str, s3.Stored]) -> None:
        """Deliver the same files to an S3 server, and compare its keys with those on disk."""
        self._begin("Deliver the same files to S3 by changing settings only")
        names = [self.s3_server] if self.s3_server else list(server.TITLES)
        try:
            with showing.working(self.console, "delivering to S3"), server.running(names) as run:
                self._compare_with_s3(run, on_disk)
        except server.NoServer as exception:
            if self.s3_server:
                raise
            self.summary["on S3"] = "left out: no server is available"
            showing.left_out(self.console, [str(exception)])
            return
        self._check(run.is_gone(), f"{run.title} is still running")
        stopped = "the server has stopped, its data are removed" if run.is_gone() else "NOT"
        showing.facts(self.console, {"stopped": stopped})

    def _compare_with_s3(self, run: server.Server, on_disk: dict[str, s3.Stored]) -> None:
        started = time.monotonic()
        failure = s3.deliver(run, self.found.source)
        seconds = time.monotonic() - started
        on_s3 = s3.on_s3(run)
        compared = s3.compare(on_disk, on_s3)
        self._check(not failure, f"this demo failed on S3, {failure}")
        self._check(not compared.other_keys, f"{compared.other_keys} keys differ on disk and S3")
        self._check(not compared.other_bytes, f"{len(compared.other_bytes)} files differ on S3")
        self.summary["on S3"] = (
            f"{len(on_s3)} files on {run.title}; {compared.other_keys} keys and "
            f"{len(compared.other_bytes)} files differ from those on disk"
        )
        showing.facts(
            self.console,
            {
                "server": f"{run.title}, started at {run.url}",
                **({"because": run.instead_of} if run.instead_of else {}),
                "settings": "DELIVERY_STORE=s3, and AWS_... for the server; the code is the same",
                "delivered": f"{len(on_s3)} files, read back, and one deleted, by this command in "
                f"another process, in {seconds:.1f} s",
                "keys": f"{len(on_disk)} on disk, {len(on_s3)} in the bucket as listed by boto3: "
                f"{compared.other_keys} different",
                "bytes": "SHA-256 of the object read by boto3 and of the file on disk: "
                f"{len(compared.other_bytes)} different",
            },
        )
        self.console.print(showing.key_table(on_disk, on_s3))

    def summarise(self, who: people.People) -> None:
        """Print the summary and the next steps."""
        showing.heading(self.console, "Summary")
        showing.facts(self.console, self.summary)
        showing.heading(self.console, "Try it yourself")
        showing.ways_on(self.console, people.LOGINS, who.password)

    def _begin(self, step: str) -> None:
        showing.heading(self.console, f"{next(self._steps)}. {step}")

    def _check(self, passed: bool, fault: str) -> None:
        if not passed:
            self.faults.append(fault)
