"""Validation of storage names, which become paths, and of filenames, which never do."""

import os
import re
import unicodedata

from .exceptions import InvalidFilename, InvalidName, InvalidNameType

# The folder for a store's own files (temporary files), which no listing contains.
RESERVED = ".devilry-storage"

FILENAME_MAX_LENGTH = 255

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# Characters that change the direction or order in which a name is shown ("gpj.exe" as
# "exe.jpg"), and the line and paragraph separators (Unicode TR 36, section 2.10).
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")

# Unicode's Default_Ignorable_Code_Point: these characters are invisible, and case-insensitive file
# systems (ext4 with casefold, HFS+) ignore them in names.
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def without_unseen(text: str) -> str:
    """Remove characters that are invisible or change the direction of text."""
    return _DIRECTION.sub("", _IGNORABLE.sub("", text))


def _is_reserved(part: str) -> bool:
    """Return whether some file system would treat the part as one of the store's own names."""
    if not part.isascii():
        part = unicodedata.normalize("NFD", _IGNORABLE.sub("", part))
    return part.casefold().startswith(RESERVED)


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def _text(name: object) -> str | None:
    # Not str(): it would turn None into a name, and subclasses of str may override its methods.
    return str.__str__(name) if isinstance(name, str) else None


def validate_storage_name(name: str | os.PathLike[str]) -> str:
    """Return ``name`` as text if it is a valid relative storage name; raise InvalidName otherwise.

    A valid name refers to the same file on every backend. Its parts are separated by single
    slashes, and none of them is empty, ``.`` or ``..``. It has no backslashes and no control
    characters, and can be encoded as UTF-8.
    """
    text = _text(os.fspath(name) if isinstance(name, os.PathLike) else name)
    if text is None:
        reason = f"it is a {type(name).__name__}, not text"
    elif not text:
        reason = "it is empty"
    elif text.startswith("/"):
        reason = "it is absolute"
    elif "\\" in text:
        reason = "it contains a backslash"
    elif _CONTROL.search(text):
        reason = "it contains a control character"
    elif _SURROGATE.search(text):
        reason = "it is not valid Unicode"
    elif ".." in (parts := text.split("/")):
        reason = "'..' would lead out of the store"
    elif "." in parts or "" in parts:
        reason = "it has a part that is empty or '.'"
    elif _is_reserved(parts[0]):
        reason = f"names that begin with '{RESERVED}' are the store's own"
    else:
        return text
    raise (InvalidNameType if text is None else InvalidName)(
        f"{_shortened(ascii(name))} is not a valid storage name: {reason}. "
        "Use a relative name such as 'folder/file.txt'."
    )


def is_storage_name(name: str) -> bool:
    """Return whether ``name`` is a valid relative storage name."""
    try:
        validate_storage_name(name)
    except InvalidName:
        return False
    return True


def _filename_error(text: str) -> str:
    """Return why a filename in NFC is invalid, or "" if it is valid."""
    if _CONTROL.search(text):
        return "it contains a control character"
    if _DIRECTION.search(text):
        return "it contains a character that changes the direction of text"
    if not _IGNORABLE.sub("", text).strip():
        return "it is empty"
    if len(text) > FILENAME_MAX_LENGTH:
        return f"it has {len(text)} characters, at most {FILENAME_MAX_LENGTH} are allowed"
    if "/" in text or "\\" in text:
        return "it contains a slash or a backslash"
    # Windows removes trailing dots and spaces, so ".. " would be the parent folder there.
    if not text.strip(". "):
        return "it has only dots and spaces"
    if _SURROGATE.search(text):
        return "it is not valid Unicode"
    return ""


def validate_filename(filename: str) -> str:
    """Return the filename that a student chose, in Unicode's NFC form.

    Raises InvalidFilename for names that could harm users who download the file:

    - names with path separators, control characters or characters that change the direction of
      text;
    - names without a visible character, or only of dots;
    - names of more than 255 characters.

    Every other name is accepted.
    """
    text = _text(filename)
    # Users recognise the name of their file; repr() escapes invisible characters only.
    shown = ascii(filename) if text is None else repr(text)
    if text is None:
        reason = f"it is a {type(filename).__name__}, not text"
    else:
        text = unicodedata.normalize("NFC", text)
        reason = _filename_error(text)
        if not reason:
            return text
    raise InvalidFilename(
        f"{_shortened(shown)} is not a valid filename: {reason}. Rename the file."
    )
