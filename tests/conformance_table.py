"""Write the manual's page of the conformance suite: ``python -m tests.conformance_table``."""

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
    "Promise 5": "5. Same behaviour everywhere",
    "Promise 6": "6. Little memory",
    "Interface": "The interface of delivery stores",
    "Django": "The contract of Django's Storage",
}

FLAGS = {
    "atomic_create": "Of all concurrent writers of a name, exactly one gets the name.",
    "whole_or_absent": (
        "A name shows a file with all of its bytes or no file, even if its writer fails or other "
        "processes have it open."
    ),
    "durable": "Acknowledged files survive a power cut.",
    "confined": "Symlinks and other planted entries never lead out of the store.",
    "bounded_memory": "A large file is stored and read without keeping all of it in memory.",
    "atomic_copy": "A copy is created as atomically as a saved file.",
}

INTRODUCTION = """\
.. This page is generated: edit tests/conformance_table.py and run
   ``python -m tests.conformance_table``.

The conformance suite
=====================

``devilry_storage.testing.TestDeliveryStoreMixin`` tests a delivery store with {count} cases. This
page lists them. It is for authors of stores. The cases run under ``unittest`` and pytest. Five
lines test a store:

.. literalinclude:: ../tests/conformance/test_conformance.py
   :pyobject: TestFsDeliveryStore

- ``make_store()`` returns an empty store. It is called once for each case.
- ``self.tmp_path`` is a temporary folder.
- Some cases need the store's folder on disk, for example to plant a symlink or to kill a writing
  process. They find it by the store's ``path()``. Override ``disk_root()`` if the files have other
  paths. Stores without a folder skip these cases.
- ``patience`` is the number of seconds after which a call is considered to hang.

The flags of a store declare its abilities. If a flag is False, the cases that need it are skipped.
If it is True, or None (the default), they are run.

{flags}

``FsDeliveryStore`` and ``FsHierDeliveryStore`` pass every case. ``MemoryDeliveryStore`` declares
``durable`` and ``bounded_memory`` False, and passes the cases that need no disk.
``S3DeliveryStore`` passes the cases that need no disk: on SeaweedFS, Ceph and
moto's server, with every flag True.

The last three columns of the tables show the same cases on other storages with
``DeliveryStoreMixin`` and no declared flags: Django's ``FileSystemStorage`` and
``InMemoryStorage``, and django-storages' ``S3Storage(file_overwrite=False)`` on SeaweedFS. The
mixin adds the interface and the validation of names; the rest is the storage's own behaviour. The
outcomes are the same on Django 4.2, 5.2 and 6.1. A dash marks a case that does not apply.
"""

OUTCOMES = {"passed": "passes", "failed": "**fails**", "skipped": "–"}


def page(found: dict[str, dict[str, str]]) -> str:
    """Return the page for outcomes given as {peer: {case: outcome}}."""
    from .harness import conformance

    cases = conformance.names_of_cases()
    flag_rows = [
        [f"``{flag}``", meaning, str(sum(flag in conformance.flags_of(case) for case in cases))]
        for flag, meaning in FLAGS.items()
    ]
    flags = "\n".join(_table("12 34 6", ["Flag", "A store that declares it", "Cases"], flag_rows))
    parts = [INTRODUCTION.format(count=len(cases), flags=flags)]
    for promise, title in TITLES.items():
        rows = []
        for case in cases:
            heading, sentence = conformance.requirement_of(case)
            if heading == promise:
                needed = ", ".join(f"``{flag}``" for flag in conformance.flags_of(case))
                cells = [OUTCOMES[outcomes[case]] for outcomes in found.values()]
                rows.append([_text(sentence), needed, *cells])
        failures = [
            f"{peer} fails {sum(row[column] == OUTCOMES['failed'] for row in rows)}"
            for column, peer in enumerate(found, start=2)
        ]
        parts += [
            f"{title}\n{'-' * len(title)}\n",
            f"{len(rows)} cases; {', '.join(failures)}.\n",
            "\n".join(_table("36 14 10 10 10", ["Case", "Flag", *found], rows)) + "\n",
        ]
    return "\n".join(parts)


def _text(sentence: str) -> str:
    """Capitalise a sentence, unless it starts with a call, and escape it."""
    if not re.match(r"\w+\(", sentence):
        sentence = sentence[0].upper() + sentence[1:]
    return re.sub(r"([*`|\\])", r"\\\1", sentence)


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
        for outcomes in found.values()
        for case, outcome in outcomes.items()
        if outcome == conformance.NOT_HERE
    }
    if missing:
        raise SystemExit(f"Run this as root, which {', '.join(sorted(missing))} needs.")
    PAGE.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
