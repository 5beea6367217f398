"""Names in an archive that every system can unpack: unique, short, and of no other meaning."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable

from ..names import without_unseen

# Of Windows, "Naming Files, Paths, and Namespaces": what no name may have, or may be called. And
# the semicolon, behind which unzip sees the version of a file on VMS.
_FORBIDDEN = re.compile(r'[;<>:"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]')
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])[ .]*(\..*)?", re.IGNORECASE
)

#: Bytes (UTF-8) of a folder's and of a file's name. Together with the number of a delivery they
#: stay below the 260 characters that Windows takes for a whole path.
FOLDER_BYTES = 70
FILE_BYTES = 120


def clean(name: str, limit: int, instead: str) -> str:
    """Return the name as one part of a path, of at most ``limit`` bytes; ``instead`` of none."""
    # Some characters become forbidden ones in NFC, and others stand side by side only afterwards.
    text = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", name))
    text = unicodedata.normalize("NFC", without_unseen(text)).strip().rstrip(" .")
    text = _shortened(text, limit) or instead
    return f"_{text}" if _DEVICE.fullmatch(text) else text


def _shortened(text: str, limit: int) -> str:
    if len(text.encode()) <= limit:
        return text
    stem, extension = _divided(text)
    room = limit - len(extension.encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(" .") + extension


def _divided(text: str) -> tuple[str, str]:
    """Return stem and extension; a long one is none."""
    stem, dot, extension = text.rpartition(".")
    if stem and 0 < len(extension.encode()) <= 16:
        return stem, dot + extension
    return text, ""


def _seen(name: str) -> str:
    """Return what names have in common that some file system takes for the same."""
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())


class Folder:
    """The names in one folder, each given once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {_seen(name) for name in taken}
        # The last number that was given to those of one name.
        self._numbers: dict[str, int] = {}

    def add(self, name: str) -> str:
        """Return the name, numbered if one like it is there."""
        candidate, like = name, _seen(name)
        seen = like
        if seen in self._taken:
            stem, extension = _divided(name)
            number = self._numbers.get(like, 1)
            while seen in self._taken:
                number += 1
                candidate = f"{stem} ({number}){extension}"
                seen = _seen(candidate)
            self._numbers[like] = number
        self._taken.add(seen)
        return candidate


class Folders:
    """The folders of an archive: each of one owner, of which several may have one name."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._folders: dict[tuple[Hashable, ...], Folder] = {(): Folder(taken)}
        self._paths: dict[tuple[Hashable, ...], str] = {(): ""}

    def file(self, owners: Iterable[tuple[Hashable, str]], filename: str) -> str:
        """Return the path of a file below folders, of each of which owner and name are given."""
        place: tuple[Hashable, ...] = ()
        for owner, name in owners:
            above, place = place, (*place, owner)
            if place not in self._paths:
                own = self._folders[above].add(clean(name, FOLDER_BYTES, "folder"))
                self._paths[place] = f"{self._paths[above]}{own}/"
                self._folders[place] = Folder()
        own = self._folders[place].add(clean(filename, FILE_BYTES, "file"))
        return f"{self._paths[place]}{own}"

    def forget(self, owners: Iterable[tuple[Hashable, str]]) -> None:
        """Forget the names in a folder into which no file will be put any more."""
        self._folders.pop(tuple(owner for owner, _ in owners))
