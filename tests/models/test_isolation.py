"""Concurrent sessions at each isolation level of PostgreSQL.

The result is right, or the transaction fails with a serialization failure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from devilry_storage.deletion import bury_orphan, remove_now
from devilry_storage.deletion.removal import claim
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import DeliveryFinished, NotAnOrphan, NotRestorable
from devilry_storage.fields import StoredName
from devilry_storage.models import Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.restoring import restore

from ..harness.waiting import eventually, waits_for_lock
from ..slow import database_state as state
from ..slow.database_racing import finish, isolation_level
from .test_transactions import in_a_thread

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

NEW = b"new"
FOUND = "found/there.txt"


@pytest.fixture(params=["read committed", "repeatable read", "serializable"])
def level(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[str]:
    """Set each isolation level, as in the settings of a site."""
    with isolation_level(request.param):
        yield request.param


@pytest.fixture
def delivery(transactional_db: None) -> Iterator[Any]:
    """Return an unfinished delivery of two files, beside bytes to adopt; check the end state."""
    store_for(FileMeta).save(FOUND, ContentFile(NEW))
    yield state.deliveries(1, files=2)[0]
    assert state.faults() == []


@contextmanager
def failing(level: str, at_read_committed: type[Exception] | None = None) -> Iterator[None]:
    """Expect a serialization failure, or at READ COMMITTED another error or none."""
    if level != "read committed":
        with pytest.raises(OperationalError) as caught:
            yield
        cause: Any = caught.value.__cause__
        assert cause.sqlstate == "40001"
    elif at_read_committed is not None:
        with pytest.raises(at_read_committed):
            yield
    else:
        yield


# -- Operations of other sessions --


def add_file(delivery: Any) -> None:
    delivery.add_file("late.txt", NEW)


def add_files(delivery: Any) -> None:
    delivery.add_files({"late.txt": NEW, "later.txt": NEW})


def take_over(delivery: Any) -> None:
    FileMeta.objects.create(delivery=delivery, filename="late.txt", created=state.LONG_AGO)
    delivery.add_file("late.txt", NEW)


def create(delivery: Any) -> None:
    content = ContentFile(NEW, "late.txt")
    FileMeta.objects.create(delivery=delivery, filename="late.txt", content=content)


def replace(delivery: Any) -> None:
    row = delivery.files.first()
    row.content = ContentFile(NEW, "again.txt")
    row.save()


def adopt(delivery: Any) -> None:
    FileMeta.objects.adopt(FOUND, delivery=delivery)


def move(delivery: Any) -> None:
    other = Delivery.begin(delivery.assignment_group).add_file("late.txt", NEW)
    other.delivery = delivery
    other.save()


def remove(delivery: Any) -> None:
    delivery.files.first().content.delete()


def delete(delivery: Any) -> None:
    delivery.files.first().delete()


STORING = [add_file, add_files, take_over, create, replace, adopt, move]


def elsewhere(act: Callable[[Any], object], row: Any) -> None:
    """Call ``act`` with the row in another session, and commit."""
    thread = in_a_thread(lambda: act(type(row)._base_manager.get(pk=row.pk)))
    thread.join(30)
    assert not thread.is_alive()


# -- finish() --


@pytest.mark.parametrize("act", [*STORING, delete])
def test_finish_sees_changes_by_other_sessions(
    delivery: Any, level: str, act: Callable[[Any], None]
) -> None:
    """It looks up every stored file, or fails, in a transaction that read before the change."""
    seen: list[Any] = []
    with failing(level), transaction.atomic():
        mine = Delivery.objects.get(pk=delivery.pk)
        elsewhere(act, delivery)
        seen += finish(mine)
    if level != "read committed":
        assert not Delivery.objects.get(pk=delivery.pk).successful
        seen = finish(delivery)
    stored = delivery.files.filter(content__isnull=False).values_list("content", flat=True)
    assert set(seen) == set(stored)
    assert Delivery.objects.get(pk=delivery.pk).number == 1


@pytest.mark.parametrize("act", [*STORING, finish])
def test_finished_delivery_takes_no_file(
    delivery: Any, level: str, act: Callable[[Any], None]
) -> None:
    """In a transaction that has read the unfinished delivery."""
    with failing(level, DeliveryFinished), transaction.atomic():
        mine = Delivery.objects.get(pk=delivery.pk)
        elsewhere(finish, delivery)
        act(mine)
    assert [state.stored(row) for row in delivery.files] == [state.CONTENT, state.CONTENT]
    assert not Tombstone.objects.exists()
    assert Delivery.objects.get(pk=delivery.pk).number == 1


def test_finish_sees_content_removed_by_other_sessions(delivery: Any, level: str) -> None:
    """At READ COMMITTED the row without content is rejected."""
    with failing(level, ValueError), transaction.atomic():
        mine = Delivery.objects.get(pk=delivery.pk)
        elsewhere(remove, delivery)
        finish(mine)
    assert not Delivery.objects.get(pk=delivery.pk).successful


# -- Numbers --


def numbered(group: Any, act: str) -> Callable[[Any], object]:
    """Return a function that takes the next number of the group, by finish() or copy()."""
    if act == "finish":
        unfinished = state.deliveries(1, files=1, owner=group)[0]
        return lambda _: Delivery.objects.get(pk=unfinished.pk).finish()
    source = state.deliveries(1, files=1)[0]
    source.finish()
    return lambda _: Delivery.objects.get(pk=source.pk).copy(group)


@pytest.mark.parametrize("other", ["finish", "copy"])
@pytest.mark.parametrize("act", ["finish", "copy"])
def test_deliveries_of_a_group_get_different_numbers(
    transactional_db: None, level: str, act: str, other: str
) -> None:
    """In a transaction that has read before."""
    group = state.group()
    mine, others = numbered(group, act), numbered(group, other)
    with failing(level), transaction.atomic():
        assert not group.deliveries.filter(number=1).exists()
        elsewhere(others, group)
        mine(group)
    if level != "read committed":
        mine(group)
    numbers = group.deliveries.filter(successful=True).values_list("number", flat=True)
    assert sorted(numbers) == [1, 2]
    assert state.faults() == []


# -- Restoring --


def test_finish_sees_files_restored_by_other_sessions(delivery: Any, level: str) -> None:
    delivery.files.first().delete()
    tombstone = Tombstone.objects.get()
    with failing(level), transaction.atomic():
        mine = Delivery.objects.get(pk=delivery.pk)
        elsewhere(restore, tombstone)
        finish(mine)
    assert Delivery.objects.get(pk=delivery.pk).successful == (level == "read committed")


def test_file_is_not_restored_into_a_finished_delivery(delivery: Any, level: str) -> None:
    """In a transaction that has read the unfinished delivery."""
    delivery.files.first().delete()
    with failing(level, NotRestorable), transaction.atomic():
        tombstone = Tombstone.objects.get()
        elsewhere(finish, delivery)
        restore(tombstone)
    assert delivery.files.count() == 1


# -- Adopted and buried names --


def raw(delivery: Any) -> None:
    """Save a row that names the bytes, as loaddata does."""
    row = FileMeta(pk=7007, delivery=delivery, filename="raw.txt", content=StoredName(FOUND))
    row.size, row.sha256 = len(NEW), hashlib.sha256(NEW).hexdigest()
    row.save_base(raw=True)


def bury() -> None:
    """Bury the bytes as an orphan, whatever their age."""
    with patch("devilry_storage.deletion.orphans._reason_to_keep", return_value=""):
        bury_orphan(FileMeta, FOUND, using="default")


@contextmanager
def waiting(act: Callable[[], object]) -> Iterator[list[Exception]]:
    """Call ``act`` in another session, which waits for this transaction; yield its errors."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            act()
        except (FileExistsError, NotAnOrphan, OperationalError) as exception:
            raised.append(exception)

    with transaction.atomic():
        yield raised
        thread = in_a_thread(run)
        assert eventually(waits_for_lock)
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("act", [adopt, raw])
def test_burying_waits_for_rows_that_name_the_bytes(
    delivery: Any, level: str, act: Callable[[Any], object]
) -> None:
    """After its COMMIT the bytes are not an orphan."""
    with waiting(bury) as raised:
        act(delivery)
    assert len(raised) == 1
    assert not Tombstone.objects.exists()
    assert FileMeta.objects.filter(content=FOUND).count() == 1


@pytest.mark.parametrize("act", [adopt, raw])
def test_row_cannot_name_bytes_that_are_being_buried(
    delivery: Any, level: str, act: Callable[[Any], object]
) -> None:
    """It waits for the tombstone and fails."""

    def act_in_a_transaction() -> None:
        with transaction.atomic():
            act(delivery)

    with waiting(act_in_a_transaction) as raised:
        bury()
    assert len(raised) == 1
    assert Tombstone.objects.get().name == FOUND
    assert not FileMeta.objects.filter(content=FOUND).exists()


def test_only_one_session_claims_a_tombstone(delivery: Any, level: str) -> None:
    """A claim that had to wait reads the tombstone again."""
    delivery.files.first().delete()
    Tombstone.objects.update(due=state.LONG_AGO)
    counts: list[int] = []
    with waiting(lambda: counts.append(claim(FileMeta, Tombstone.objects.due()))) as raised:
        Tombstone.objects.update(claimed=state.LONG_AGO)
    assert (counts, len(raised)) == (([0], 0) if level == "read committed" else ([], 1))
    assert Tombstone.objects.get().claimed == state.LONG_AGO


# -- Levels of single transactions --


@contextmanager
def repeatable_read() -> Iterator[None]:
    """Run a transaction that sets its own level."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def test_level_set_in_the_transaction_is_used(delivery: Any) -> None:
    """Not that of the settings."""

    def add(current: Any) -> None:
        with repeatable_read():
            add_file(current)

    with failing("repeatable read"), repeatable_read():
        mine = Delivery.objects.get(pk=delivery.pk)
        elsewhere(add, delivery)
        finish(mine)


def test_read_committed_sends_no_extra_statement(delivery: Any) -> None:
    """The level is read by a statement that is sent anyway, and that fails at another level."""
    with CaptureQueriesContext(connection) as captured:
        add_file(delivery)
    queries = [query["sql"] for query in captured]
    assert not any(sql.startswith(f'UPDATE "{Delivery._meta.db_table}"') for sql in queries)
    assert len(queries) == 2


def test_other_groups_can_finish_concurrently(delivery: Any, level: str) -> None:
    other = state.deliveries(1, files=1, owner=AssignmentGroup.objects.create(name="other"))[0]
    with transaction.atomic():
        mine = Delivery.objects.get(pk=delivery.pk)
        elsewhere(add_file, other)
        finish(mine)
    assert Delivery.objects.get(pk=delivery.pk).successful


def test_purged_name_is_not_used_again(level: str, delivery: Any) -> None:
    """The id of a row that was deleted since the transaction began is reused."""
    row = delivery.files.first()
    name = row.content.name

    def delete_and_purge() -> None:
        FileMeta.objects.get(pk=row.pk).delete()
        assert [event.result for event in remove_now(Tombstone.objects.all())] == ["removed"]

    with transaction.atomic():
        assert delivery.files.count() == 2
        in_a_thread(delete_and_purge).join()
        again = FileMeta(pk=row.pk, delivery=delivery, filename="again.txt")
        again.content = ContentFile(NEW, "again.txt")
        with failing(level):
            again.save()
    assert name not in state.live_names()
