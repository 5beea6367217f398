"""The output of the demo, printed with rich."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from devilry_storage.deliveries.models import FileMeta
from devilry_storage.layout import Branch
from devilry_storage.models import Tombstone
from devilry_storage.storages import DeliveryStoreMixin, FsHierDeliveryStore

from .switching import Stored
from .workspace import MANAGE, SETTINGS, store_kind

#: Number of entries of an abridged list, including the last one.
SHOWN = 2

#: Number of file types in the table of files.
ROWS = 12

#: Number of keys in the table of keys.
KEYS = 4

_SHORTENED = 10
_T = TypeVar("_T")


def heading(console: Console, title: str) -> None:
    """Print the title of a step."""
    console.print()
    console.rule(Text(title, "bold"), align="left")


def facts(console: Console, values: Mapping[str, object]) -> None:
    """Print names and values in two columns."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in values.items():
        grid.add_row(name, Text(str(value)))
    console.print(grid)


def relative(path: Path) -> str:
    """Return the path relative to the current folder if it is below it."""
    current = Path.cwd()
    return str(path.relative_to(current) if path.is_relative_to(current) else path)


def location_of(store: DeliveryStoreMixin) -> str:
    """Return the location of a store on disk or on S3."""
    if isinstance(store, FsHierDeliveryStore):
        return relative(Path(store.location))
    return str(getattr(store, "remote", store))


def size_of(row: FileMeta | Tombstone) -> str:
    """Return the size of a row's file with its unit."""
    return decimal(row.size or 0)


@contextmanager
def progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar, and yield a function that advances it by one file.

    Without a terminal, only the final state is printed.
    """
    columns = (
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, expand=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def left_out(console: Console, reasons: Sequence[str]) -> None:
    """Print the reasons why files are left out."""
    for reason in reasons[:SHOWN]:
        console.print(Text(f"left out: {reason}", "yellow"))
    if (more := len(reasons) - SHOWN) > 0:
        console.print(Text(f"left out: {more} more", "yellow"))


def working(console: Console, what: str) -> AbstractContextManager[object]:
    """Show a status message while the block runs, on a terminal."""
    return console.status(what, spinner="line")


def ways_on(console: Console, people: Mapping[str, str], password: str) -> None:
    """Print how to run the server, and the users to log in as, with their descriptions."""
    manage = shlex.join([relative(Path(sys.executable)), relative(MANAGE)])
    if data := os.environ.get("EXAMPLE_DATA"):
        manage = f"EXAMPLE_DATA={shlex.quote(data)} {manage}"
    on_disk = store_kind() == "disk"
    lines = [
        f"  {manage if on_disk else f'DELIVERY_STORE={store_kind()} {manage}'} runserver",
        "",
        "  http://127.0.0.1:8000/         for students and examiners",
        "  http://127.0.0.1:8000/admin/   for administrators",
        "",
        *(f"  user {name}, password {password}  ({what})" for name, what in people.items()),
    ]
    if on_disk:
        lines += [
            "",
            "  The same with samples in memory, which are lost when the server stops:",
            f"  DELIVERY_STORE=memory {manage} runserver",
            "",
            f"  The demo with an empty bucket of your own (see {relative(SETTINGS)}):",
            f"  DELIVERY_STORE=s3 AWS_STORAGE_BUCKET_NAME=... {manage} demo",
        ]
    for line in lines:
        # Lines to copy must not be wrapped.
        console.print(Text(line), soft_wrap=True)


# -- The key tree --


def key_tree(store: DeliveryStoreMixin) -> Tree:
    """Return an abridged tree of the folders and keys of a store, with delivery ids."""
    tree = Tree("", hide_root=True)
    _grow(tree, store, "")
    return tree


def _grow(tree: Tree, store: DeliveryStoreMixin, folder: str) -> None:
    folders, files = store.listdir(folder)
    prefix = f"{folder}/" if folder else ""
    for branch in _abridged(store.layout.branches(prefix + name for name in folders)):
        if isinstance(branch, Branch):
            below = Text.assemble(f"{_leaf(branch.name)}/", (f"  {_deliveries(branch)}", "dim"))
            _grow(tree.add(below), store, branch.name)
        else:
            tree.add(Text(f"... {_more(branch, 'folder')}", "dim"))
    for key in _abridged(sorted((prefix + name for name in files), key=store.layout.parse)):
        if isinstance(key, str):
            tree.add(Text.assemble(_leaf(key), (f"  {decimal(store.size(key))}", "dim")))
        else:
            tree.add(Text(f"... {_more(key, 'file')}", "dim"))


def _abridged(entries: Sequence[_T]) -> Iterator[_T | int]:
    """Yield the first entries, the number of omitted entries if any, and the last entry."""
    yield from entries[: SHOWN - 1]
    if (left_out := len(entries) - SHOWN) > 0:
        yield left_out
    yield from entries[SHOWN - 1 :][-1:]


def _more(number: int, what: str) -> str:
    return f"{number} more {what}{'s' if number > 1 else ''}"


def _leaf(name: str) -> str:
    return name.rpartition("/")[2]


def _deliveries(branch: Branch) -> str:
    first, last = branch.ids[0], branch.ids[-1]
    return f"delivery {first}" if first == last else f"deliveries {first} to {last}"


# -- Tables --


def file_table(files: Sequence[FileMeta]) -> Table:
    """Return a table of the database rows of some different files."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("key", no_wrap=True)
    table.add_column("SHA-256", no_wrap=True)
    for file in _varied(files):
        table.add_row(Text(file.filename), size_of(file), file.content.name, _short(file.sha256))
    return table


def _varied(files: Iterable[FileMeta]) -> list[FileMeta]:
    """Return the file with the shortest name of each type, and the smallest and largest file."""
    by_size = sorted(files, key=lambda file: file.size or 0)
    by_type: dict[str, FileMeta] = {}
    for file in sorted(by_size, key=lambda file: (len(file.filename), file.filename)):
        by_type.setdefault(Path(file.filename).suffix.lower(), file)
    chosen = {file.pk: file for file in [*list(by_type.values())[:ROWS], by_size[0], by_size[-1]]}
    return [chosen[pk] for pk in sorted(chosen)]


def tombstone_table(tombstones: Iterable[Tombstone]) -> Table:
    """Return a table of the tombstones, with the time of removal."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("tombstone of", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("SHA-256", no_wrap=True)
    table.add_column("removed after", no_wrap=True)
    for tombstone in tombstones:
        due = f"{tombstone.due:%Y-%m-%d %H:%M} UTC"
        table.add_row(tombstone.name, size_of(tombstone), _short(tombstone.sha256), due)
    return table


def key_table(disk: Mapping[str, Stored], s3: Mapping[str, Stored]) -> Table:
    """Return a table of some keys of two stores, including the first and the last."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("key on disk", "key on S3", "SHA-256 on disk", "SHA-256 on S3"):
        table.add_column(column, no_wrap=True)
    rows = list(zip_longest(_sorted(disk), _sorted(s3), fillvalue=("none", Stored(0, ""))))
    for number in sorted({(len(rows) - 1) * index // (KEYS - 1) for index in range(KEYS)}):
        (on_disk, of_disk), (on_s3, of_s3) = rows[number]
        table.add_row(on_disk, on_s3, _short(of_disk.sha256), _short(of_s3.sha256))
    return table


def _sorted(stored: Mapping[str, Stored]) -> list[tuple[str, Stored]]:
    """Sort the stored files by the numbers in their keys."""
    return sorted(stored.items(), key=lambda item: [part.zfill(20) for part in item[0].split("/")])


def _short(sha256: str) -> str:
    return f"{sha256[:_SHORTENED]}..."
