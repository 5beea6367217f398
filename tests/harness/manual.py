"""The examples of the manual: finding them, and running them in order.

What is written in a block says what is done with it:

``.. code-block:: python``
    is run, in one namespace for the whole page. A comment that is a path (``# mysite/urls.py``)
    says that the lines below it belong into that file of the project.
``.. code-block:: pycon``
    is run in the same namespace, and must print what it shows.
``.. code-block:: console``
    lines after ``$`` are commands, the others are a part of what they print.

Run as a script it runs the blocks of a JSON file in the project in the current folder; that needs
nothing but Django.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.rst"

_BLOCK = re.compile(
    r"^(?P<indent> *)\.\. code-block:: (?P<language>\w+)\n"
    r"(?P<options>(?:(?P=indent) +:.*\n)*)"
    r"(?P<body>(?:(?:(?P=indent) +.*)?\n)+)",
    re.MULTILINE,
)
_PLACE = re.compile(r"^# (?P<path>[\w/.-]+\.(?:py|ini))\n", re.MULTILINE)


class Block(NamedTuple):
    """An example: what it is written in, where it stands, its text, the file it belongs into."""

    language: str
    where: str
    text: str
    path: str = ""


def pages() -> list[Path]:
    """Return every page of the manual, and the README."""
    return [README, *sorted(DOCS.glob("*.rst"))]


def blocks(page: Path) -> list[Block]:
    """Return the examples of a page in order; one for several files is one for each."""
    return list(_blocks(page))


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8") + "\n"
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("body")) + 1
        where = f"{page.name}:{line}"
        body = textwrap.dedent(match["body"]).strip("\n") + "\n"
        if match["language"] == "python":
            yield from _by_place(where, body)
        else:
            yield Block(match["language"], where, body)


def _by_place(where: str, body: str) -> Iterator[Block]:
    before, *rest = _PLACE.split(body)
    if before.strip():
        yield Block("python", where, before)
    for path, text in zip(rest[::2], rest[1::2], strict=True):
        # A new comment of that form ends the file: "# in a view", say, is no path.
        inside, *after = re.split(r"^(?=# in )", text, flags=re.MULTILINE)
        yield Block("python", where, inside, path)
        for each in after:
            yield Block("python", where, each)


def run(given: Iterable[Block], namespace: dict[str, Any]) -> None:
    """Run blocks of python and pycon in one namespace; AssertionError for an other result."""
    for block in given:
        if block.language == "pycon":
            _run_session(block, namespace)
        else:
            exec(compile(block.text, block.where, "exec"), namespace)


def _run_session(block: Block, namespace: dict[str, Any]) -> None:
    session = doctest.DocTestParser().get_doctest(block.text, {}, block.where, block.where, 0)
    session.globs = namespace
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(session, out=said.append, clear_globs=False)
    assert not runner.failures, "".join(said)


def main(path: str) -> None:
    """Run the blocks of a JSON file in the project whose settings are mysite.settings."""
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    sys.path[0] = os.getcwd()
    django.setup()
    namespace: dict[str, Any] = {"__name__": "manual"}
    run([Block(*each) for each in json.loads(Path(path).read_text())], namespace)


if __name__ == "__main__":
    main(sys.argv[1])
