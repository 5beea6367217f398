"""Whoever meets on the same rows: no row without its bytes, nothing live removed, no number twice.

A hit is a race in which the two sides overlapped in time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.db import models, transaction
from django.db.models import F
from django.utils import timezone

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import Tombstone
from devilry_storage.purge import purge
from devilry_storage.store import store_for
from tests.proofs import count, report

from . import database_state as state
from .database_racing import Runs, Side, error, met, race_on_rows, unexpected
from .racing import Act

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

RACES = 60
QUICK = 12

LEFT, RIGHT = b"the left side's", b"the right side's bytes"


def judge(name: str, runs: Runs, bad: list[str], *, hits: float = 0.3) -> None:
    """Report the races and fail if one broke the promise, or if too few of them met."""
    report(name, tried=len(runs), hit=met(runs), bad=len(bad))
    assert bad == []
    assert met(runs) >= hits * len(runs)


# -- finish against add_file --


def finishing(deliveries: list[Any]) -> Side:
    """Finish the delivery; the value is the ids of the files that finish() looked at."""

    def prepare(number: int) -> Act:
        delivery = Delivery.objects.get(pk=deliveries[number].pk)
        seen: list[Any] = []

        def act() -> list[Any]:
            with patch("devilry_storage.models.delivery._fault", noting(seen)):
                delivery.finish()
            return seen

        return act

    return prepare


def noting(seen: list[Any]) -> Callable[..., str]:
    from devilry_storage.models.delivery import _fault as judge_row

    def note(row: Any, *args: Any) -> str:
        seen.append(row.pk)
        return judge_row(row, *args)

    return note


def adding(deliveries: list[Any], filename: str = "late.txt", data: bytes = RIGHT) -> Side:
    """Add a file to the delivery."""

    def prepare(number: int) -> Act:
        delivery = Delivery.objects.get(pk=deliveries[number].pk)
        return lambda: delivery.add_file(filename, data).pk

    return prepare


def adding_many(deliveries: list[Any]) -> Side:
    """Add some files to the delivery at once."""
    files = {f"late{number}.txt": RIGHT for number in range(3)}

    def prepare(number: int) -> Act:
        delivery = Delivery.objects.get(pk=deliveries[number].pk)
        return lambda: [row.pk for row in delivery.add_files(files)]

    return prepare


def unseen_files(deliveries: list[Any], runs: Runs) -> list[str]:
    """Return a line for each file of a finished delivery that finish() did not look at."""
    lines = []
    for delivery, (finish, _) in zip(deliveries, runs, strict=True):
        if finish.error is None:
            assert isinstance(finish.value, list)
            there = delivery.files.filter(content__isnull=False).exclude(pk__in=finish.value)
            lines += [f"delivery {delivery.pk}: {row.filename}" for row in there]
    return lines


@pytest.mark.parametrize("kind", ["add", "add-files"])
def test_finished_delivery_has_no_file_that_finish_did_not_see(kind: str) -> None:
    """finish() against add_file() or add_files(): one waits for the other, and then refuses."""
    deliveries = state.deliveries(count(RACES, QUICK), files=1)
    late = adding(deliveries) if kind == "add" else adding_many(deliveries)
    runs = race_on_rows(finishing(deliveries), late, len(deliveries))
    bad = unseen_files(deliveries, runs) + state.faults()
    bad += unexpected(runs, "DeliveryFinished", "DeliveryIncomplete")
    judge(f"db-finish-{kind}", runs, bad)


@contextmanager
def no_locks() -> Iterator[None]:
    """Sabotage the row locks into plain reads, as most code has it."""

    def read_row(model: type[models.Model], pk: Any, using: str) -> models.Model | None:
        return model._base_manager.using(using).filter(pk=pk).first()

    with (
        patch("devilry_storage.models.delivery.lock_row", read_row),
        patch("devilry_storage.models.filemeta.lock_row", read_row),
    ):
        yield


@pytest.mark.postgres
def test_the_races_find_a_finish_without_locks() -> None:
    """The same harness is red where nobody locks: files slip into finished deliveries."""
    found: list[str] = []
    for _ in range(5):
        deliveries = state.deliveries(RACES, files=1, owner=state.group())
        with no_locks():
            runs = race_on_rows(finishing(deliveries), adding(deliveries), len(deliveries))
        found += unseen_files(deliveries, runs)
        if found:
            break
    assert found != []
