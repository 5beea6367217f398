"""Find the examples of the manual and run them in order.

``.. code-block:: python``
    The block is run in one namespace for the whole page. After a comment with a path
    (``# mysite/urls.py``) the lines belong to that file of the project.
``.. code-block:: pycon``
    The block is run in the same namespace and must print the shown output.
``.. code-block:: console``
    Lines after ``$`` are commands; the other lines are part of their output.

As a script this module runs the blocks in a JSON file, in the project in the current folder. Then
it needs only Django.
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
_PATH = re.compile(r"^# (?P<path>[\w/.-]+\.(?:py|ini))\n", re.MULTILINE)


class Block(NamedTuple):
    """An example: language, position in the manual, text, and file of the project, if any."""

    language: str
    where: str
    text: str
    path: str = ""


def pages() -> list[Path]:
    """Return every page of the manual, and the README."""
    return [README, *sorted(DOCS.glob("*.rst"))]


def blocks(page: Path) -> list[Block]:
    """Return the examples of a page in order; an example of several files is split by file."""
    return list(_blocks(page))


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8") + "\n"
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("body")) + 1
        where = f"{page.name}:{line}"
        body = textwrap.dedent(match["body"]).strip("\n") + "\n"
        if match["language"] == "python":
            yield from _by_path(where, body)
        else:
            yield Block(match["language"], where, body)


def _by_path(where: str, body: str) -> Iterator[Block]:
    before, *rest = _PATH.split(body)
    if before.strip():
        yield Block("python", where, before)
    for path, text in zip(rest[::2], rest[1::2], strict=True):
        # A comment such as "# in a view" ends the file as well.
        inside, *after = re.split(r"^(?=# in )", text, flags=re.MULTILINE)
        yield Block("python", where, inside, path)
        for part in after:
            yield Block("python", where, part)


def run(given: Iterable[Block], namespace: dict[str, Any]) -> None:
    """Run blocks in one namespace; raise AssertionError if a session prints something else."""
    for block in given:
        if block.language == "pycon":
            _run_session(block, namespace)
        else:
            exec(compile(block.text, block.where, "exec"), namespace)


def _run_session(block: Block, namespace: dict[str, Any]) -> None:
    session = doctest.DocTestParser().get_doctest(block.text, {}, block.where, block.where, 0)
    session.globs = namespace
    output: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(session, out=output.append, clear_globs=False)
    assert not runner.failures, "".join(output)


def main(path: str) -> None:
    """Run the blocks in a JSON file with the settings mysite.settings."""
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    sys.path[0] = os.getcwd()
    django.setup()
    namespace: dict[str, Any] = {"__name__": "manual"}
    run([Block(*block) for block in json.loads(Path(path).read_text())], namespace)


if __name__ == "__main__":
    main(sys.argv[1])
