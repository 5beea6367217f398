"""Publish objects on S3 atomically: in one request, in parts, or as a copy."""

import hashlib
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from secrets import token_hex
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ...exceptions import ConditionalWritesIgnored, StoreFailure
from ...names import RESERVED
from ..pools import Pool
from . import checksums
from .bucket import Bucket
from .errors import ConditionFailed

logger = logging.getLogger("devilry_storage")

#: Keys of an object's metadata: the token of the upload, and the SHA-256 in hexadecimal.
TOKEN = "devilry-token"  # noqa: S105  # no secret
SHA256 = "sha256"

MIB = 1 << 20

# Limits of S3 (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
SMALLEST_PART = 5 * MIB
LARGEST_COPY = 5 << 30

# The server moves the parts of a copy, so a few long parts are best.
COPIED_PART = 1 << 30

# An upload has at most 10,000 parts. The length of parts doubles after each thousand, so with
# 8 MiB at first they have room for 8 TiB.
_PARTS_OF_ONE_LENGTH = 1000

Part = dict[str, Any]
"""A part in the form that CompleteMultipartUpload needs."""

_Send = Callable[[str, int, Any], Part]
"""Send one part, given the id of the upload, the number of the part and its data or range."""


@dataclass(frozen=True)
class Transfer:
    """Parameters of transfers: threshold and part length in bytes, and concurrent parts."""

    threshold: int = 8 * MIB
    part_length: int = 8 * MIB
    concurrency: int = 3

    def part_lengths(self) -> Iterator[int]:
        """Yield the lengths of parts, without end, for an upload of unknown size."""
        length = max(self.part_length, SMALLEST_PART)
        while True:
            for _ in range(_PARTS_OF_ONE_LENGTH):
                yield length
            length *= 2


@dataclass(frozen=True)
class Publication:
    """Publication of one object under one name.

    ``parameters``
        the parameters of the object. Its metadata also gets the token, and the SHA-256 if it is
        known.
    ``sha256``
        the SHA-256 of the bytes in hexadecimal, or ``""``.
    ``token``
        a random value by which the store recognises its own object if a request succeeded, but
        its response was lost.
    """

    bucket: Bucket
    name: str
    parameters: Mapping[str, Any] = field(repr=False)  # may contain an SSE-C key
    transfer: Transfer
    sha256: str = ""
    token: str = field(default_factory=lambda: token_hex(16))

    def put(self, data: Any, *, create: bool = True) -> None:
        """Publish the bytes in one request.

        If ``create``, raise FileExistsError if the name is used, which the server decides.
        Otherwise replace the object.
        """
        condition = {}
        if create:
            require_conditions(self.bucket)
            condition = {"IfNoneMatch": "*"}
        digest = bytes.fromhex(self.sha256) if self.sha256 else hashlib.sha256(data).digest()
        own = self._own("put_object", digest.hex())
        checksum = checksums.of_object(self.bucket.client, data, digest)
        try:
            self._publish("put_object", Body=data, **checksum, **own, **condition)
        except ConditionFailed as exception:
            if not create:
                raise
            raise FileExistsError(f"{self.name!r} is taken.") from exception

    def copy(self, source: str, size: int) -> None:
        """Publish a copy of another object of ``size`` bytes, within S3; replace the object.

        Raise FileNotFoundError if the source is missing.
        """
        from_ = self.bucket.copy_source(source)
        if size <= LARGEST_COPY:
            own = self._own("copy_object", self.sha256)
            self._publish("copy_object", MetadataDirective="REPLACE", **from_, **own)
            return

        def send(upload: str, number: int, positions: tuple[int, int]) -> Part:
            first, last = positions
            response = self.bucket.call(
                "upload_part_copy",
                self.name,
                UploadId=upload,
                PartNumber=number,
                CopySourceRange=f"bytes={first}-{last}",
                **from_,
            )
            return named_part(number, response["CopyPartResult"])

        starts = range(0, size, COPIED_PART)
        self._in_parts(((start, min(start + COPIED_PART, size) - 1) for start in starts), send)

    def upload(self, chunks: Iterable[bytes]) -> None:
        """Publish the bytes in parts; replace the object.

        Only the parts that are being sent are in memory. A failed upload is aborted.
        """

        def send(upload: str, number: int, data: bytearray) -> Part:
            checksum = checksums.of_part(self.bucket.client, data)
            response = self.bucket.call(
                "upload_part", self.name, UploadId=upload, PartNumber=number, Body=data, **checksum
            )
            # Some servers do not return the checksum.
            return named_part(number, {**checksum, **response})

        algorithm = checksums.of_parts(self.bucket.client)
        self._in_parts(joined(chunks, self.transfer.part_lengths()), send, **algorithm)

    # -- Helpers --

    def _own(self, operation: str, sha256: str) -> dict[str, Any]:
        """Return the object's parameters that the operation accepts, with its metadata."""
        if unknown := self.parameters.keys() - self.bucket.accepts("put_object"):
            raise ImproperlyConfigured(
                f"Option 'object_parameters' contains {min(unknown)!r}, which S3 does not know: "
                "look up its spelling in boto3's reference of put_object."
            )
        accepted = self.bucket.accepts(operation)
        own = {key: value for key, value in self.parameters.items() if key in accepted}
        known = {SHA256: sha256} if sha256 else {}
        own["Metadata"] = {**own.get("Metadata", {}), **known, TOKEN: self.token}
        return own

    def _publish(self, operation: str, **parameters: Any) -> None:
        """Send the request that makes the object visible."""
        try:
            self.bucket.call(operation, self.name, **parameters)
        except StoreFailure as exception:
            # The response to an earlier attempt may have been lost, and a load balancer may have
            # repeated even the first attempt.
            repeated = isinstance(exception, ConditionFailed) or exception.code == "NoSuchUpload"
            if not repeated or not self._is_ours():
                raise

    def _is_ours(self) -> bool:
        try:
            found = self.bucket.call("head_object", self.name)
        except FileNotFoundError:
            # It was deleted since, or the name is a folder of SeaweedFS.
            return False
        return bool(found.get("Metadata", {}).get(TOKEN) == self.token)

    def _in_parts(self, pieces: Iterable[Any], send: _Send, **algorithm: str) -> None:
        own = self._own("create_multipart_upload", self.sha256)
        response = self.bucket.call("create_multipart_upload", self.name, **own, **algorithm)
        upload: str = response["UploadId"]
        try:
            sent = in_parallel(partial(send, upload), pieces, self.transfer.concurrency)
            self._publish(
                "complete_multipart_upload", UploadId=upload, MultipartUpload={"Parts": sent}
            )
        except BaseException:
            abandon(self.bucket, self.name, upload)
            raise


def named_part(number: int, response: Mapping[str, Any]) -> Part:
    """Return a part in the form that CompleteMultipartUpload needs, with its checksum.

    S3 requires the checksum if the upload was created with a checksum algorithm, which boto3 adds
    by default.
    """
    kept = {key: response[key] for key in ("ETag", "ChecksumCRC32") if key in response}
    return {"PartNumber": number, **kept}


def joined(chunks: Iterable[bytes], lengths: Iterator[int]) -> Iterator[bytearray]:
    """Yield the bytes of the chunks in parts of these lengths; the last part may be shorter.

    Each part is a new buffer, which http.client sends without copying it.
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
    """Send the pieces concurrently, numbered from 1; return the parts in order.

    After the first error no more pieces are sent. It is raised when the pending ones are done.
    """
    sent: list[Part] = []
    flying: set[Future[Part]] = set()
    with Pool(concurrency) as pool:
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


# -- Conditions --

# Some servers ignore If-None-Match, which prevents overwriting, and overwrite objects silently.
# Before the first small file that it stores, each process therefore tests the server once: it
# creates an empty marker object twice, and the server must reject the second attempt. If the
# marker exists, the first request is rejected, and no second request is sent.
_MARKER = f"{RESERVED}/conditional-writes"

# MD5 of no bytes. A bucket with Object Lock requires a checksum, and every server knows MD5.
_CHECKSUM = {"ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}

_NOT_IMPLEMENTED = {"NotImplemented", "501"}

_known: set[Hashable] = set()


def require_conditions(bucket: Bucket) -> None:
    """Raise ConditionalWritesIgnored unless the server honours the condition of PutObject.

    Each process tests each bucket and prefix once.
    """
    if bucket.identity in _known:
        return
    if not honours_conditions(bucket):
        raise ConditionalWritesIgnored(
            f"The server of {bucket} ignores If-None-Match in put_object, so one writer could "
            "overwrite the file of another. Use another server."
        )
    _known.add(bucket.identity)


def honours_conditions(bucket: Bucket) -> bool:
    """Return whether the server rejects the first or the second of two attempts.

    The marker stays in the bucket, but no listing of the store contains it.
    """
    for _ in range(2):
        try:
            bucket.call("put_object", _MARKER, Body=b"", IfNoneMatch="*", **_CHECKSUM)
        except ConditionFailed:
            return True
        except StoreFailure as exception:
            if exception.code in _NOT_IMPLEMENTED:
                return False
            raise
    return False


# -- Multipart uploads: no listing shows their parts, but S3 charges for them --


def unfinished(bucket: Bucket, folder: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name of each unfinished upload whose name begins so, and its entry.

    The entry has its ``UploadId``, and when it was ``Initiated``.
    """
    for page in bucket.pages("list_multipart_uploads", Prefix=bucket.key(folder)):
        for upload in page.get("Uploads", ()):
            yield upload["Key"].removeprefix(bucket.prefix), upload


def abort(bucket: Bucket, name: str, upload: str) -> None:
    """Abort an upload; do nothing if it does not exist.

    An attempt whose response was lost, another purge or a lifecycle rule may have aborted it.
    """
    try:
        bucket.call("abort_multipart_upload", name, UploadId=upload)
    except StoreFailure as exception:
        if exception.code != "NoSuchUpload":
            raise


def abandon(bucket: Bucket, name: str, upload: str) -> None:
    """Abort a failed upload; log errors instead of raising them.

    The caller raises the error of the upload. There is only one attempt, because the server may
    be down. An upload that stays is invisible, and a purge aborts it later.
    """
    try:
        abort(replace(bucket, attempts=1), name, upload)
    except Exception as exception:  # noqa: BLE001  # see above
        logger.warning("Cannot abort the upload of %r: %r", name, str(exception))
