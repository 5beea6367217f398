"""Reports of proofs reach the terminal and the tables, also from workers and children."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import proof_results, proofs

SIGKILL = "proof sigkill: tried 1000, hit 312, bad 0"


@pytest.fixture(autouse=True)
def own_collector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the lines of these tests out of the run's lines."""
    monkeypatch.setenv(proofs.LINES, "")
    monkeypatch.setenv(proofs.MODE, "full")
    proofs.collect_in(tmp_path / "proofs")


def test_report_is_collected() -> None:
    """Each proof has a line; it may print more lines."""
    proofs.report("sigkill", tried=1000, hit=312, bad=[])
    proofs.say("black hole: 20 s at most")
    assert proofs.collected() == [SIGKILL, "black hole: 20 s at most"]


@pytest.mark.parametrize(
    ("tried", "hit", "bad", "fault"),
    [
        (1000, 312, ["0/1/1005/17 is torn"], "0/1/1005/17 is torn"),
        (999, 312, [], "only 999 attempts, not 1000"),
        (1000, 299, [], "only 299 of 1000 attempts"),
    ],
)
def test_report_fails_for_too_few_attempts_or_hits(
    tried: int, hit: int, bad: list[str], fault: str
) -> None:
    """The line is recorded nevertheless."""
    with pytest.raises(AssertionError, match=fault):
        proofs.report("sigkill", tried=tried, hit=hit, bad=bad)
    assert len(proofs.collected()) == 1


def test_report_demands_half_the_share_of_fewer_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the full counts 3 of 10 must be hits; with fewer attempts 3 of 20 are enough."""
    monkeypatch.setenv(proofs.MODE, "ci")
    proofs.report("sigkill", tried=20, hit=3, bad=[])
    with pytest.raises(AssertionError, match="only 2 of 20 attempts"):
        proofs.report("sigkill", tried=20, hit=2, bad=[])
    with pytest.raises(AssertionError, match="only 0 attempts"):
        proofs.report("sigkill", tried=0, hit=0, bad=[])


def test_report_without_a_run_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A harness outside of pytest prints its line."""
    monkeypatch.delenv(proofs.LINES)
    proofs.report("sigkill", tried=1000, hit=312, bad=[])
    assert capsys.readouterr().out == f"{SIGKILL}\n"


def test_counts_are_full_only_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown mode is an error, because the proofs would run with the wrong counts."""
    assert proofs.count(1000, ci=50) == 1000
    monkeypatch.delenv(proofs.MODE)
    assert proofs.count(1000, ci=50) == 50
    monkeypatch.setenv(proofs.MODE, "Full")
    with pytest.raises(ValueError, match="'Full': set it to 'full' or 'ci'"):
        proofs.count(1000, ci=50)


def test_results_of_several_runs_are_combined(tmp_path: Path) -> None:
    """Figures of rows are kept by database, others are added; other lines are ignored."""
    file = tmp_path / "results"
    races = "proof db-add-add: tried 40, hit 30, bad 0"
    proof_results.append(file, "sqlite", [SIGKILL, "black hole: 20 s at most", races])
    proof_results.append(file, "postgres", [SIGKILL, races])
    assert proof_results.read(file.read_text()) == {
        ("sigkill", ""): (2000, 624, 0),
        ("db-add-add", "SQLite"): (40, 30, 0),
        ("db-add-add", "PostgreSQL"): (40, 30, 0),
    }
    with pytest.raises(ValueError, match="'sqlite proof' does not report"):
        proof_results.read("sqlite proof")


def test_proof_that_reported_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renamed proof is reported; a proof that measures time needs the full counts."""
    names = [name for name in proofs.PROOFS if name != "sigkill"]
    keys = [(name, database) for name in names for database in proof_results.databases(name)]
    found = dict.fromkeys(keys, (1, 1, 0))
    assert proof_results.missing(found) == ["sigkill"]
    del found["db-add-add", "PostgreSQL"]
    assert proof_results.missing(found) == ["sigkill", "db-add-add on PostgreSQL"]
    found["db-add-add", "PostgreSQL"] = (1, 1, 0)
    del found["store-browser-s3", ""]
    assert proof_results.missing(found) == ["sigkill", "store-browser-s3"]
    monkeypatch.setenv(proofs.MODE, "ci")
    assert proof_results.missing(found) == ["sigkill"]


def test_tables_are_not_written_after_a_failed_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proof fails by a broken promise, or by too few attempts with the full counts."""
    found = {("sigkill", ""): (1000, 300, 0), ("power-cut", ""): (29, 30, 0)}
    assert proof_results.failed(found) == ["power-cut"]
    monkeypatch.setenv(proofs.MODE, "ci")
    assert proof_results.failed(found) == []
    assert proof_results.failed({("db-add-add", "SQLite"): (10, 9, 1)}) == ["db-add-add on SQLite"]


def test_tables_of_the_manual_have_every_proof() -> None:
    """They are from a full run of all current proofs, without a broken promise."""
    folder = Path(__file__).parents[2] / "docs" / "proofs"
    rows = [line.split(",") for line in (folder / "results.csv").read_text().splitlines()]
    assert {row[0] for row in rows} == set(proofs.PROOFS)
    assert {row[-1] for row in rows} == {"0"}
    assert "Date,20" in (folder / "run.csv").read_text()
