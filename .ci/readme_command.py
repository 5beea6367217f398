"""Print a command of the README, so that CI runs the documented commands.

The README marks each such command with a comment, ``.. ci-command: NAME``. The command is the
first indented line after the comment, and must be the only line of its block.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.rst"


def command(text: str, name: str) -> str:
    """Return the command with this name; raise ValueError unless there is exactly one."""
    _, *found = re.split(rf"^\.\. ci-command: {re.escape(name)}$", text, flags=re.MULTILINE)
    if len(found) != 1:
        raise ValueError(
            f"The README has {len(found)} comments '.. ci-command: {name}': write one, and the "
            "command indented below it."
        )
    block = re.search(r"^[ \t]+\S.*\n(?:[ \t]+\S.*\n)*", found[0] + "\n", flags=re.MULTILINE)
    lines = block[0].splitlines() if block else []
    if len(lines) != 1:
        raise ValueError(f"The README's command {name!r} has {len(lines)} lines: write it in one.")
    return lines[0].strip()


if __name__ == "__main__":
    print(command(README.read_text(encoding="utf-8"), sys.argv[1]))
