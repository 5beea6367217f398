"""Record the queries that code sends, and find out with ``EXPLAIN`` how many rows they read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction


@dataclass
class Queries:
    """The recorded queries, with their parameters."""

    sent: list[tuple[str, Any]] = field(default_factory=list)

    def scans(self, most: int, kinds: tuple[str, ...] = ("SELECT",)) -> list[str]:
        """Return a line for each scan in PostgreSQL's plans that read more than ``most`` rows.

        Rows that a scan discards count, too, and the rows of all loops are added. The queries of
        these kinds are executed again, and rolled back.
        """
        return [
            f"{read} rows by {node['Node Type']} of {_relation(node)}, for {sql}"
            for sql, params in self.sent
            if sql.startswith(kinds)
            for node in _nodes(_explained(sql, params))
            if "Scan" in node["Node Type"] and (read := _rows_read(node)) > most
        ]

    def whole_scans(self, table: str) -> list[str]:
        """Return a line for each query for which SQLite scans the table or one of its indexes."""
        return [
            f"{step} for {sql}"
            for sql, params in self.sent
            if sql.startswith("SELECT")
            for step in _steps(sql, params)
            if f"{step} ".startswith(f"SCAN {table} ")
        ]


@contextmanager
def recorded() -> Iterator[Queries]:
    """Record the queries that are sent in the block."""
    queries = Queries()

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        queries.sent.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield queries


def _explained(sql: str, params: Any) -> dict[str, Any]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
        ((found,),) = cursor.fetchall()
        transaction.set_rollback(True)
    plan: dict[str, Any] = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return plan


def _steps(sql: str, params: Any) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
        return [detail for *_, detail in cursor.fetchall()]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _rows_read(node: dict[str, Any]) -> int:
    discarded = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    once = node["Actual Rows"] + sum(node.get(name, 0) for name in discarded)
    return int(once * node["Actual Loops"])


def _relation(node: dict[str, Any]) -> str:
    return " ".join(node[name] for name in ("Relation Name", "Index Name") if name in node)
