"""Generate a zip file of known length while it is sent, with little memory.

The format is PKWARE's APPNOTE 6.3: uncompressed members, followed by data descriptors with their
sizes, and Zip64 extensions where necessary. It is written by Python's zipfile module.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import IO, NamedTuple

from django.utils import timezone

from ..exceptions import ChecksumMismatch
from ..storages.base import DeliveryStoreMixin
from ..storages.chunks import CHUNK_SIZE
from .entries import Member, local_date
from .readahead import read_members

SUMS = "SHA256SUMS"
MISSING = "MISSING.txt"

# Section 4.3: sizes of the headers without names, in bytes.
_DESCRIPTOR, _DESCRIPTOR_64 = 16, 24
_CENTRAL_HEADER = 46
_LOCAL_HEADER = 30
_EXTRA_64 = 4
_END, _END_64 = 22, 56 + 20

_HEX = 64


class _Pipe:
    """A write-only, unseekable file that buffers the bytes to send."""

    def __init__(self) -> None:
        self._written = bytearray()

    @property
    def has_chunk(self) -> bool:
        """Whether the buffer is large enough to send. Many small chunks would be slow."""
        return len(self._written) >= CHUNK_SIZE

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken, self._written = bytes(self._written), bytearray()
        return taken


class _Sizes(NamedTuple):
    """Bytes of a member, with its headers, and of its entry in the central directory."""

    local: int
    central: int


class Archive:
    """A zip file of files of one store. It can be iterated over once.

    - ``length`` is in bytes, ``count`` the number of files.
    - ``missing`` lists the paths of files that are missing or incomplete in the store. The archive
      lists them in ``MISSING.txt``.

    Iterating raises the store's exceptions, and ChecksumMismatch if a file differs from its row.
    An archive that can be read to the end is complete.
    """

    def __init__(
        self, store: DeliveryStoreMixin, members: Iterable[Member], missing: Iterable[str] = ()
    ) -> None:
        self._store = store
        self._members = deque(members)
        self.count = len(self._members)
        self.missing = list(missing)
        self._now = local_date(timezone.now())
        self.length = self._length()

    # -- Length --

    def _length(self) -> int:
        position = central = count = 0
        for path, size in self._sizes():
            sizes = _sizes(path, size, position)
            position += sizes.local
            central += sizes.central
            count += 1
        end = _END
        limit = zipfile.ZIP64_LIMIT
        if count > zipfile.ZIP_FILECOUNT_LIMIT or max(position, central) > limit:
            end += _END_64
        return position + central + end

    def _sizes(self) -> Iterator[tuple[str, int]]:
        sums = 0
        for member in self._members:
            yield member.path, member.size
            sums += _HEX + 2 + len(member.path.encode()) + 1
        if self.missing:
            yield MISSING, len(self._missing_text())
        if sums:
            yield SUMS, sums

    def _missing_text(self) -> bytearray:
        return bytearray("".join(f"{path}\n" for path in self.missing).encode())

    # -- Content --

    def __iter__(self) -> Iterator[bytes]:
        pipe = _Pipe()
        sums = bytearray()
        with (
            zipfile.ZipFile(pipe, "w") as zipped,  # type: ignore[call-overload]  # no close()
            closing(read_members(self._store, self._members)) as contents,
        ):
            for member, chunks in contents:
                digest = None if member.sha256 else hashlib.sha256()
                with _entry(zipped, member.path, member.size, member.date) as entry:
                    size = 0
                    for chunk in chunks:
                        size += len(chunk)
                        if size > member.size:
                            break
                        entry.write(chunk)
                        if digest is not None:
                            digest.update(chunk)
                        if pipe.has_chunk:
                            yield pipe.take()
                    if size != member.size:
                        raise ChecksumMismatch(
                            f"{member.name!r} no longer has the {member.size} bytes that it had "
                            "when the archive was started."
                        )
                checksum = digest.hexdigest() if digest is not None else member.sha256.lower()
                sums += f"{checksum}  {member.path}\n".encode()
                # NameToInfo only serves lookups by name: clear it to save memory.
                zipped.NameToInfo.clear()
            for path, text in ((MISSING, self._missing_text()), (SUMS, sums)):
                if text:
                    with _entry(zipped, path, len(text), self._now) as entry:
                        entry.write(text)
                    text.clear()
        yield pipe.take()


def _entry(zipped: zipfile.ZipFile, path: str, size: int, date: tuple[int, ...]) -> IO[bytes]:
    return zipped.open(_info(path, size, date), "w", force_zip64=_is_large(size))


def _info(path: str, size: int, date: tuple[int, ...]) -> zipfile.ZipInfo:
    # The format supports the years 1980 to 2107.
    year = min(max(date[0], 1980), 2107)
    info = zipfile.ZipInfo(path, (year, *date[1:]))  # type: ignore[arg-type]
    info.external_attr = 0o644 << 16
    # Section 4.4.4: checksum and sizes follow the content.
    info.flag_bits |= 0x08
    info.file_size = size
    return info


def _is_large(size: int) -> bool:
    return size > zipfile.ZIP64_LIMIT // 2


def _sizes(path: str, size: int, position: int) -> _Sizes:
    """Return the sizes of a member whose header starts at the given position."""
    large = _is_large(size)
    name = len(path.encode())
    header = _LOCAL_HEADER + name + (_EXTRA_64 + 16 if large else 0)
    central = _CENTRAL_HEADER + name
    numbers = 2 * (size > zipfile.ZIP64_LIMIT) + (position > zipfile.ZIP64_LIMIT)
    if numbers:
        central += _EXTRA_64 + 8 * numbers
    return _Sizes(header + size + (_DESCRIPTOR_64 if large else _DESCRIPTOR), central)
