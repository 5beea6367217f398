"""Unpack archives as different programs do."""

from __future__ import annotations

import os
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

_STORED = 0
_STREAMED = 0x0008


def read_forward(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each member, without the central directory.

    Like ``java.util.zip.ZipInputStream``, it needs the sizes of uncompressed members in their
    headers, and stops at a wrong checksum.
    """
    position = 0
    while data[position : position + 4] == b"PK\3\4":
        _version, flags, method, _time, _date, crc, packed_size, size, name_size, extra_size = (
            struct.unpack_from("<5H3L2H", data, position + 4)
        )
        position += 30
        path = data[position : position + name_size].decode()
        position += name_size + extra_size
        if method == _STORED:
            assert not flags & _STREAMED, f"{path!r} has no size"
            content = data[position : position + size]
            position += packed_size
        else:
            decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
            content = decompressor.decompress(data[position:])
            assert decompressor.eof
            position = len(data) - len(decompressor.unused_data)
        if flags & _STREAMED:
            signature, crc, _packed_size, size = struct.unpack_from("<4s3L", data, position)
            assert signature == b"PK\7\x08"
            position += 16
        assert (zlib.crc32(content), len(content)) == (crc, size), path
        yield path, content
    assert data[position : position + 4] == b"PK\1\2"


def _forward(archive: Path, folder: Path) -> int:
    for path, content in read_forward(archive.read_bytes()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return 0


def _python(archive: Path, folder: Path) -> int:
    with zipfile.ZipFile(archive) as zipped, suppress(zipfile.BadZipFile):
        zipped.extractall(folder)
        return 0
    return 1


def _program(*command: str) -> Callable[[Path, Path], int]:
    def unpack(archive: Path, folder: Path) -> int:
        environment = {"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
        return subprocess.run(
            [*command, archive], cwd=folder, env=environment, capture_output=True, check=False
        ).returncode

    return unpack


#: Functions of an archive and a folder, which return 0 if no problem was found.
UNPACKERS = {
    "forward": _forward,
    "python": _python,
    "unzip": _program("unzip", "-qq"),
    "7z": _program("7z", "x", "-bso0", "-bsp0"),
    "bsdtar": _program("bsdtar", "-xf"),
}


def failed_sums(folder: Path) -> set[str]:
    """Return the paths that ``sha256sum -c`` reports."""
    done = subprocess.run(
        ["sha256sum", "-c", "--quiet", "SHA256SUMS"],
        cwd=folder,
        env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
        text=True,
    )
    return {line.rpartition(": FAILED")[0] for line in done.stdout.splitlines()}
