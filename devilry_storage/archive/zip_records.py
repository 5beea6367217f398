"""The records of a zip file, with lengths that do not depend on the content (APPNOTE 6.3)."""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: An extra field without meaning, Microsoft's Growth Hint (section 4.6.10). A member whose name
#: gets eight bytes longer is sent without it.
SPARE = struct.pack("<4H", 0xA220, 4, 0xA028, 0)

_LIMIT, _COUNT_LIMIT = 0xFFFFFFFF, 0xFFFF  # these and larger numbers are in Zip64 records
_MADE_BY = 3 << 8 | 45  # Unix, version 4.5
_STREAMED, _UTF_8 = 0x0008, 0x0800  # flags, section 4.4.4
_STORED, _DEFLATED = 0, 8  # methods, section 4.4.5

_BLOCK_SIZE = 0xFFFF  # of deflate's stored blocks (RFC 1951, section 3.2.4)
_EMPTY_BLOCK, _LAST_BLOCK = b"\0\0\0\xff\xff", b"\1\0\0\xff\xff"


class ZipEntry(NamedTuple):
    """A member as its headers describe it. Sizes are in bytes."""

    path: str
    date: tuple[int, ...]  # local time, from year to second
    size: int
    packed_size: int  # differs from the size if the member is compressed
    crc: int = 0
    is_streamed: bool = False  # whether checksum and sizes follow the content
    extra: bytes = b""

    def length(self) -> int:
        """Return the number of bytes outside of the central directory."""
        large = 20 if self.packed_size > _LIMIT else 0
        length = 30 + len(self.path.encode()) + len(self.extra) + large + self.packed_size
        return length + len(self.descriptor())

    def local_header(self) -> bytes:
        crc, packed_size, size, extra = self.crc, self.packed_size, self.size, self.extra
        if self.is_streamed:
            crc = packed_size = size = 0
        if self.packed_size > _LIMIT:
            extra += struct.pack("<2H2Q", 1, 16, size, packed_size)
            packed_size = size = _LIMIT
        return b"PK\3\4" + self._common(crc, packed_size, size, extra) + self.path.encode() + extra

    def descriptor(self) -> bytes:
        """Return the record behind the content."""
        if not self.is_streamed:
            return b""
        form = "<L2Q" if self.packed_size > _LIMIT else "<3L"
        return b"PK\7\x08" + struct.pack(form, self.crc, self.packed_size, self.size)

    def central_header(self, position: int) -> bytes:
        """Return the entry in the central directory for a member that starts at ``position``."""
        large = [number for number in (self.size, self.packed_size, position) if number >= _LIMIT]
        extra = self.extra
        if large:
            extra += struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large)
        sizes = min(self.packed_size, _LIMIT), min(self.size, _LIMIT)
        header = struct.pack("<4sH", b"PK\1\2", _MADE_BY) + self._common(self.crc, *sizes, extra)
        header += struct.pack("<3H2L", 0, 0, 0, 0o100644 << 16, min(position, _LIMIT))
        return header + self.path.encode() + extra

    def _common(self, crc: int, packed_size: int, size: int, extra: bytes) -> bytes:
        """Return the fields that both headers have."""
        year, month, day, hour, minute, second = self.date
        year = min(max(year, 1980), 2107)  # the years that the format supports
        time, date = hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day
        version = 45 if len(extra) > len(self.extra) else 20
        flags = _UTF_8 | (_STREAMED if self.is_streamed else 0)
        method = _STORED if self.packed_size == self.size else _DEFLATED
        numbers = (version, flags, method, time, date, crc, packed_size, size)
        return struct.pack("<5H3L2H", *numbers, len(self.path.encode()), len(extra))


def end_records(count: int, size: int, position: int) -> bytes:
    """Return the records behind a central directory with the given size and position."""
    records = b""
    if count >= _COUNT_LIMIT or max(size, position) >= _LIMIT:
        numbers = (44, _MADE_BY, 45, 0, 0, count, count, size, position)
        records += struct.pack("<4sQ2H2L4Q", b"PK\6\6", *numbers)
        records += struct.pack("<4sLQL", b"PK\6\7", 0, position + size, 1)
    counts, sizes = [min(count, _COUNT_LIMIT)] * 2, (min(size, _LIMIT), min(position, _LIMIT))
    return records + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *counts, *sizes, 0)


def deflated_size(size: int) -> int:
    """Return the number of bytes that :func:`deflated` makes of ``size`` bytes."""
    return size + 5 * (-(-size // _BLOCK_SIZE) + 1)


def deflated(chunks: Iterable[bytes], padding: int = 0) -> Iterator[bytes]:
    """Yield the chunks as stored blocks, and ``padding`` bytes of empty blocks of five bytes."""
    for block in rechunked(chunks, _BLOCK_SIZE):
        yield struct.pack("<B2H", 0, len(block), len(block) ^ 0xFFFF) + block
    yield _EMPTY_BLOCK * (padding // 5) + _LAST_BLOCK


def rechunked(chunks: Iterable[bytes | bytearray], size: int) -> Iterator[bytes]:
    """Yield the bytes in chunks of ``size`` bytes. Only the last one may be shorter."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= size:
            yield bytes(waiting[:size])
            del waiting[:size]
    if waiting:
        yield bytes(waiting)
