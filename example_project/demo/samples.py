"""Real files to deliver: those of a folder, by default of Django's own admin."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django.contrib import admin

from devilry_storage.exceptions import InvalidFilename
from devilry_storage.names import FILENAME_MAX_LENGTH, validate_filename

from .place import MARK

#: Python, HTML, translations, JavaScript, CSS, images: some 600 files of 0 to 300 KB.
DEFAULT_SOURCE = Path(admin.__file__).parent

#: So many files at most are delivered at one time.
BATCH = 25


@dataclass(frozen=True)
class Sample:
    """A file on this machine, and the name under which it is delivered."""

    path: Path
    filename: str


@dataclass
class Samples:
    """The files of a folder in order of their paths, and why others were left out."""

    source: Path
    files: list[Sample] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def find(source: Path, *, without: Path) -> Samples:
    """Return the files below ``source``, except hidden ones, caches and the data of demos.

    Raises NotADirectoryError, FileNotFoundError where there are no files, ValueError for a folder
    in ``without``.
    """
    if not source.is_dir():
        raise NotADirectoryError(
            f"'{source}' is not a folder: name one that has files to deliver."
        )
    if source.resolve().is_relative_to(without.resolve()):
        raise ValueError(f"'{source}' is the demo's own data, or in it: name another folder.")
    samples = Samples(source)
    for path in _paths(source):
        if path.is_symlink() or not path.is_file() or not os.access(path, os.R_OK):
            samples.skipped.append(f"{str(path)!r} is no file, or one that may not be read.")
            continue
        try:
            samples.files.append(Sample(path, _filename(path.relative_to(source))))
        except InvalidFilename as exception:
            samples.skipped.append(str(exception))
    if not samples.files:
        raise FileNotFoundError(f"'{source}' has no files to deliver: name another folder.")
    return samples


def _paths(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not _is_hidden(name) and not Path(place, name, MARK).is_file()
        )
        yield from (Path(place, name) for name in sorted(names) if not _is_hidden(name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"


def _filename(relative: Path) -> str:
    # Deliveries have no folders: a name tells where the file came from, as far as there is room.
    return validate_filename("-".join(relative.parts)[-FILENAME_MAX_LENGTH:])


def batches(samples: Iterable[Sample], size: int = BATCH) -> Iterator[list[Sample]]:
    """Yield the samples in batches for one delivery each, in which no filename is there twice."""
    batch: dict[str, Sample] = {}
    for sample in samples:
        if len(batch) == size or sample.filename in batch:
            yield list(batch.values())
            batch = {}
        batch[sample.filename] = sample
    if batch:
        yield list(batch.values())
