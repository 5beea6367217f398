"""What the store browser shows of one page of one folder; no HTTP."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from ..db.indexes import begins_with
from ..exceptions import InvalidName, UnsafeEntry
from ..integrity import State, Verdict, compare, rows_named, tombstones_named
from ..names import is_storage_name, validate_storage_name
from ..registry import ConfiguredStore, FileModel
from ..storages.base import DeliveryStoreMixin
from ..storages.protocols import Entry, Page

#: So many folders and files are on a page.
LENGTH = 100

#: No name is longer: S3's keys have at most 1,024 bytes
#: (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
LONGEST = 1024

#: So many of the rows of one delivery are looked for in its folder.
LOOKED_FOR = 1000


class Folder(NamedTuple):
    """A folder on the page: its name, the last part of it, and what lies in it in words.

    ``opens`` is false where its name is one that the stores refuse.
    """

    name: str
    leaf: str
    ids: str
    opens: bool


class Shown(NamedTuple):
    """One page of a folder."""

    folders: list[Folder]
    files: list[Verdict]
    next_token: str


def is_name(name: str) -> bool:
    """Tell whether the stores take the name."""
    return len(name) <= LONGEST and is_storage_name(name)


def shown(configured: ConfiguredStore, folder: str, after: str, using: str) -> Shown:
    """Return a page of a folder, ``""`` being the top; ``after`` is the token of the page before.

    Sends one request for a listing, and a number of queries that depends only on the models that
    use the store. Raises what the store raises where it cannot be asked.
    """
    store = configured.store
    try:
        page = store.page(folder, after=after, limit=LENGTH)
    except UnsafeEntry:
        page = Page([], [], "")  # a symlink: to us there is no such folder
    model = configured.models[0]
    rows: dict[str, Any] = {}
    if not after and not page.next_token:
        rows = _of_delivery(configured, folder, using)
    verdicts = _compared(model, page.files, rows, store, using)
    return Shown(_folders(page.folders, store), verdicts, page.next_token)


def sought(configured: ConfiguredStore, name: str, using: str) -> Verdict | None:
    """Return what there is to say of one name, None if nothing lies or is recorded there."""
    store = configured.store
    entries = []
    try:
        entries.append(Entry(name, store.size(name), store.get_modified_time(name)))
    except (FileNotFoundError, UnsafeEntry):
        pass
    model = configured.models[0]
    rows = {} if entries else rows_named(model, [name], using)
    verdicts = _compared(model, entries, rows, store, using)
    return verdicts[0] if verdicts else None


def _compared(
    model: FileModel,
    entries: list[Entry],
    rows: dict[str, Any],
    store: DeliveryStoreMixin,
    using: str,
) -> list[Verdict]:
    # What is no valid name is recorded by nobody, and no text for the database.
    names = [entry.name for entry in entries if is_name(entry.name)]
    rows = {**rows, **rows_named(model, names, using)}
    tombstones = tombstones_named(model, names, using)
    return list(compare(entries, rows, tombstones, store.is_key))


def _of_delivery(configured: ConfiguredStore, folder: str, using: str) -> dict[str, Any]:
    """Return the rows whose names should lie in a folder that the layout gives one delivery."""
    branches = configured.store.layout.branches([folder])
    if not branches or branches[0].ids.stop - branches[0].ids.start != 1:
        return {}
    found: dict[str, Any] = {}
    for model in configured.models:
        rows = model._base_manager.using(using).filter(begins_with("content", f"{folder}/", using))
        for row in rows.order_by("pk")[:LOOKED_FOR]:
            if posixpath.dirname(row.content.name) == folder:
                found[row.content.name] = row
    return found


def _folders(names: list[str], store: DeliveryStoreMixin) -> list[Folder]:
    branches = {branch.name: branch.ids for branch in store.layout.branches(names)}
    return [
        Folder(name, printable(posixpath.basename(name)), _ids(branches.get(name)), is_name(name))
        for name in names
    ]


def _ids(ids: range | None) -> str:
    if ids is None:
        return _("foreign: no folder of the layout")
    if ids.stop - ids.start == 1:
        return _("delivery %(id)d") % {"id": ids.start}
    # The dash of ranges.
    words = _("deliveries %(first)d–%(last)d")  # noqa: RUF001  # see above
    return words % {"first": ids.start, "last": ids.stop - 1}


def printable(name: str) -> str:
    """Return a name as text: one on a disk need not be any."""
    return name.encode("utf-8", "backslashreplace").decode()


def parents(folder: str) -> Iterator[tuple[str, str]]:
    """Yield (name, last part) of each folder on the way to a folder, itself last."""
    name = ""
    for part in folder.split("/") if folder else ():
        name = posixpath.join(name, part)
        yield name, part


def folder_or_file(configured: ConfiguredStore, text: str, using: str) -> tuple[str, str]:
    """Return (folder, name in it; ``""``: all of it) that somebody means by an id or a name.

    Raises InvalidName, and what the store raises where it cannot be asked.
    """
    store = configured.store
    text = text.strip().strip("/")
    if text.isascii() and text.isdecimal() and len(text) <= 20:
        return store.layout.folder(int(text)), ""
    name = validate_storage_name(text)
    if len(name) > LONGEST:
        raise InvalidName(_("The name is too long: no file has one of %d characters.") % len(name))
    if sought(configured, name, using) is None:
        return name, ""
    return posixpath.dirname(name), name


def word(state: State) -> str:
    """Return the word for a state, and what it means."""
    return {
        State.WHOLE: _("whole"),
        State.MISSING: _("missing: a row names it, but nothing lies there"),
        State.WRONG_SIZE: _("wrong size: not that of its row"),
        State.TOMBSTONED: _("tombstoned: deleted, and kept until it is due"),
        State.ORPHAN: _("orphan: no row and no tombstone names it"),
        State.FOREIGN: _("foreign: no key, and no row names it"),
    }[state]
