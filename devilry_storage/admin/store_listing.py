"""Folders and files of a store with their state, without HTTP."""

import posixpath
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from django.utils.translation import gettext as _

from ..db.indexes import begins_with
from ..db.rows import stored_rows
from ..exceptions import InvalidName, UnsafeEntry
from ..integrity import State, Verdict, compare_stored, rows_named
from ..layout import Layout
from ..names import is_storage_name, validate_storage_name
from ..registry import ConfiguredStore
from ..storages.protocols import Entry, Page

#: The number of folders and files on a page.
PAGE_LENGTH = 100

#: The maximum length of a name: S3 keys have at most 1,024 bytes
#: (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
MAX_NAME_LENGTH = 1024

#: The maximum number of rows of a delivery to look for in its folder.
MAX_ROWS = 1000


def is_name(name: str) -> bool:
    """Return whether a name from a request is valid."""
    return len(name) <= MAX_NAME_LENGTH and is_storage_name(name)


def list_folder(
    configured: ConfiguredStore, folder: str, after: str, using: str
) -> tuple[Page, list[Verdict]]:
    """Return a page of a folder, and the verdicts on its files and on those that are missing.

    The name "" is that of the top folder, and ``after`` is the token of the previous page.
    It needs one listing of the store. The number of queries depends only on the number of models
    that use the store. Errors of the store are raised.
    """
    store = configured.store
    try:
        page = store.page(folder, after=after, limit=PAGE_LENGTH)
    except UnsafeEntry:
        page = Page([], [], "")  # a symlink: the store does not have this folder
    rows: dict[str, Any] = {}
    if not after and not page.next_token:
        rows = _rows_of_delivery(configured, folder, using)
        for entry in page.files:
            rows.pop(entry.name, None)  # looked up with delivery and user
    return page, list(compare_stored(configured.models[0], page.files, using, rows))


def find_file(configured: ConfiguredStore, name: str, using: str) -> Verdict | None:
    """Return the verdict on one name, None if neither the store nor a row has it."""
    store = configured.store
    try:
        entries = [Entry(name, store.size(name), store.get_modified_time(name))]
    except (FileNotFoundError, UnsafeEntry):
        entries = []
    model = configured.models[0]
    rows = {} if entries else rows_named(model, [name], using)
    return next(compare_stored(model, entries, using, rows), None)


def _rows_of_delivery(configured: ConfiguredStore, folder: str, using: str) -> dict[str, Any]:
    """Return the rows whose files belong in this folder, if it is the folder of one delivery."""
    branches = configured.store.layout.branches([folder])
    if not branches or branches[0].ids.stop - branches[0].ids.start != 1:
        return {}
    found: dict[str, Any] = {}
    for model in configured.models:
        rows = stored_rows(model, using).filter(begins_with("content", f"{folder}/", using))
        for row in rows.order_by("pk")[:MAX_ROWS]:
            if posixpath.dirname(row.content.name) == folder:
                found[row.content.name] = row
    return found


def describe_folders(layout: Layout, names: list[str]) -> dict[str, str]:
    """Return which deliveries each of the folders belongs to, in words, by its name."""
    described = dict.fromkeys(names, _("Not a folder of deliveries"))
    for name, ids in layout.branches(names):
        text = _("Deliveries %(first)d–%(last)d")  # noqa: RUF001  # an en dash, as in ranges
        if ids.stop - ids.start == 1:
            text = _("Delivery %(first)d")
        described[name] = text % {"first": ids.start, "last": ids.stop - 1}
    return described


def printable(name: str) -> str:
    """Return a name as text; names on a disk may contain any bytes."""
    return name.encode("utf-8", "backslashreplace").decode()


def parents(folder: str) -> Iterator[tuple[str, str]]:
    """Yield name and last part of each parent of a folder, and then of the folder itself."""
    parts = folder.split("/") if folder else []
    yield from zip(accumulate(parts, posixpath.join), parts, strict=True)


def locate(configured: ConfiguredStore, text: str, using: str) -> tuple[str, str]:
    """Return folder and name of the file that a text refers to; the name is "" for a folder.

    The text is the id of a delivery, a key, any other name, or a folder. Raise InvalidName for
    other texts. Errors of the store are raised.
    """
    store = configured.store
    text = text.strip().strip("/")
    if text.isascii() and text.isdecimal() and len(text) <= 20:
        return store.layout.folder(int(text)), ""
    name = validate_storage_name(text)
    if len(name) > MAX_NAME_LENGTH:
        text = _("The name is too long: it has %(length)d characters, the maximum is %(limit)d.")
        raise InvalidName(text % {"length": len(name), "limit": MAX_NAME_LENGTH})
    if find_file(configured, name, using) is None:
        return name, ""
    return posixpath.dirname(name), name


def describe_state(state: State) -> str:
    """Return the name of a state and its meaning."""
    return {
        State.WHOLE: _("Whole"),
        State.MISSING: _("Missing: the file is recorded, but it is not in the store"),
        State.WRONG_SIZE: _("Wrong size: another size is recorded"),
        State.TOMBSTONED: _("Deleted file: kept until it is removed permanently"),
        State.ORDINARY: _("File of another model: a row of this site names it"),
        State.ORPHAN: _(
            "Unrecorded file: it looks like a delivered file, but the database does not record it"
        ),
        State.FOREIGN: _("Unknown file: it was not stored by this site"),
    }[state]
