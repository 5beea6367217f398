"""The steps of the demo: each does something, looks at what came of it, and shows it."""

from __future__ import annotations

import time
from io import StringIO

from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS
from rich.console import Console
from rich.filesize import decimal

from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.purge import purge
from devilry_storage.store import store_for

from . import deleting, delivering, killing, people, place, samples, showing, verifying


class Tour:
    """A walk from an empty folder to the summary; ``faults`` are the promises found broken."""

    def __init__(self, console: Console, found: samples.Samples) -> None:
        self.console = console
        self.found = found
        self.faults: list[str] = []
        self.summary: dict[str, str] = {}

    def run(self) -> list[str]:
        """Take all steps and return the faults."""
        begun = time.monotonic()
        who = self.make_project()
        delivered = self.deliver(who)
        self.show_store(delivered)
        self.read_back(delivered)
        self.kill_a_writer(who)
        self.delete_a_file(delivered)
        self.summary["whole demo"] = f"{time.monotonic() - begun:.1f} s"
        self.summarise(who)
        return self.faults

    def make_project(self) -> people.People:
        """Make the database, users and groups."""
        showing.heading(self.console, "1. A project from nothing")
        with showing.working(self.console, "making the database"):
            call_command("migrate", verbosity=0)
            call_command("check", databases=[DEFAULT_DB_ALIAS], stdout=StringIO())
            who = people.create()
        showing.facts(
            self.console,
            {
                "database": showing.relative(place.database()),
                "store": showing.relative(place.store_folder()),
                "checks": "passed (manage.py check --database default)",
                "users": f"{people.ADMIN}, {people.EXAMINER} (examiner), "
                f"{len(who.students)} students",
                "groups": "; ".join(group.name for group in who.groups),
            },
        )
        return who

    def deliver(self, who: people.People) -> list[delivering.Delivered]:
        """Deliver the samples, in batches."""
        showing.heading(self.console, "2. Real files are delivered")
        showing.facts(self.console, {"from": showing.relative(self.found.source)})
        showing.left_out(self.console, self.found.skipped)
        begun = time.monotonic()
        with showing.progress(self.console, len(self.found.files)) as advance:
            batches = samples.batches(self.found.files)
            delivered = delivering.deliver(batches, who.groups, advance)
        seconds = time.monotonic() - begun
        size = decimal(sum(each.filemeta.size or 0 for each in delivered))
        self.summary["delivered"] = (
            f"{len(delivered)} files, {size}, in {Delivery.objects.count()} deliveries, "
            f"{len(delivered) / seconds:.0f} files a second"
        )
        showing.facts(self.console, {"delivered": self.summary["delivered"]})
        return delivered

    def show_store(self, delivered: list[delivering.Delivered]) -> None:
        """Show the keys in the store, and what the database says of them."""
        showing.heading(self.console, "3. Where the bytes lie: <top>/<sub>/<delivery>/<file>")
        self.console.print(showing.key_tree(store_for(FileMeta)))
        showing.heading(self.console, "4. What the database says of some of them")
        self.console.print(showing.file_table([each.filemeta for each in delivered]))

    def read_back(self, delivered: list[delivering.Delivered]) -> None:
        """Read everything back and compare."""
        showing.heading(self.console, "5. Every file is read back")
        with showing.working(self.console, "reading"):
            result = verifying.verify(delivered)
        self.summary["verified"] = (
            f"{result.files} files, {decimal(result.size)}, {len(result.different)} different"
        )
        self._judge(not result.different, f"{len(result.different)} files were read back changed")
        showing.facts(
            self.console,
            {
                "verified": self.summary["verified"],
                "compared": "SHA-256 of the stored bytes, of the source file, and in the database",
            },
        )

    def kill_a_writer(self, who: people.People) -> None:
        """Kill a writer in the middle of a file."""
        showing.heading(self.console, "6. A writer is killed in the middle of a file")
        with showing.working(self.console, "waiting for half a file"):
            killed = killing.kill_a_writer(who.groups[0])
        self._judge(not killed.torn, f"{len(killed.torn)} torn files are visible")
        self._judge(killed.content is None, "the row of a torn file names content")
        self._judge(bool(killed.refused), "a delivery with a torn file could be finished")
        self.summary["killed"] = (
            f"1 writer, after {decimal(killed.written)} of a file; "
            f"{len(killed.torn)} torn files visible"
        )
        showing.facts(
            self.console,
            {
                "killed": f"by {killed.signal}, with {decimal(killed.written)} written to "
                f"{killed.temp_file}",
                "visible": f"{len(killed.torn)} torn files: whatever has a key is whole; "
                "purge_deliveries removes the temp file after a day",
                "its row": f"names {killed.content or 'no content'}",
                "finish()": killed.refused,
                "again": f"{killed.again.filename}, {showing.size_of(killed.again)}, is delivered "
                f"under {killed.again.content.name}",
            },
        )

    def delete_a_file(self, delivered: list[delivering.Delivered]) -> None:
        """Delete the largest file."""
        showing.heading(self.console, "7. A file is deleted")
        largest = max(delivered, key=lambda each: each.filemeta.size or 0).filemeta
        deleted = deleting.delete(largest)
        self._judge(not deleted.row_exists, "a deleted row is still there")
        self._judge(deleted.bytes_equal, "the bytes of a deleted file are gone before their time")
        purged = list(purge())
        self._judge(not purged, "a purge removed what is not due")
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
                "purge": f"purge_deliveries removes {len(purged)} files today: until then row and "
                "bytes can be restored",
            },
        )

    def summarise(self, who: people.People) -> None:
        """Show the figures, and how to go on."""
        showing.heading(self.console, "Summary")
        showing.facts(self.console, self.summary)
        showing.heading(self.console, "Look at it yourself")
        showing.ways_on(self.console, people.ADMIN, who.password)

    def _judge(self, kept: bool, broken: str) -> None:
        if not kept:
            self.faults.append(broken)
