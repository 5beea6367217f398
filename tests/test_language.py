"""The project's texts and names use plain words."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from . import language
from .language import ALLOWED, ROOT, WORDS, Allowed, Result


@pytest.fixture(scope="module")
def result() -> Result:
    """The scan of the whole project, which reads every file once."""
    return language.scan(language.read(language.project_files(ROOT), ROOT), ALLOWED)


def test_project_avoids_these_words(result: Result) -> None:
    """``python -m tests.language`` prints the same list."""
    found = "\n".join(map(str, result.findings))
    assert not found, f"{len(result.findings)} findings:\n{found}"


def test_every_allowed_use_exists(result: Result) -> None:
    """An entry without a use would hide the next one in its file."""
    assert result.unused == []


def test_every_allowed_use_has_a_reason() -> None:
    assert [entry for entry in ALLOWED if not entry.reason] == []


def _words(text: str, name: str = "devilry_storage/names.py") -> list[str]:
    return [finding.word for finding in language.scan([(name, text)]).findings]


PLANTED = [
    *("whoever", "somebody", "nobody", "anew", "told", "tells", "lies", "kin", "in vain"),
    *("judge", "judges", "judged", "mend", "mends", "mended", "passed by", "so many"),
    *("is no", "are no", "each one that", "what is to be"),
]


@pytest.mark.parametrize("word", PLANTED)
def test_planted_word_is_found(word: str) -> None:
    assert _words(f"# The name {word} file.\n") == [word]
    assert _words(f"{word.capitalize()} file.") == [word]


def test_each_avoided_word_is_planted() -> None:
    """A new word needs an example that the scan finds."""
    found = {finding.instead for finding in language.scan([("x", ", ".join(PLANTED))]).findings}
    assert found == {avoided.instead for avoided in WORDS}


@pytest.mark.parametrize(
    "text",
    [
        "skin, lieson, belies, amended, retold",
        "It is no longer there; they are no\nlonger there.",
        "# it is no\n# longer there",
        "is not, is none, are not, are now",
        "This is. No file was found.",
        "a no-op is no-op",
    ],
)
def test_similar_text_is_not_found(text: str) -> None:
    assert _words(text) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def _judge_name(told: int) -> None: ...", ["judge", "told"]),
        ("TELLS_ALL = refuse_in_vain", ["tells", "in vain"]),
        ("class TellsNaiveTimes: lies2 = 0", ["tells"]),
        ("assertNobodyWaits()", ["nobody"]),
        ('{% translate "It is no file." %}', ["is no"]),
    ],
)
def test_names_are_split_into_words(text: str, words: list[str]) -> None:
    assert _words(text) == words


@pytest.mark.parametrize(
    "text",
    [
        "This is\nno file.",
        "    # This is\n    # no file.",
        "#: This is\n#: no file.",
        " * This is\n * no file.",
        "// This is\n// no file.",
        '    "This is "\n    f"no file."',
        "    'This is'\n    ' no file.'",
        "This is\u00a0no file.",
    ],
)
def test_phrases_are_found_across_line_breaks(text: str) -> None:
    assert _words(text) == ["is no"]


def test_finding_names_file_line_and_remedy() -> None:
    text = '"""Names."""\n\nFIRST = "a "\n"b"\n# This is\n# no name.\n'
    (finding,) = language.scan([("docs/a.rst", text)]).findings
    assert (finding.path, finding.line, finding.text) == ("docs/a.rst", 5, "# This is")
    assert str(finding) == "docs/a.rst:5: 'is no': write 'is not a' or 'has no': # This is"


TEXT = 'users = ["nobody"]  # or nobody at all\n'


@pytest.mark.parametrize(
    ("files", "phrase", "found"),
    [
        ("tests/*.py", '"nobody"', ["nobody"]),
        ("tests/users.py", "or nobody at all", ["nobody"]),
        ("tests/*.py", "nobody", []),
        ("docs/*", "nobody", ["nobody", "nobody"]),
        ("tests/*.py", "somebody", ["nobody", "nobody"]),
    ],
)
def test_allowed_use_is_one_phrase_in_its_files(files: str, phrase: str, found: list[str]) -> None:
    """Other uses are still found, and an entry that matches none of them is reported."""
    entry = Allowed(files, phrase, "an example")
    result = language.scan([("tests/users.py", TEXT)], [entry])
    assert [finding.word for finding in result.findings] == found
    assert result.unused == ([entry] if len(found) == 2 else [])


def _make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("Nobody.\n")


PROJECT = [".ci/run", ".editorconfig", "README.rst", "docs/index.rst", "tests/users.py"]
OTHERS = [".tox/a.py", ".venv/a.py", "build/a.py", "docs/_build/a.html", "x.egg-info/SOURCES.txt"]


def test_files_without_git_are_those_of_the_project(tmp_path: Path) -> None:
    """An unpacked sdist has no git."""
    _make(tmp_path, *PROJECT, *OTHERS, "docs/a.png", "locale/nb/django.po", "tests/language.py")
    assert language.project_files(tmp_path) == PROJECT


def test_files_with_git_are_the_tracked_ones(tmp_path: Path) -> None:
    """Scratch files do not matter, and neither does a tracked file that was deleted."""
    _make(tmp_path, *PROJECT, "scratch.py", "deleted.py")
    for command in (["init", "-q"], ["add", *PROJECT, "deleted.py"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "deleted.py").unlink()
    assert language.project_files(tmp_path) == PROJECT


def test_command_lists_findings_of_the_given_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _make(tmp_path, "docs/a.rst", "docs/b.rst", "tests/users.py")
    (tmp_path / "docs/b.rst").write_text("No user.\n")
    assert language.main([str(tmp_path / "docs")], tmp_path) == 1
    assert capsys.readouterr().out.startswith("docs/a.rst:1: 'nobody': ")
    assert language.main([str(tmp_path / "docs/b.rst")], tmp_path) == 0
    assert capsys.readouterr().out == ""


def test_command_reports_unused_entries_of_the_whole_project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _make(tmp_path, "tests/users.py")
    (tmp_path / "tests/users.py").write_text("No user.\n")
    assert language.main([], tmp_path) == 1
    assert "unused entry" in capsys.readouterr().out
