"""A power cut: the disk as it is when ``save()`` returns, without what only memory held."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from django.core.files.base import ContentFile

from devilry_storage.layout import HierLayout
from tests.harness.mounting import loop_mounted, make_ext4

from .places import Place

IMAGE_MEBIBYTES = 48
SIZE = 100_000
_NEEDS_RECOVERY = 0x4


@dataclass
class Cuts:
    """What a series of power cuts found; ``recovered``: copies whose journal was replayed."""

    rounds: int = 0
    recovered: int = 0
    damaged: list[str] = field(default_factory=list)


def cut_power(folder: Path, make_place: Callable[[Path], Place], rounds: int) -> Cuts:
    """Save on an ext4 in a file, copy the file the moment ``save()`` returns, mount the copy.

    Each copy must hold every file acknowledged until then, whole. Every fourth save goes into a
    delivery that is there already, the others into new ones.
    """
    image, copy = folder / "disk.img", folder / "after-the-cut.img"
    make_ext4(image, IMAGE_MEBIBYTES)
    result, expected = Cuts(), dict[str, bytes]()
    with loop_mounted(image, folder / "disk") as disk:
        # A folder on the disk, because a new file system's root has a lost+found.
        root = disk / "root"
        root.mkdir()
        _flush(disk)
        store = make_place(root).store()
        for number in range(rounds):
            name, data = (HierLayout().key(number - (number % 4 == 3), number), os.urandom(SIZE))
            content = ContentFile(data)
            told = store.save(name, content)
            shutil.copyfile(image, copy)
            expected[told] = data
            result.rounds += 1
            result.recovered += _needs_recovery(copy)
            with loop_mounted(copy, folder / "after") as after:
                found = dict(make_place(after / "root").visible())
            for known, whole in expected.items():
                if found.get(known) != whole:
                    state = "lost" if known not in found else f"{len(found[known])} bytes"
                    result.damaged.append(f"round {number}: {known}: {state}")
            copy.unlink()
    return result


def _flush(disk: Path) -> None:
    folder = os.open(disk, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    os.sync()


def _needs_recovery(image: Path) -> bool:
    """Tell whether the superblock says that the journal must be replayed before use."""
    with image.open("rb") as file:
        file.seek(1024 + 0x60)
        return bool(int.from_bytes(file.read(4), "little") & _NEEDS_RECOVERY)
