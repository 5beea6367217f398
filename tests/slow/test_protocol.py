"""Schedules of the protocol's model: no file is lost, unless one of the rules is left out."""

from __future__ import annotations

import pytest

from tests.harness.proofs import count, report
from tests.protocol.operations import OLD, Rule
from tests.protocol.schedules import losses, removals, trace

pytestmark = pytest.mark.slow

REDUNDANT = {Rule.RESTORE_UNCLAIMED}
"""A restore uses a new name, so the removal of a claimed name does not affect it."""
NEEDED = [frozenset({rule}) for rule in Rule if rule not in REDUNDANT]
SCHEDULES = 20_000


def label(left_out: frozenset[Rule]) -> str:
    return "+".join(sorted(rule.name for rule in left_out))


def test_protocol_loses_no_file() -> None:
    """No random schedule loses a file. A hit is a schedule in which an object is removed."""
    tried = count(full=SCHEDULES, ci=400)
    found = [f"{loss.what}:\n{trace(loss.seed)}" for loss in losses(range(tried))]
    report("protocol-model", tried=tried, hit=removals(range(tried)), bad=found)


@pytest.mark.parametrize("left_out", [*NEEDED, OLD], ids=label)
def test_protocol_without_a_rule_loses_a_file(left_out: frozenset[Rule]) -> None:
    loss = next(losses(range(SCHEDULES), left_out), None)
    assert loss is not None
    assert trace(loss.seed, left_out).endswith(loss.what)
