"""How proofs report: their lines reach the terminal, from workers and children too."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import proofs


@pytest.fixture(autouse=True)
def own_collector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep these lines out of the run's own."""
    monkeypatch.setenv(proofs.FILE, "")
    proofs.collect_in(tmp_path / "proofs")


def test_report_is_collected_in_the_form_that_ci_reads() -> None:
    """One line a proof, in the words that the judge of CI looks for."""
    proofs.report("sigkill", tried=1000, hit=312, bad=0)
    proofs.report("power-cut", tried=30, hit=30, bad=1)
    proofs.say("black hole: 20 s at most")
    assert proofs.collected() == [
        "proof sigkill: tried 1000, hit 312, bad 0",
        "proof power-cut: tried 30, hit 30, bad 1",
        "black hole: 20 s at most",
    ]


def test_report_without_a_run_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A harness that is run by hand says its line at once."""
    monkeypatch.delenv(proofs.FILE)
    proofs.report("sigkill", tried=1, hit=1, bad=0)
    assert capsys.readouterr().out == "proof sigkill: tried 1, hit 1, bad 0\n"


@pytest.mark.parametrize(("ci", "expected"), [("1", 1000), ("", 50)])
def test_count_is_full_in_ci_alone(
    monkeypatch: pytest.MonkeyPatch, ci: str, expected: int
) -> None:
    """Nobody waits for a thousand kills but CI."""
    monkeypatch.setenv("DEVILRY_STORAGE_CI", ci)
    assert proofs.count(1000, quick=50) == expected
