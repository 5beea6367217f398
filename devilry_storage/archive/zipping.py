"""Generate a zip file of known length while it is sent, with little memory.

A damaged file neither makes an archive fail nor changes its length. The name of a small one gets
an ending instead of the spare bytes of its headers. A larger one has a wrong checksum in the
central directory, which lists it last, because Python's ``extractall()`` stops there. Behind its
content the checksum is right: ``java.util.zip.ZipInputStream`` would stop at a wrong one.
"""

import json
import logging
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing

from django.utils import timezone
from django.utils.translation import get_language, override
from django.utils.translation import gettext as _

from .._compat import batched
from ..signals import file_damaged
from ..storages.base import DeliveryStoreMixin
from ..storages.chunks import CHUNK_SIZE
from .entries import MISSING, Member, local_date
from .paths import DAMAGED
from .readahead import SMALL, read_members
from .zip_records import SPARE, ZipEntry, deflated, deflated_size, end_records, rechunked

logger = logging.getLogger("devilry_storage")

REPORT = "REPORT.txt"
SUMS = "SHA256SUMS"

# Number of members that are objects at once.
_BATCH_SIZE = 100

_SHA256 = re.compile("[0-9a-f]{64}")

# The order of members in the central directory.
_FIRST, _INTACT, _RENAMED, _WRONG = range(4)


class _Directory:
    """The central directory, and the ``position`` of the next member.

    Without ``keep`` it is only counted.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self.position = self.size = self._count = 0
        self._keep = keep
        self._parts = [bytearray() for _ in (_FIRST, _INTACT, _RENAMED, _WRONG)]

    def add(self, entry: ZipEntry, order: int = _INTACT) -> None:
        header = entry.central_header(self.position)
        if self._keep:
            self._parts[order] += header
        self.size += len(header)
        self.position += entry.length()
        self._count += 1

    def records(self) -> list[bytes | bytearray]:
        """Return the bytes behind the last member, in parts."""
        return [*self._parts, end_records(self._count, self.size, self.position)]


class Archive:
    """A zip file of files of one store. It can be iterated over once.

    ``members`` may be lazy. Those of the size MISSING are left out.

    - ``length`` is in bytes. It is the same whether files are damaged or not.
    - ``count`` is the number of files.
    - ``missing`` lists the paths of files that the store does not have.
    - ``damaged`` lists the paths in the archive of files that were found to be damaged so far.

    ``REPORT.txt`` in the archive names both. They are logged, and for each the signal
    :data:`~devilry_storage.signals.file_damaged` is sent. Iterating raises ConnectionError or
    TimeoutError if the store becomes unavailable.
    """

    def __init__(self, store: DeliveryStoreMixin, members: Iterable[Member]) -> None:
        self._store = store
        # In batches, as text: a tuple with its strings takes three times the memory.
        self._members = deque[str]()
        self._missing: list[Member] = []
        self.count = 0
        self.damaged: list[str] = []
        self._is_verified = True
        self._now, self._language = local_date(timezone.now()), get_language()
        directory, sums, paths = _Directory(keep=False), 0, 0
        for batch in batched(members, _BATCH_SIZE):
            self._missing += [member for member in batch if member.size == MISSING]
            found = [member for member in batch if member.size != MISSING]
            for member in found:
                directory.add(_entry(member))
            self._members.append(json.dumps(found))
            self.count += len(found)
            self._is_verified &= all(member.sha256 for member in found)
            sums += sum(len(_sum_of(member, "")) for member in batch)
            paths += sum(len(member.path.encode()) for member in found)
        self.missing = [member.path for member in self._missing]
        longest = len(self._text([DAMAGED] * self.count)) + paths
        self._report_size = deflated_size(max(longest, len(self._text([]))) + 4)
        directory.add(ZipEntry(SUMS, self._now, sums, sums))
        directory.add(ZipEntry(REPORT, self._now, 0, self._report_size))
        self.length = directory.position + directory.size + len(directory.records()[-1])

    def _found(self) -> Iterator[Member]:
        while self._members:
            for path, name, size, sha256, date in json.loads(self._members.popleft()):
                yield Member(path, name, size, sha256, tuple(date))

    def _text(self, damaged: list[str]) -> bytes:
        """Return the report on missing and damaged files, in the language of the request."""
        lines = []
        with override(self._language):
            for sentence, paths in (
                (
                    _("These files could not be read, so they are missing from this archive:"),
                    self.missing,
                ),
                (_("These files are damaged: their contents are not what was stored:"), damaged),
            ):
                if paths:
                    lines += [sentence, *(f"  {path}" for path in paths), ""]
            if lines:
                lines.append(_("Please send this report to the administrators of the site."))
            elif self._is_verified:
                lines.append(_("All files were verified: their contents are what was stored."))
            if not self._is_verified:
                lines.append(_("Files without a recorded checksum were not verified."))
        return "\n".join([*lines, ""]).encode()

    def __iter__(self) -> Iterator[bytes]:
        # Many small chunks would be slow.
        return rechunked(self._pieces(), CHUNK_SIZE)

    def _pieces(self) -> Iterator[bytes | bytearray]:
        directory, sums = _Directory(), bytearray()
        for member in self._missing:
            self._record("Missing from", member, "the store does not have it")
            sums += _sum_of(member, member.sha256)
        with closing(read_members(self._store, self._found())) as contents:
            for content in contents:
                entry = _entry(content.member, content.crc, content.fault)
                yield entry.local_header()
                if entry.is_streamed:
                    yield from deflated(content.stream())
                    entry = entry._replace(crc=content.crc)
                else:
                    yield content.data
                yield entry.descriptor()
                if content.fault:
                    self._record("Damaged in", content.member, content.fault)
                    self.damaged.append(entry.path)
                if content.fault and entry.is_streamed:
                    directory.add(entry._replace(crc=content.crc ^ 1), _WRONG)
                else:
                    directory.add(entry, _RENAMED if content.fault else _INTACT)
                sums += _sum_of(content.member, content.sha256)
        entry = ZipEntry(SUMS, self._now, len(sums), len(sums), zlib.crc32(sums))
        directory.add(entry)
        yield entry.local_header() + sums
        text = self._text(self.damaged)
        # The report is padded with empty blocks of five bytes, which unpackers skip.
        text += b"\n" * ((self._report_size - len(text)) % 5)
        packed = b"".join(deflated([text], self._report_size - deflated_size(len(text))))
        entry = ZipEntry(REPORT, self._now, len(text), len(packed), zlib.crc32(text))
        directory.add(entry, _FIRST)
        yield entry.local_header() + packed
        yield from directory.records()

    def _record(self, what: str, member: Member, reason: str) -> None:
        logger.error("%s an archive: %r: %r", what, member.name, reason)
        file_damaged.send_robust(
            sender=type(self._store), store=self._store, name=member.name, reason=reason
        )


def _entry(member: Member, crc: int = 0, fault: str = "") -> ZipEntry:
    """Return the entry of a member as it is known when its header is sent."""
    path, _name, size, _sha256, date = member
    if size > SMALL:
        return ZipEntry(path, date, size, deflated_size(size), is_streamed=True)
    if fault:
        return ZipEntry(path + DAMAGED, date, size, size, crc)
    return ZipEntry(path, date, size, size, crc, extra=SPARE)


def _sum_of(member: Member, sha256: str) -> bytes:
    """Return the line of SHA256SUMS, with zeros if the SHA-256 is unknown or invalid."""
    known = sha256.lower() if _SHA256.fullmatch(sha256.lower()) else "0" * 64
    return f"{known}  {member.path}\n".encode()
