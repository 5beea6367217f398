"""How proofs report: lines reach the terminal from workers and children too, and tables follow."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import proof_results, proofs

SIGKILL = "proof sigkill: tried 1000, hit 312, bad 0"


@pytest.fixture(autouse=True)
def own_collector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep these lines out of the run's own."""
    monkeypatch.setenv(proofs.LINES, "")
    monkeypatch.setenv(proofs.MODE, "full")
    proofs.collect_in(tmp_path / "proofs")


def test_report_is_collected() -> None:
    """One line for each proof, and what it says besides."""
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
def test_report_fails_where_a_proof_shows_too_little(
    tried: int, hit: int, bad: list[str], fault: str
) -> None:
    """The line is there all the same, for the log."""
    with pytest.raises(AssertionError, match=fault):
        proofs.report("sigkill", tried=tried, hit=hit, bad=bad)
    assert len(proofs.collected()) == 1


def test_report_demands_half_the_share_of_fewer_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """3 of 10 are hits with the full counts, so 3 of 20 are enough with fewer."""
    monkeypatch.setenv(proofs.MODE, "ci")
    proofs.report("sigkill", tried=20, hit=3, bad=[])
    with pytest.raises(AssertionError, match="only 2 of 20 attempts"):
        proofs.report("sigkill", tried=20, hit=2, bad=[])
    with pytest.raises(AssertionError, match="only 0 attempts"):
        proofs.report("sigkill", tried=0, hit=0, bad=[])


def test_report_without_a_run_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A harness that is run by hand prints its line."""
    monkeypatch.delenv(proofs.LINES)
    proofs.report("sigkill", tried=1000, hit=312, bad=[])
    assert capsys.readouterr().out == f"{SIGKILL}\n"


def test_counts_are_full_only_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown mode is an error, as the proofs would run with the wrong counts."""
    assert proofs.count(1000, ci=50) == 1000
    monkeypatch.delenv(proofs.MODE)
    assert proofs.count(1000, ci=50) == 50
    monkeypatch.setenv(proofs.MODE, "Full")
    with pytest.raises(ValueError, match="'Full': set it to 'full' or 'ci'"):
        proofs.count(1000, ci=50)


def test_results_of_several_runs_are_combined(tmp_path: Path) -> None:
    """Proofs of rows are kept by database, others are added up; other lines are left out."""
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
    """A proof that was renamed or not run is noticed; what measures time needs the full counts."""
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


def test_tables_are_not_written_after_a_proof_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A broken promise, or too few attempts where the counts are full."""
    found = {("sigkill", ""): (1000, 300, 0), ("power-cut", ""): (29, 30, 0)}
    assert proof_results.failed(found) == ["power-cut"]
    monkeypatch.setenv(proofs.MODE, "ci")
    assert proof_results.failed(found) == []
    assert proof_results.failed({("db-add-add", "SQLite"): (10, 9, 1)}) == ["db-add-add on SQLite"]


def test_tables_of_the_manual_have_every_proof() -> None:
    """The full run before the last release: all proofs of today, no promise broken."""
    folder = Path(__file__).parents[2] / "docs" / "proofs"
    rows = [line.split(",") for line in (folder / "results.csv").read_text().splitlines()]
    assert {row[0] for row in rows} == set(proofs.PROOFS)
    assert {row[-1] for row in rows} == {"0"}
    assert "Date,20" in (folder / "run.csv").read_text()
