"""The two grammars of names: a storage name, which becomes a path, and a filename, which never
does."""

from __future__ import annotations

import re
import unicodedata

from .exceptions import InvalidFilename, InvalidName

# What the stores keep for themselves (temp files) lies below this name, out of every listing.
RESERVED = ".devilry-storage"

FILENAME_MAX_LENGTH = 255

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# Characters that change the direction or order in which a name is shown ("gpj.exe" as
# "exe.jpg"), and the line and paragraph separators (Unicode TR 36, section 2.10).
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def _quoted(name: object) -> str:
    text = ascii(name)
    return text if len(text) <= 200 else f"{text[:200]}…"


def validate_storage_name(name: str) -> str:
    """Return ``name`` if it is a valid relative storage name; raise InvalidName otherwise.

    Valid is what means one file on every backend: parts divided by single slashes, none of them
    empty, ``.`` or ``..``, without backslashes and control characters, encodable as UTF-8.
    """
    # str subclasses (SafeString, lazy paths) may compare or split in ways of their own.
    name = str(name)
    if not name:
        reason = "it is empty"
    elif name.startswith("/"):
        reason = "it is absolute"
    elif "\\" in name:
        reason = "it contains a backslash"
    elif _CONTROL.search(name):
        reason = "it contains a control character"
    elif _SURROGATE.search(name):
        reason = "it is no valid Unicode"
    elif ".." in (parts := name.split("/")):
        reason = "'..' would lead out of the store"
    elif "." in parts or "" in parts:
        reason = "it has a part that is empty or '.'"
    # Compared without case: on macOS the reserved folder answers to any spelling.
    elif parts[0].casefold().startswith(RESERVED):
        reason = f"names that begin with '{RESERVED}' are the store's own"
    else:
        return name
    raise InvalidName(
        f"{_quoted(name)} is not a valid storage name: {reason}. "
        "Use a relative name such as 'folder/file.txt'."
    )


def validate_filename(filename: str) -> str:
    """Return the name that a student gave a file, in Unicode's NFC form.

    Raises InvalidFilename where it could hurt whoever downloads it: separators, control and
    direction characters, ``.`` and ``..``, more than 255 characters. Everything else is data.
    """
    filename = unicodedata.normalize("NFC", str(filename))
    if not filename.strip():
        reason = "it is empty"
    elif len(filename) > FILENAME_MAX_LENGTH:
        reason = f"it has {len(filename)} characters, at most {FILENAME_MAX_LENGTH} are allowed"
    elif "/" in filename or "\\" in filename:
        reason = "it contains a path separator"
    elif filename in {".", ".."}:
        reason = "it names a folder"
    elif _CONTROL.search(filename):
        reason = "it contains a control character"
    elif _DIRECTION.search(filename):
        reason = "it contains a character that changes the direction of text"
    elif _SURROGATE.search(filename):
        reason = "it is no valid Unicode"
    else:
        return filename
    raise InvalidFilename(f"{_quoted(filename)} is not a valid filename: {reason}. Rename the file.")
