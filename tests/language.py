"""Find words that this project avoids in its texts and names.

::

    python -m tests.language                   # all tracked files
    python -m tests.language docs README.rst   # some files or folders

The project writes plain English, as Django's manual does. `WORDS` has the words to avoid and what
to write instead. They are found in code, comments, strings, templates and manual, across line
breaks, and in names, which are split at underscores and capitals. The exit code is 1 if a word is
found.

A legitimate use needs an entry in `ALLOWED`, with a reason. An entry that allows nothing is
reported, too.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Avoided(NamedTuple):
    """A word or phrase to avoid, as a regular expression, and what to write instead."""

    pattern: str
    instead: str


class Allowed(NamedTuple):
    """A legitimate use: a phrase that contains an avoided word, in files that match a pattern."""

    files: str
    phrase: str
    reason: str


class Finding(NamedTuple):
    """An avoided word and the line that contains it."""

    path: str
    line: int
    word: str
    text: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word!r}: {self.instead}: {self.text}"


class Result(NamedTuple):
    """The findings of a scan, and the allowed uses that it did not meet."""

    findings: list[Finding]
    unused: list[Allowed]


# A space in a pattern also matches a line break inside a comment, a string or a paragraph.
WORDS = [
    Avoided("whoever", "write 'users who' or 'callers that'"),
    Avoided("somebody", "name the user, process or caller"),
    Avoided("nobody", "write 'no user' or 'no caller'"),
    Avoided("anew", "write 'again'"),
    Avoided("told|tells", "write 'reports', 'returns' or 'shows'"),
    Avoided("lies", "write 'is stored' or 'is in'"),
    Avoided("judge[sd]?", "write 'validate' or 'check'"),
    Avoided("mend(?:s|ed)?", "write 'fix' or 'repair'"),
    Avoided("kin", "write 'related'"),
    Avoided("in vain", "write 'without success', or name the failure"),
    Avoided("passed by", "write 'skipped'"),
    Avoided("so many", "write 'the maximum number of' or 'this number of'"),
    Avoided(r"(?<!there\s)is no(?! longer)", "write 'is not a' or 'has no'"),
    Avoided(r"(?<!there\s)are no(?! longer)", "write 'are not' or 'have no'"),
    Avoided("each one that", "write 'every' and a noun"),
    Avoided("what is to be", "write a noun, as in 'the files to remove'"),
]

ALLOWED = [Allowed("tests/harness/postgres.py", '"nobody"', "a user of the operating system")]

NOT_SCANNED = [
    "tests/language.py",  # the words themselves,
    "tests/test_language.py",  # and texts that contain them
    "*.po",  # translations: their messages are scanned where the code has them
]

_NOT_TEXT = frozenset({".gif", ".gz", ".ico", ".jpg", ".mo", ".pdf", ".png", ".pyc", ".sqlite3"})

# Folders that do not belong to the project, for a tree without git.
_FOREIGN = re.compile(
    r"\.(?!ci$|github$).*|__pycache__|.*\.egg-info|_build|build|dist|node_modules|var|venv"
)

# Between two words: blanks or a line break, after which a comment may continue.
_GAP = r"(?: +\n?|\n)[ #:*/]*"

_BLANKS = str.maketrans({"_": " ", "\t": " ", "\N{NO-BREAK SPACE}": " "})
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ADJACENT_STRINGS = re.compile(r"""(["']) *\n *[bfru]{0,2}\1""")


def _spaced(pattern: str) -> str:
    return pattern.replace(" ", _GAP)


# The group of each alternative gives the index in WORDS.
_AVOIDED = re.compile(
    rf"\b(?:{'|'.join(f'({_spaced(avoided.pattern)})' for avoided in WORDS)})\b(?!-)",
    re.IGNORECASE,
)


def project_files(root: Path) -> list[str]:
    """Return the names of the files to scan, relative to the root.

    They are the tracked files of a git checkout. Without git, as in an unpacked sdist, they are
    all files outside of folders such as ``.tox`` and ``build``.
    """
    names = _tracked(root) or _walk(root, root)
    return sorted(name for name in names if _is_scanned(name) and (root / name).is_file())


def _tracked(root: Path) -> list[str]:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [name for name in listed.decode().split("\0") if name]


def _walk(folder: Path, root: Path) -> Iterator[str]:
    for path in folder.iterdir():
        if not path.is_dir():
            yield path.relative_to(root).as_posix()
        elif not path.is_symlink() and not _FOREIGN.fullmatch(path.name):
            yield from _walk(path, root)


def _is_scanned(name: str) -> bool:
    if Path(name).suffix.lower() in _NOT_TEXT:
        return False
    return not any(fnmatchcase(name, pattern) for pattern in NOT_SCANNED)


def read(names: Iterable[str], root: Path) -> Iterator[tuple[str, str]]:
    """Yield name and content of each file."""
    for name in names:
        yield name, (root / name).read_text(encoding="utf-8", errors="replace")


def scan(texts: Iterable[tuple[str, str]], allowed: Sequence[Allowed] = ()) -> Result:
    """Look for avoided words in texts, given as pairs of a file's name and its content."""
    findings: list[Finding] = []
    used: set[Allowed] = set()
    for name, text in texts:
        plain = _plain(text)
        entries = [entry for entry in allowed if fnmatchcase(name, entry.files)]
        for match in _AVOIDED.finditer(plain):
            allowing = {entry for entry in entries if _allows(entry, plain, match)}
            used |= allowing
            if not allowing:
                findings.append(_finding(name, text, plain, match))
    return Result(findings, [entry for entry in allowed if entry not in used])


def _plain(text: str) -> str:
    """Return a text with the same lines, but with split names and joined adjacent strings."""
    return _ADJACENT_STRINGS.sub("\n", _CAPITAL.sub(" ", text.translate(_BLANKS)))


def _allows(entry: Allowed, plain: str, match: re.Match[str]) -> bool:
    """Return whether the word that was found is part of the entry's phrase."""
    phrase = re.compile(_GAP.join(re.escape(word) for word in _plain(entry.phrase).split()))
    return any(
        found.start() <= match.start() and match.end() <= found.end()
        for found in phrase.finditer(plain)
    )


def _finding(name: str, text: str, plain: str, match: re.Match[str]) -> Finding:
    assert match.lastindex is not None
    line = plain.count("\n", 0, match.start())
    word = re.sub(_GAP, " ", match[0]).lower()
    instead = WORDS[match.lastindex - 1].instead
    return Finding(name, line + 1, word, text.split("\n")[line].strip(), instead)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Print the findings and return the exit code."""
    parser = argparse.ArgumentParser(description="Find words that this project avoids.")
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="default: all files")
    paths = [path.resolve() for path in parser.parse_args(arguments).paths]
    names = project_files(root)
    if paths:
        names = [name for name in names if any(map((root / name).is_relative_to, paths))]
    findings, unused = scan(read(names, root), ALLOWED)
    lines = [str(finding) for finding in findings]
    if not paths:
        lines += [f"tests/language.py: unused entry: {entry}" for entry in unused]
    for line in lines:
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
