"""Recognise transactions of the caller, and open durable ones."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from django.db import connections, transaction

#: Values of SQLite's ``PRAGMA synchronous`` (https://sqlite.org/pragma.html#pragma_synchronous).
_SQLITE_FULL = 2


def has_transaction(using: str) -> bool:
    """Return whether a transaction is open, so that writes may be rolled back."""
    connection = connections[using]
    return connection.in_atomic_block or not connection.get_autocommit()


def is_in_test_case(using: str) -> bool:
    """Return whether Django's TestCase has a transaction open, which is never committed."""
    return any(_is_of_test_case(block) for block in connections[using].atomic_blocks)


def is_in_transaction(using: str) -> bool:
    """Return whether the caller has a transaction open, not counting those of TestCase."""
    blocks = connections[using].atomic_blocks
    return has_transaction(using) and not (blocks and all(map(_is_of_test_case, blocks)))


def _is_of_test_case(block: transaction.Atomic) -> bool:
    return bool(getattr(block, "_from_testcase", False))


def reads_a_snapshot(using: str) -> bool:
    """Return whether the caller's transaction does not see commits after its first query.

    This is so at PostgreSQL's REPEATABLE READ and SERIALIZABLE. On SQLite such a transaction
    cannot write.
    """
    connection = connections[using]
    if connection.vendor != "postgresql" or not is_in_transaction(using):
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_isolation')")
        (level,) = cursor.fetchone()
    return bool(level != "read committed")


def around_statement(using: str) -> AbstractContextManager[Any]:
    """Return the block of one statement, which is not in a transaction unless it needs one.

    It needs a savepoint in a transaction of the caller. An isolation level in ``OPTIONS`` is that
    of transactions; a statement on its own would have the server's.
    """
    if has_transaction(using) or "isolation_level" in connections[using].settings_dict["OPTIONS"]:
        return transaction.atomic(using=using)
    return nullcontext()


def refuse_in_transaction(using: str, subject: str) -> None:
    """Raise RuntimeError if the caller has a transaction open."""
    if is_in_transaction(using):
        raise RuntimeError(
            f"{subject} cannot run in a transaction of database {using!r}: a rollback would bring "
            "back rows whose files are removed. Call it after COMMIT, for example with "
            "transaction.on_commit()."
        )


@contextmanager
def durable_transaction(using: str) -> Iterator[None]:
    """Run the block in a transaction whose COMMIT survives a crash of the database.

    All earlier commits survive it, too. Raises RuntimeError in a transaction of the caller.
    """
    connection = connections[using]
    with _synchronous_sqlite(connection), transaction.atomic(using=using, durable=True):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('synchronous_commit', 'on', true) "
                    "WHERE current_setting('synchronous_commit') = 'off'"
                )
        yield


@contextmanager
def _synchronous_sqlite(connection: Any) -> Iterator[None]:
    # SQLite does not allow the change within a transaction, such as that of a TestCase.
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        yield
        return
    with connection.cursor() as cursor:
        (before,) = cursor.execute("PRAGMA synchronous").fetchone()
        if before >= _SQLITE_FULL:
            yield
            return
        cursor.execute(f"PRAGMA synchronous = {_SQLITE_FULL}")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA synchronous = {before}")
