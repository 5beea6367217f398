"""Publishing an object on S3: in one request, in parts, or as a copy; whole or not at all."""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from operator import itemgetter
from secrets import token_hex
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ...exceptions import StoreFailure
from .bucket import Bucket, pause
from .conditions import named_part, require
from .errors import ConditionFailed
from .uploads import abandon

#: Names of the metadata: whose upload it was, and the SHA-256 of the whole in hexadecimal.
TOKEN = "devilry-token"  # noqa: S105  # no secret
SHA256 = "sha256"

MIB = 1 << 20

# Limits of S3 (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
SMALLEST_PART = 5 * MIB
LARGEST_COPY = 5 << 30

# Parts of a copy are moved by the server: the fewer the better.
COPIED_PART = 1 << 30

# An upload has at most 10,000 parts: doubled after each thousand, parts of 8 MiB hold 8 TiB.
_PARTS_OF_ONE_LENGTH = 1000

Part = dict[str, Any]
"""A part as CompleteMultipartUpload names it."""

_Send = Callable[[str, int, Any], Part]
"""Sends one part: gets the id of the upload, the part's number and what it is made of."""


@dataclass(frozen=True)
class Transfer:
    """How bytes travel: threshold and part length in bytes, parts in flight.

    ``new_checksums``: the server knows more of them than MD5.
    """

    threshold: int = 8 * MIB
    part_length: int = 8 * MIB
    concurrency: int = 3
    new_checksums: bool = True

    def checksum(self, data: Any, sha256: Any) -> dict[str, Any]:
        """Return the parameter by which the server checks the object that it has received.

        ``sha256`` is the digest of the data.
        """
        if self.new_checksums:
            # A bucket with Object Lock wants the algorithm as well.
            return {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": _base64(sha256)}
        return _md5(data)

    def part_checksum(self, data: Any) -> dict[str, str]:
        """Return the parameter by which the server checks a part that it has received."""
        if self.new_checksums:
            return {"ChecksumCRC32": _base64(zlib.crc32(data).to_bytes(4, "big"))}
        return _md5(data)

    def part_lengths(self) -> Iterator[int]:
        """Yield the length of each part of an upload that may grow to any size."""
        length = max(self.part_length, SMALLEST_PART)
        while True:
            for _ in range(_PARTS_OF_ONE_LENGTH):
                yield length
            length *= 2


def _md5(data: Any) -> dict[str, str]:
    return {"ContentMD5": _base64(hashlib.md5(data, usedforsecurity=False).digest())}


def _base64(digest: bytes) -> str:
    return b64encode(digest).decode()


@dataclass(frozen=True)
class Publication:
    """One object on its way to one name.

    ``create``: only if the name is free, which the server decides; else what is there is replaced.
    ``parameters`` are the object's own; to its metadata comes the SHA-256 (hexadecimal) where it
    is known, and a ``token``, which tells our object from another's where an attempt was carried
    out but its reply was lost.
    """

    bucket: Bucket
    name: str
    parameters: Mapping[str, Any] = field(repr=False)  # may hold a key of SSE-C
    transfer: Transfer
    create: bool = True
    sha256: str = ""
    token: str = field(default_factory=lambda: token_hex(16))

    def put(self, data: Any) -> None:
        """Publish the bytes in one request; FileExistsError where the name is taken."""
        self._require("put_object")
        digest = bytes.fromhex(self.sha256) if self.sha256 else hashlib.sha256(data).digest()
        own = self._own("put_object", digest.hex())
        self._publish("put_object", Body=data, **self.transfer.checksum(data, digest), **own)

    def copy(self, source: str, size: int) -> None:
        """Publish the bytes of another name, ``size`` of them, which do not come here.

        Raises FileExistsError where the name is taken, FileNotFoundError.
        """
        from_ = self.bucket.copy_source(source)
        if size <= LARGEST_COPY:
            self._require("copy_object")
            own = self._own("copy_object", self.sha256)
            self._publish("copy_object", MetadataDirective="REPLACE", **from_, **own)
            return

        def send(upload: str, number: int, place: tuple[int, int]) -> Part:
            answer = self.bucket.call(
                "upload_part_copy",
                self.name,
                UploadId=upload,
                PartNumber=number,
                CopySourceRange=f"bytes={place[0]}-{place[1]}",
                **from_,
            )
            return named_part(number, answer["CopyPartResult"])

        def places() -> Iterator[tuple[int, int]]:
            for start in range(0, size, COPIED_PART):
                yield start, min(start + COPIED_PART, size) - 1

        self._in_parts(places, send)

    def upload(self, chunks: Callable[[], Iterable[bytes]]) -> None:
        """Publish the bytes in parts, of which no more than are in flight are in memory.

        ``chunks`` is called anew for each attempt. Raises FileExistsError where the name is taken;
        nothing is left behind then.
        """

        def send(upload: str, number: int, data: bytearray) -> Part:
            checksum = self.transfer.part_checksum(data)
            answer = self.bucket.call(
                "upload_part", self.name, UploadId=upload, PartNumber=number, Body=data, **checksum
            )
            # Not every server repeats the checksum.
            return named_part(number, {**checksum, **answer})

        algorithm = {"ChecksumAlgorithm": "CRC32"} if self.transfer.new_checksums else {}
        self._in_parts(lambda: joined(chunks(), self.transfer.part_lengths()), send, **algorithm)

    # -- Their parts --

    def _require(self, operation: str) -> None:
        if self.create:
            require(self.bucket, operation)

    def _own(self, operation: str, sha256: str) -> dict[str, Any]:
        """Return the object's parameters, as far as the operation takes them."""
        if unknown := self.parameters.keys() - self.bucket.accepts("put_object"):
            raise ImproperlyConfigured(
                f"Option object_parameters has {min(unknown)!r}: S3 has no such parameter of an "
                "object. Look up its spelling in boto3's reference of put_object."
            )
        accepted = self.bucket.accepts(operation)
        own = {key: value for key, value in self.parameters.items() if key in accepted}
        known = {SHA256: sha256} if sha256 else {}
        own["Metadata"] = {**own.get("Metadata", {}), **known, TOKEN: self.token}
        return own

    def _publish(self, operation: str, **parameters: Any) -> None:
        """Send the request that makes the object visible."""
        if self.create:
            parameters["IfNoneMatch"] = "*"
        try:
            self.bucket.call(operation, self.name, **parameters)
        except StoreFailure as exception:
            taken = isinstance(exception, ConditionFailed) and not exception.conflict
            # After a completion whose reply was lost there is no such upload any more.
            if not taken and exception.code != "NoSuchUpload":
                raise
            # Even a first attempt may have been repeated on its way, by a balancer.
            if self._is_ours():
                return
            if taken:
                raise FileExistsError(f"{self.name!r} is taken.") from exception
            raise

    def _is_ours(self) -> bool:
        try:
            there = self.bucket.call("head_object", self.name)
        except FileNotFoundError:
            # It was removed meanwhile, or is what SeaweedFS takes for a folder.
            return False
        return bool(there.get("Metadata", {}).get(TOKEN) == self.token)

    def _in_parts(
        self, pieces: Callable[[], Iterable[Any]], send: _Send, **algorithm: str
    ) -> None:
        self._require("complete_multipart_upload")
        for attempt in count(1):
            try:
                self._in_parts_once(pieces(), send, algorithm)
            except ConditionFailed as exception:
                # Somebody else writes the name just now: S3 wants the upload begun again.
                if not exception.conflict or attempt >= self.bucket.attempts:
                    raise
                pause(attempt)
            else:
                return

    def _in_parts_once(
        self, pieces: Iterable[Any], send: _Send, algorithm: Mapping[str, str]
    ) -> None:
        own = self._own("create_multipart_upload", self.sha256)
        begun = self.bucket.call("create_multipart_upload", self.name, **own, **algorithm)
        upload: str = begun["UploadId"]
        try:
            sent = in_parallel(
                lambda number, piece: send(upload, number, piece),
                pieces,
                self.transfer.concurrency,
            )
            self._publish(
                "complete_multipart_upload",
                UploadId=upload,
                MultipartUpload={"Parts": sent},
            )
        except BaseException:
            abandon(self.bucket, self.name, upload)
            raise


def joined(chunks: Iterable[bytes], lengths: Iterator[int]) -> Iterator[bytearray]:
    """Yield the chunks joined and cut into parts of these lengths, the last one shorter.

    Each part is a buffer of its own, which http.client sends without copying it.
    """
    length = next(lengths)
    part = bytearray()
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            room = length - len(part)
            part += view[:room]
            view = view[room:]
            if len(part) == length:
                yield part
                part, length = bytearray(), next(lengths)
    if part:
        yield part


def in_parallel(
    send: Callable[[int, Any], Part], pieces: Iterable[Any], concurrency: int
) -> list[Part]:
    """Send the pieces, numbered from 1, so many at a time; return the parts in order.

    The first error ends it, when what is in flight has ended.
    """
    sent: list[Part] = []
    flying: set[Future[Part]] = set()
    with ThreadPoolExecutor(concurrency, thread_name_prefix="devilry-storage") as pool:
        try:
            for number, piece in enumerate(pieces, 1):
                if len(flying) == concurrency:
                    landed, flying = wait(flying, return_when=FIRST_COMPLETED)
                    sent += [future.result() for future in landed]
                flying.add(pool.submit(send, number, piece))
            sent += [future.result() for future in flying]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return sorted(sent, key=itemgetter("PartNumber"))
