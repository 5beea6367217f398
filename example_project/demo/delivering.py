"""Deliver the sample files, for each group in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta

from .samples import Sample

_CHUNK = 64 * 1024


@dataclass(frozen=True)
class Delivered:
    """A file in the store, and its original on this machine."""

    filemeta: FileMeta
    path: Path


def deliver(
    batches: Iterable[Sequence[Sample]],
    groups: Sequence[AssignmentGroup],
    on_file: Callable[[], object] = lambda: None,
) -> list[Delivered]:
    """Create a finished delivery for each batch, and return all delivered files.

    ``on_file`` is called after a file was read, in the thread that stores it.
    """
    delivered = []
    for batch, group in zip(batches, cycle(groups)):  # cycle() is endless
        delivery = Delivery.begin(group, group.candidates.order_by("pk").first())
        filemetas = delivery.add_files(
            {sample.filename: _chunks(sample.path, on_file) for sample in batch}
        )
        delivery.finish()
        for filemeta, sample in zip(filemetas, batch, strict=True):
            delivered.append(Delivered(filemeta, sample.path))
    return delivered


def _chunks(path: Path, at_end: Callable[[], object]) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
    at_end()
