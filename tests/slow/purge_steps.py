"""The steps of a purge at which tests interrupt it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from django.db import connection

from devilry_storage.deletion import purging, removal
from devilry_storage.storages.tree import Tree

BEFORE_CLAIM = "before the claim"
IN_CLAIM = "in the claim"
AFTER_CLAIM = "after the claim"
FIRST_FILE = "before the first file"
SECOND_FILE = "before the second file"
BEFORE_SETTLING = "before settling"
SETTLED = "after settling"

STEPS = (
    BEFORE_CLAIM,
    IN_CLAIM,  # its UPDATE is executed, but not committed
    AFTER_CLAIM,
    FIRST_FILE,
    SECOND_FILE,
    BEFORE_SETTLING,
    SETTLED,
)

_STATEMENTS = {
    'UPDATE "devilry_storage_tombstone" SET "claimed"': IN_CLAIM,
    'UPDATE "devilry_storage_tombstone" SET "done"': SETTLED,
}


@contextmanager
def at_step(step: str, act: Callable[[], object]) -> Iterator[None]:
    """Call ``act`` when a purge in this process first reaches the step."""
    acts = [act]
    claim, settle, unlink = removal.claim, removal._settle, Tree._unlink
    files = iter([FIRST_FILE, SECOND_FILE])

    def reach(here: str) -> None:
        if here == step and acts:
            acts.pop()()

    def claim_and_reach(*args: Any) -> int:
        reach(BEFORE_CLAIM)
        claimed = claim(*args)
        reach(AFTER_CLAIM)
        return claimed

    def settle_and_reach(*args: Any) -> None:
        reach(BEFORE_SETTLING)
        settle(*args)

    def unlink_and_reach(*args: Any) -> None:
        reach(next(files, ""))
        unlink(*args)

    def execute_and_reach(execute: Any, sql: str, *args: Any) -> Any:
        result = execute(sql, *args)
        for statement, here in _STATEMENTS.items():
            if sql.startswith(statement):
                reach(here)
        return result

    with (
        patch.object(purging, "claim", claim_and_reach),
        patch.object(removal, "_settle", settle_and_reach),
        patch.object(Tree, "_unlink", unlink_and_reach),
        connection.execute_wrapper(execute_and_reach),
    ):
        yield
