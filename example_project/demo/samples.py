"""Sample files to deliver: the files of a folder, by default those of Django's admin."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django.contrib import admin

from devilry_storage.exceptions import InvalidFilename
from devilry_storage.names import FILENAME_MAX_LENGTH, validate_filename

from .workspace import MARK

#: About 600 files of up to 300 KB: Python, HTML, translations, JavaScript, CSS and images.
DEFAULT_SOURCE = Path(admin.__file__).parent

#: Maximum number of files in a delivery.
BATCH = 25


@dataclass(frozen=True)
class Sample:
    """A file on this machine, and the filename to deliver it with."""

    path: Path
    filename: str


@dataclass
class Samples:
    """The files of a folder, sorted by path, and the reasons why others are left out."""

    source: Path
    files: list[Sample] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def find(source: Path, *, without: Path) -> Samples:
    """Return the files below ``source``, except hidden files, caches and data of demos.

    Raises NotADirectoryError if it is not a folder, FileNotFoundError if it has no files,
    ValueError if it is in the folder ``without``.
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
            samples.skipped.append(f"{str(path)!r} is not a readable file.")
            continue
        try:
            samples.files.append(Sample(path, _filename(path.relative_to(source))))
        except InvalidFilename as exception:
            samples.skipped.append(str(exception))
    if not samples.files:
        raise FileNotFoundError(f"'{source}' has no files to deliver: name another folder.")
    return samples


def _paths(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not _is_hidden(name) and not Path(parent, name, MARK).is_file()
        )
        yield from (Path(parent, name) for name in sorted(names) if not _is_hidden(name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"


def _filename(relative: Path) -> str:
    # Deliveries have no folders, so the filename contains the end of the path.
    return validate_filename("-".join(relative.parts)[-FILENAME_MAX_LENGTH:])


def batches(samples: Iterable[Sample], size: int = BATCH) -> Iterator[list[Sample]]:
    """Yield batches of samples with unique filenames, one for each delivery."""
    batch: dict[str, Sample] = {}
    for sample in samples:
        if len(batch) == size or sample.filename in batch:
            yield list(batch.values())
            batch = {}
        batch[sample.filename] = sample
    if batch:
        yield list(batch.values())
