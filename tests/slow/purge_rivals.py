"""Deleted files that are due, and acts of another process on them while they are purged."""

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
from tests.harness.purging import past_due

from . import database_state as state

NEW = b"new ones, as many!"
assert len(NEW) == len(state.CONTENT), "a purge would see that they are not the same bytes"

REFUSALS = ("NotRestorable", "FileExistsError")
"""Errors that a rival may get: the name is buried, or another process was first."""


class Scene(NamedTuple):
    """Two deleted files of a delivery that has a third one, due to be purged.

    ``cleared``: their rows are there, without content.
    """

    files: dict[int, str]
    """Names by the ids of the rows."""
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
"""Does something with one of the files, by its id, and returns the bytes that it then has."""


class Done(NamedTuple):
    """The result of a rival: the bytes that it stored or restored, by ids of rows, and errors."""

    stored: dict[int, bytes]
    errors: list[str]


def act_on_each(acts: tuple[Act, ...], scene: Scene) -> Done:
    """Do one act after the other with each file, and return the results."""
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
    """Store new bytes under the id; the name is looked up as if it was not buried yet."""
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
    """Let a name be free when it is first looked up, as before the row was deleted."""
    is_buried, early = FileMeta.is_buried, [name]

    def is_buried_later(row: Any, asked: str, using: str | None = None) -> bool:
        if asked in early:
            early.remove(asked)
            return False
        return is_buried(row, asked, using)

    with patch.object(FileMeta, "is_buried", is_buried_later):
        yield


def purge_again(scene: Scene, pk: int) -> bytes:
    list(purge())
    return b""


def fail_to_purge(scene: Scene, pk: int) -> bytes:
    """Purge while nothing can be removed from the store."""

    def fail(*args: Any) -> None:
        raise OSError("the disk fails")

    with patch.object(type(store_for(FileMeta)), "_delete_of_size", fail):
        list(purge())
    return b""


def faults_after(done: Done) -> list[str]:
    """Return the faults once all have ended, and those after one more purge."""
    _reopen_removals()
    faults = [*state.faults(), *_unexpected(done), *_lost(done)]
    past_due()
    faults += [f"the next purge: {event}" for event in purge() if event.result != "removed"]
    faults += [f"{tombstone} is left" for tombstone in state.left()]
    faults += [*state.faults(), *_lost(done)]
    return faults


def _reopen_removals() -> None:
    """Open removals again whose names have bytes, as a check of the store does.

    The bytes are of a writer that had to take another name then.
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
            yield f"row {pk} is not there with the bytes that were stored"
