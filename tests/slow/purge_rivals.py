"""Acts of another process on deleted files while a purge removes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from django.core.files.base import ContentFile

from devilry_storage.deletion import purge
from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore
from devilry_storage.storages.tree import Tree
from tests.harness.purging import past_due

from . import database_state as state

NEW = b"the second content"
assert len(NEW) == len(state.CONTENT), "a purge would notice another size"

REFUSALS = ("NotRestorable", "FileExistsError")
"""Errors that a rival may get: the name is buried, or another process was faster."""


class Scene(NamedTuple):
    """Two deleted files that are due, of a delivery with three files.

    If ``cleared``, their rows still exist, without content.
    """

    files: dict[int, str]
    """Names by row ids."""
    delivery: Any
    cleared: bool

    @classmethod
    def prepared(cls, *, cleared: bool) -> Scene:
        delivery = state.deliveries(1, files=3)[0]
        rows = list(delivery.files.order_by("pk"))[:2]
        files = {row.pk: row.content.name for row in rows}
        for row in rows:
            if cleared:
                row.content.delete()
            else:
                row.delete()
        past_due()
        return cls(files, delivery, cleared)


Act = Callable[[Scene, int], bytes]
"""Acts on one of the files, given the row's id, and returns the bytes that it should have."""


class Done(NamedTuple):
    """The result of a rival: the bytes that it stored or restored, by row ids, and the errors."""

    stored: dict[int, bytes]
    errors: list[str]


def act_on_each(acts: tuple[Act, ...], scene: Scene) -> Done:
    """Perform each act on each file, and return the results."""
    done = Done({}, [])
    for act in acts:
        for pk in scene.files:
            try:
                if data := act(scene, pk):
                    done.stored[pk] = data
            # Every error is a finding, which the parent reports.
            except Exception as problem:  # noqa: BLE001
                done.errors.append(repr(problem))
    return done


def restore_file(scene: Scene, pk: int) -> bytes:
    restore(Tombstone.objects.get(name=scene.files[pk]))
    return state.CONTENT


def adopt_file(scene: Scene, pk: int) -> bytes:
    FileMeta.objects.adopt(scene.files[pk], delivery=scene.delivery, filename=f"{pk}.adopted")
    raise AssertionError("the name of a deleted file was adopted")


def store_again(scene: Scene, pk: int) -> bytes:
    """Store new bytes under the row's id, as if the name had been looked up before the delete."""
    if FileMeta.objects.filter(pk=pk, content__isnull=False).exists():
        return b""  # it was restored
    with looked_up_early(scene.files[pk]):
        if scene.cleared:
            with store_for(FileMeta).write_open(FileMeta.objects.get(pk=pk)) as writer:
                writer.write(NEW)
        else:
            delivery = Delivery.objects.get(pk=scene.delivery.pk)
            row = FileMeta(pk=pk, delivery=delivery, filename=f"{pk}.txt")
            row.content = ContentFile(NEW, name="again.txt")
            row.save()
    return NEW


@contextmanager
def looked_up_early(name: str) -> Iterator[None]:
    """Report a name as free at the first lookup, as it was before the row was deleted."""
    is_buried, pending = FileMeta.is_buried, [name]

    def is_buried_later(row: Any, candidate: str, using: str | None = None) -> bool:
        if candidate in pending:
            pending.remove(candidate)
            return False
        return is_buried(row, candidate, using)

    with patch.object(FileMeta, "is_buried", is_buried_later):
        yield


def purge_again(scene: Scene, pk: int) -> bytes:
    list(purge())
    return b""


def fail_to_purge(scene: Scene, pk: int) -> bytes:
    """Purge while the store cannot remove files."""

    def fail(*args: Any) -> None:
        raise OSError("the disk fails")

    with patch.object(Tree, "_unlink", fail):
        list(purge())
    return b""


def faults_after(done: Done) -> list[str]:
    """Return the faults once all processes have ended, and those after one more purge."""
    _reopen_removals()
    faults = [*state.faults(), *_unexpected(done), *_lost(done)]
    past_due()
    faults += [f"the next purge: {event}" for event in purge() if event.result != "removed"]
    faults += [f"{tombstone} is left" for tombstone in state.left()]
    faults += [*state.faults(), *_lost(done)]
    return faults


def _reopen_removals() -> None:
    """Reopen removals whose names have bytes, as an integrity check does.

    The bytes come from a writer that had to use an alternative name.
    """
    done = Tombstone.objects.filter(done__isnull=False, name__in=state.names())
    done.update(done=None)


def _unexpected(done: Done) -> Iterator[str]:
    for error in done.errors:
        if error.partition("(")[0] not in REFUSALS:
            yield f"a rival fails: {error}"


def _lost(done: Done) -> Iterator[str]:
    for pk, data in done.stored.items():
        row = FileMeta.objects.filter(pk=pk).first()
        if row is None or state.stored(row) != data:
            yield f"row {pk} is missing or does not have the bytes that were stored"
