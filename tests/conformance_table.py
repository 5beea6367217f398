"""The manual's page of the conformance suite: ``python -m tests.conformance_table`` writes it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "conformance.rst"

TITLES = {
    "Promise 1": "1. Whole or absent",
    "Promise 2": "2. Never overwritten",
    "Promise 3": "3. Durable when acknowledged",
    "Promise 4": "4. Never outside",
    "Promise 5": "5. Same answers everywhere",
    "Promise 6": "6. Little memory",
    "Interface": "The interface of delivery stores",
    "Django": "Django's contract of a storage",
}

FLAGS = {
    "atomic_create": "Of any number of writers of one name exactly one gets it.",
    "whole_or_absent": (
        "Whoever looks at a name sees a file with all of its bytes, or none, whatever happens to "
        "its writer and whoever else has it open."
    ),
    "durable": "What was acknowledged survives a power cut.",
    "confined": "Nothing that somebody planted among the store's files leads out of it.",
    "bounded_memory": "A large file is never held in memory, neither to store nor to read it.",
    "atomic_copy": "A copy is created as atomically as a saved file.",
}

INTRODUCTION = """\
.. This page is written by ``python -m tests.conformance_table``: change that, not this.

The conformance suite
=====================

``devilry_storage.testing.TestDeliveryStoreMixin`` holds {count} cases, each a promise that a
delivery store gives. They run under ``unittest`` and pytest, and a store of your own is tested
in five lines:

.. literalinclude:: ../tests/conformance/test_conformance.py
   :pyobject: TestFsDeliveryStore

``make_store()`` is called for every case and returns an empty store; ``self.tmp_path`` is a
temporary folder. Cases that plant something in the store's own folder, or kill a process that
writes to it, find the folder by the store's ``path()``; a store whose files lie on this machine
under other paths says where by overriding ``disk_root()``, and one that has no folder is not
asked those cases. ``patience`` is the number of seconds after which a call is said to hang.

A store says by its flags what it can do. True demands the cases that name the flag, and so does
None, which is what a store begins with; False skips them, and only them.

{flags}

``FsDeliveryStore`` and ``FsHierDeliveryStore`` pass every case. ``MemoryDeliveryStore`` passes
those that need no disk, and declares ``durable`` and ``bounded_memory`` False. ``S3DeliveryStore``
passes all that need no disk: on SeaweedFS with every flag True, on moto's server with the option
``server_side_copy=False``.

The last three columns show what comes of the same cases on Django's own storages, and on
django-storages' ``S3Storage(file_overwrite=False)`` over SeaweedFS, with ``DeliveryStoreMixin``
and no flag declared: the mixin brings the interface and the checks of names, the rest is theirs.
It is the same on Django 4.2, 5.2 and 6.1. A dash stands for a case that does not apply.
"""

WORDS = {"passed": "passes", "failed": "**fails**", "skipped": "–"}


def page(found: dict[str, dict[str, str]]) -> str:
    """Return the page for these outcomes: {peer: {case: outcome}}."""
    from .harness import conformance

    cases = conformance.names_of_cases()
    flag_rows = [
        [f"``{flag}``", words, str(sum(flag in conformance.flags_of(case) for case in cases))]
        for flag, words in FLAGS.items()
    ]
    flags = "\n".join(_table("12 34 6", ["Flag", "A store that declares it", "Cases"], flag_rows))
    parts = [INTRODUCTION.format(count=len(cases), flags=flags)]
    for promise, title in TITLES.items():
        rows = []
        for case in cases:
            heading, words = conformance.words_of(case)
            if heading == promise:
                needed = ", ".join(f"``{flag}``" for flag in conformance.flags_of(case))
                rows.append(
                    [_text(words), needed, *(WORDS[each[case]] for each in found.values())]
                )
        failures = [
            f"{peer} fails {sum(row[column] == WORDS['failed'] for row in rows)}"
            for column, peer in enumerate(found, start=2)
        ]
        parts += [
            f"{title}\n{'-' * len(title)}\n",
            f"{len(rows)} cases; {', '.join(failures)}.\n",
            "\n".join(_table("36 14 10 10 10", ["Case", "Flag", *found], rows)) + "\n",
        ]
    return "\n".join(parts)


def _text(words: str) -> str:
    """Return a sentence in which nothing means anything to reStructuredText."""
    if not re.match(r"\w+\(", words):  # save() is not Save()
        words = words[0].upper() + words[1:]
    return re.sub(r"([*`|\\])", r"\\\1", words)


def _table(widths: str, header: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield f"   :widths: {widths}"
    yield ""
    for row in [header, *rows]:
        for cell, mark in zip(row, ["*", *" " * len(row)], strict=False):
            yield f"   {mark} - {cell}".rstrip()


def main() -> None:
    """Run the cases on the peers and write the page."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from .harness import conformance, s3servers

    servers = filter(None, (cases.server for cases in conformance.PEERS.values()))
    if reasons := list(filter(None, map(s3servers.missing, servers))):
        raise SystemExit(" ".join(reasons))
    found = {peer: conformance.outcomes_of(peer) for peer in conformance.PEERS}
    missing = {
        case
        for each in found.values()
        for case, outcome in each.items()
        if outcome == conformance.NOT_HERE
    }
    if missing:
        raise SystemExit(f"Run this as root: here {', '.join(sorted(missing))} cannot be tried.")
    PAGE.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
