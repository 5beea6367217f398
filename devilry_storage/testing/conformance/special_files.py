"""Promise 4 on disk: nothing hangs at a FIFO or reads a device, and a hard link is a file."""

from __future__ import annotations

import os

from .._support.case import needs, on_disk
from .._support.disk import REFUSED, DiskCase


class SpecialFileCases(DiskCase):
    """FIFOs, devices and hard links among the files."""

    @on_disk
    @needs("confined")
    def test_fifo_is_not_read(self) -> None:
        """Promise 4: a FIFO in the store is not opened to read; nothing hangs."""
        self.plant_fifo("folder/fifo")
        for read in (
            lambda: self.store.open("folder/fifo").close(),
            lambda: next(self.store.stream("folder/fifo")),
        ):
            self.assertIsInstance(self.at_once(read, "folder/fifo"), REFUSED)
        self.assert_reads_nothing("folder/fifo")

    @on_disk
    @needs("confined")
    def test_fifo_is_not_written(self) -> None:
        """Promise 4: a FIFO in the store is not opened to write; nothing hangs."""
        self.plant_fifo("fifo")
        self.at_once(lambda: self.rewrite("fifo"), "fifo")

    @on_disk
    def test_fifo_is_not_saved_to(self) -> None:
        """Promise 4: a save under the name of a FIFO, or below it, does not hang."""
        self.plant_fifo("fifo")
        self.at_once(lambda: self.save("fifo"), "fifo")
        self.at_once(lambda: self.save("fifo/below.txt"), "fifo")

    @on_disk
    @needs("confined")
    def test_fifo_is_not_shown(self) -> None:
        """Promise 4: a FIFO shows in no scan and no listing; neither hangs at it."""
        self.plant_fifo("folder/fifo")
        self.save("folder/file.txt")
        shown: list[object] = []
        self.at_once(lambda: shown.append(self.scanned()), "folder/fifo")
        self.at_once(lambda: shown.append(self.store.listdir("folder")), "folder/fifo")
        self.assertEqual(shown, [{"folder/file.txt"}, ([], ["file.txt"])])

    @on_disk
    @needs("confined")
    def test_device_is_not_read(self) -> None:
        """Promise 4: a device in the store is neither read nor said to exist."""
        self.plant_device("folder/zero")
        self.assert_reads_nothing("folder/zero")

    @on_disk
    @needs("confined")
    def test_rewrite_leaves_a_hard_link_alone(self) -> None:
        """Promise 4: rewriting a hard-linked file does not change the other name's bytes."""
        outside = self.outside()
        self.save("place.txt")
        os.link(outside / "victim.txt", self.disk / "hard.txt")
        self.assert_holds("hard.txt", b"outside")
        self.rewrite("hard.txt")
        self.assert_holds("hard.txt", b"rewritten")
        self.assert_untouched(outside)

    @on_disk
    def test_delete_leaves_a_hard_link_alone(self) -> None:
        """Promise 4: deleting a hard-linked file removes one of its names only."""
        outside = self.outside()
        self.save("place.txt")
        os.link(outside / "victim.txt", self.disk / "hard.txt")
        self.store.delete("hard.txt")
        self.assertFalse(self.store.exists("hard.txt"))
        self.assert_untouched(outside)

    @on_disk
    def test_save_beside_a_hard_link(self) -> None:
        """Promise 4: saving under the name of a hard-linked file stores beside it."""
        outside = self.outside()
        self.save("place.txt")
        os.link(outside / "victim.txt", self.disk / "hard.txt")
        self.assert_holds(self.save("hard.txt", b"new"), b"new")
        self.assert_holds("hard.txt", b"outside")
        self.assert_untouched(outside)
