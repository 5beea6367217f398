"""Paths in an archive that every system can unpack: unique, short and without special meaning."""

import re
import unicodedata
from collections.abc import Hashable, Iterable

from ..names import without_unseen

# Forbidden characters and names according to "Naming Files, Paths, and Namespaces" of Windows. The
# semicolon is forbidden because unzip interprets it as the separator of a VMS file version. The
# second line has look-alikes of separators and colons, and what Windows' best-fit tables make one.
_FORBIDDEN = re.compile(
    r'[;<>:"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff'
    r"\u00a5\u00b4\u0589\u2044\u20a9\u2215\u2216\u2236\u27cb\u27cd\u29f5\u29f8\u29f9\ua789]"
)
_END = re.compile(r"[\s.]+\Z")
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])[ .]*(\..*)?", re.IGNORECASE
)

#: Ending of the names of damaged files. No other name has it.
DAMAGED = ".DAMAGED"

#: Maximum bytes (UTF-8) of the name of a folder and of a file. Together with the number of a
#: delivery they are below the maximum of 260 characters for paths on Windows.
FOLDER_BYTES = 70
FILE_BYTES = 120


def clean(name: str, limit: int, default: str) -> str:
    """Convert a name to a part of a path of at most ``limit`` bytes, or return the default.

    The default is used if nothing is left of the name.
    """
    text = name
    if not name.isascii():
        text = unicodedata.normalize("NFC", without_unseen(name))
        text = "".join(map(_unambiguous, text))
    text = _FORBIDDEN.sub("_", text)
    text = _shortened(_END.sub("", text.strip()), limit) or default
    if _folded(text).endswith(DAMAGED.casefold()):
        text = f"{text}_"
    if text == "-" or _DEVICE.fullmatch(unicodedata.normalize("NFKC", text)):
        return f"_{text}"  # "-" is the standard input in SHA256SUMS
    return text


def _unambiguous(character: str) -> str:
    """Return what NFKC makes of a character if that contains a dot or forbidden character."""
    if character.isascii():
        return character
    text = unicodedata.normalize("NFKC", character)
    return text if "." in text or _FORBIDDEN.search(text) else character


def _shortened(text: str, limit: int) -> str:
    if len(text.encode()) <= limit:
        return text
    stem, extension = _split_extension(text)
    room = limit - len(extension.encode())
    return _END.sub("", stem.encode()[:room].decode(errors="ignore")) + extension


def _split_extension(text: str) -> tuple[str, str]:
    """Split a name into stem and extension. Long extensions count as part of the stem."""
    stem, dot, extension = text.rpartition(".")
    if stem and 0 < len(extension.encode()) <= 16:
        return stem, dot + extension
    return text, ""


def _folded(name: str) -> str:
    """Return a key that is equal for all names that some file system treats as the same."""
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())


class UniqueNames:
    """The names in one folder. Names that are already used get a number."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {_folded(name) for name in taken}
        # The last number used for each name.
        self._numbers: dict[str, int] = {}

    def add(self, name: str) -> str:
        """Add a name and return it, with a number if the name is already used."""
        candidate, original = name, _folded(name)
        key = original
        if key in self._taken:
            stem, extension = _split_extension(name)
            number = self._numbers.get(original, 1)
            while key in self._taken:
                number += 1
                candidate = f"{stem} ({number}){extension}"
                key = _folded(candidate)
            self._numbers[original] = number
        self._taken.add(key)
        return candidate


class ArchivePaths:
    """Assigns unique paths to the files of an archive.

    Folders are identified by ids, because several groups or deliveries may have the same name.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        # The path of each folder, and the names in it.
        self._folders: dict[tuple[Hashable, ...], tuple[str, UniqueNames]]
        self._folders = {(): ("", UniqueNames(taken))}

    def add_file(self, folders: Iterable[tuple[Hashable, str]], filename: str) -> str:
        """Add a file and return its path. Each folder above it is given by its id and name."""
        ids: tuple[Hashable, ...] = ()
        path, names = self._folders[ids]
        for id_, name in folders:
            ids = (*ids, id_)
            if ids not in self._folders:
                part = names.add(clean(name, FOLDER_BYTES, "folder"))
                self._folders[ids] = f"{path}{part}/", UniqueNames()
            path, names = self._folders[ids]
        return path + names.add(clean(filename, FILE_BYTES, "file"))

    def close_folders_beside(self, folders: Iterable[tuple[Hashable, str]]) -> None:
        """Release the memory for all folders except these and the top. They get no more files."""
        ids = tuple(id_ for id_, _ in folders)
        kept = [ids[:depth] for depth in range(len(ids) + 1)]
        self._folders = {key: self._folders[key] for key in kept if key in self._folders}
