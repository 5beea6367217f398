"""Operations to run on a delivery while the database fails, and checks of their result."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from django.core.files.base import ContentFile
from django.db import DEFAULT_DB_ALIAS, DatabaseError
from django.test import override_settings

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import DeliveryFinished
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for

from . import database_state as state

NEW = b"the second content"
ORPHAN = "orphans/orphan.txt"


class Operation(NamedTuple):
    """An operation on a delivery with the files ``0.txt`` and ``1.txt``.

    ``act`` can be repeated until ``done`` returns True. ``prepare`` runs first, without failures.
    ``days`` is the retention.
    """

    act: Callable[[Any], object]
    done: Callable[[Any], bool]
    prepare: Callable[[Any], object] = lambda delivery: None
    days: float = 30

    @property
    def name(self) -> str:
        return f"{self.act.__name__}-{self.days}"

    def prepared(self) -> Any:
        """Return a new delivery that the operation can be run on."""
        delivery = state.deliveries(1, files=2)[0]
        self.prepare(delivery)
        return delivery

    def run(self, delivery: Any) -> DatabaseError | None:
        """Run the operation; return the database error that it raised, or None."""
        with override_settings(DELIVERY_STORE_RETENTION_DAYS=self.days):
            try:
                self.act(delivery)
            except DatabaseError as error:
                return error
        return None

    def check(self, pk: int, error: DatabaseError | None) -> list[str]:
        """Return the faults once the database works again, and those after a second try.

        ``error`` is the error that the caller got, or None.
        """
        faults = state.faults()
        current = self._current(pk)
        if error is None and not self.done(current):
            faults.append("it returned without an error, but is not done")
        # Once the grace time has passed, an abandoned row does not block a second try.
        FileMeta.objects.filter(content__isnull=True).update(created=state.LONG_AGO)
        with suppress(FileExistsError, DeliveryFinished):  # it was done despite the error
            again = self.run(current) if current.pk else None
            if again is not None:
                faults.append(f"the second try fails: {again!r}")
        if not self.done(self._current(pk)):
            faults.append("the second try did nothing")
        return [f"{self.name}: {fault}" for fault in faults + state.faults()]

    def _current(self, pk: int) -> Any:
        """Return the delivery from the database, or an unsaved one if it was deleted."""
        return Delivery.objects.filter(pk=pk).first() or Delivery()


def clear() -> None:
    """Remove all rows and files that operations have left."""
    rows: list[Any] = [FileMeta, Delivery, AssignmentGroup, Tombstone]
    for model in rows:
        model.objects.all()._raw_delete(DEFAULT_DB_ALIAS)  # without signals
    for name in state.names():
        store_for(FileMeta).delete(name)


def _file(delivery: Any, filename: str = "0.txt") -> Any:
    return delivery.files.filter(filename=filename).first()


def _stored(delivery: Any, *filenames: str) -> bool:
    rows = [_file(delivery, filename) for filename in filenames]
    return all(row is not None and state.stored(row) == NEW for row in rows)


def add(delivery: Any) -> None:
    delivery.add_file("late.txt", NEW)


def add_many(delivery: Any) -> None:
    delivery.add_files({"late.txt": NEW, "later.txt": NEW})


def abandon_row(delivery: Any) -> None:
    FileMeta.objects.create(delivery=delivery, filename="late.txt", created=state.LONG_AGO)


def replace(delivery: Any) -> None:
    row = _file(delivery)
    row.content = ContentFile(NEW, name="again.txt")
    row.save()


def clear_content(delivery: Any) -> None:
    _file(delivery).content.delete()


def delete(delivery: Any) -> None:
    row = _file(delivery)
    if row is not None:
        row.delete()


def delete_delivery(delivery: Any) -> None:
    delivery.delete()


def finish(delivery: Any) -> None:
    delivery.finish()


def copy(delivery: Any) -> None:
    delivery.copy(delivery.assignment_group)


def save_orphan(delivery: Any) -> None:
    store_for(FileMeta).save(ORPHAN, ContentFile(NEW))


def adopt(delivery: Any) -> None:
    FileMeta.objects.adopt(ORPHAN, delivery=delivery, filename="late.txt")


def _has_late(delivery: Any) -> bool:
    return _stored(delivery, "late.txt")


def _is_gone(delivery: Any) -> bool:
    return _file(delivery) is None


OPERATIONS = [
    Operation(add, _has_late),
    Operation(add_many, lambda delivery: _stored(delivery, "late.txt", "later.txt")),
    Operation(add, _has_late, abandon_row),
    Operation(finish, lambda delivery: bool(delivery.successful)),
    Operation(copy, lambda delivery: delivery.copies.filter(successful=True).exists(), finish),
    Operation(adopt, _has_late, save_orphan),
    *(
        operation._replace(days=days)
        for days in (30, 0)
        for operation in (
            Operation(replace, lambda delivery: _stored(delivery, "0.txt")),
            Operation(clear_content, lambda delivery: not _file(delivery).content),
            Operation(delete, _is_gone),
            Operation(delete_delivery, lambda delivery: delivery.pk is None),
        )
    ),
]
