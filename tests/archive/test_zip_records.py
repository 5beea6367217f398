"""Records of zip files at the limits of the format, which no test can reach with real files."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from itertools import product

import pytest

from devilry_storage.archive.zip_records import (
    ZipEntry,
    deflated,
    deflated_size,
    end_records,
    rechunked,
)

LIMIT = 0xFFFFFFFF
DATE = (2026, 5, 17, 20, 0, 0)
EDGES = (0, LIMIT - 1, LIMIT, LIMIT + 1, 1 << 40)


def test_central_header_has_large_numbers_in_its_extra_field() -> None:
    """The largest number of 32 bits means that the number is in the extra field."""
    for size, position in product(EDGES, EDGES):
        packed_size = deflated_size(size)
        header = ZipEntry("a", DATE, size, packed_size).central_header(position)
        numbers = (
            *struct.unpack_from("<2L", header, 20)[::-1],
            *struct.unpack_from("<L", header, 42),
        )
        extra = header[47:]
        assert len(extra) == struct.unpack_from("<H", header, 30)[0]
        large = iter(struct.unpack_from(f"<{len(extra) // 8}Q", extra, 4) if extra else ())
        found = [next(large) if number == LIMIT else number for number in numbers]
        assert found == [size, packed_size, position]
        assert list(large) == []


@pytest.mark.parametrize("packed_size", [LIMIT - 1, LIMIT, LIMIT + 1])
def test_local_header_announces_the_form_of_the_descriptor(packed_size: int) -> None:
    """``java.util.zip.ZipInputStream`` expects the long form for more than 0xFFFFFFFF bytes."""
    entry = ZipEntry("a", DATE, packed_size - 500, packed_size, crc=1, is_streamed=True)
    is_large = packed_size > LIMIT
    assert len(entry.descriptor()) == (24 if is_large else 16)
    assert len(entry.local_header()) == 30 + 1 + (20 if is_large else 0)
    around = len(entry.local_header()) + len(entry.descriptor())
    assert entry.length() == around + packed_size


@pytest.mark.parametrize(
    ("numbers", "is_zip64"),
    [
        ((1, 46, 100), False),
        ((0xFFFE, LIMIT - 1, LIMIT - 1), False),
        ((0xFFFF, 46, 100), True),
        ((1, LIMIT, 100), True),
        ((1, 46, LIMIT), True),
    ],
)
def test_end_records_have_zip64_for_large_numbers(
    numbers: tuple[int, int, int], is_zip64: bool
) -> None:
    count, size, position = numbers
    records = end_records(count, size, position)
    assert (len(records) > 22) == is_zip64
    if is_zip64:
        assert struct.unpack_from("<4Q", records, 24) == (count, count, size, position)
        assert struct.unpack_from("<Q", records, 56 + 8) == (position + size,)


def test_deflated_size_is_known() -> None:
    for size, padding in product([0, 1, 65_534, 65_535, 65_536, 200_000], [0, 5, 500]):
        content = b"x" * size
        packed = b"".join(deflated(rechunked([content], 1000), padding))
        assert len(packed) == deflated_size(size) + padding
        entry = ZipEntry("a", DATE, size, len(packed), zlib.crc32(content))
        start, central = entry.local_header() + packed, entry.central_header(0)
        assert entry.length() == len(start)
        data = start + central + end_records(1, len(central), len(start))
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            assert zipped.read("a") == content
