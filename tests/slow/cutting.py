"""Simulate power cuts: the disk as it is when a call returns, without the page cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile

from devilry_storage.layout import HierLayout
from tests.harness.mounting import loop_mounted, make_ext4

from .locations import Location

IMAGE_MEBIBYTES = 48
SIZE = 100_000
_NEEDS_RECOVERY = 0x4


@dataclass
class Cuts:
    """The result of a series of power cuts.

    ``recovered`` is the number of disk images whose journal had to be replayed.
    """

    rounds: int = 0
    recovered: int = 0
    damaged: list[str] = field(default_factory=list)


def cut_power(folder: Path, make_location: Callable[[Path], Location], rounds: int) -> Cuts:
    """Save on an ext4 image, copy the image as soon as ``save()`` returns, and mount the copy.

    Each copy must contain every file that was acknowledged so far, complete, and none that was
    removed. Every fourth save goes into an existing delivery, the others into new deliveries. In
    every fifth round two files are removed after the save: one of a delivery with two files, and
    the only one of another delivery.
    """
    image, copy = folder / "disk.img", folder / "after-the-cut.img"
    make_ext4(image, IMAGE_MEBIBYTES)
    result, expected = Cuts(), dict[str, bytes]()
    with loop_mounted(image, folder / "disk") as disk:
        # A subfolder, because the root of a new file system contains lost+found.
        root = disk / "root"
        root.mkdir()
        _flush(disk)
        store: Any = make_location(root).store()
        for number in range(rounds):
            name, data = (HierLayout().key(number - (number % 4 == 3), number), os.urandom(SIZE))
            content = ContentFile(data)
            saved_as = store.save(name, content)
            expected[saved_as] = data
            if number % 5 == 4:
                removed = [*expected][-2:]
                assert store.delete_many(removed) == {}
                for name in removed:
                    del expected[name]
            shutil.copyfile(image, copy)
            result.rounds += 1
            result.recovered += _needs_recovery(copy)
            with loop_mounted(copy, folder / "after") as after:
                found = dict(make_location(after / "root").visible())
            for saved_as, data in expected.items():
                if found.get(saved_as) != data:
                    state = "lost" if saved_as not in found else f"{len(found[saved_as])} bytes"
                    result.damaged.append(f"round {number}: {saved_as}: {state}")
            for name in found.keys() - expected.keys():
                result.damaged.append(f"round {number}: {name} came back")
            copy.unlink()
    return result


def _flush(disk: Path) -> None:
    folder = os.open(disk, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    os.sync()


def _needs_recovery(image: Path) -> bool:
    """Return whether the superblock says that the journal must be replayed."""
    with image.open("rb") as file:
        file.seek(1024 + 0x60)
        return bool(int.from_bytes(file.read(4), "little") & _NEEDS_RECOVERY)
