"""Test whether a server honours ``If-None-Match``, which prevents overwriting.

Some servers ignore the header and overwrite objects silently. Before the first request of each
kind that relies on it, each process therefore tests the server once: it creates an empty marker
object twice, and the server must reject the second attempt. If the marker exists, the first
request is rejected, and there is no second one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

from ...exceptions import ConditionalWritesIgnored, StoreFailure
from ...names import RESERVED
from .bucket import Bucket
from .errors import ConditionFailed
from .uploads import abandon

MARKER = f"{RESERVED}/conditional-writes"
_COPIED = f"{RESERVED}/conditional-copies"

# MD5 of no bytes. A bucket with Object Lock requires a checksum, and every server knows MD5.
_CHECKSUM = {"ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}

_NOT_IMPLEMENTED = {"NotImplemented", "501"}


def _put(bucket: Bucket) -> None:
    bucket.call("put_object", MARKER, Body=b"", IfNoneMatch="*", **_CHECKSUM)


def _complete(bucket: Bucket) -> None:
    upload = bucket.call("create_multipart_upload", MARKER)["UploadId"]
    try:
        part = bucket.call(
            "upload_part", MARKER, UploadId=upload, PartNumber=1, Body=b"", **_CHECKSUM
        )
        bucket.call(
            "complete_multipart_upload",
            MARKER,
            UploadId=upload,
            MultipartUpload={"Parts": [named_part(1, part)]},
            IfNoneMatch="*",
        )
    except BaseException:
        abandon(bucket, MARKER, upload)
        raise


def named_part(number: int, response: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part in the form that CompleteMultipartUpload needs, with its checksum.

    S3 requires the checksum if the upload was created with a checksum algorithm, which boto3 adds
    by default.
    """
    kept = {key: response[key] for key in ("ETag", "ChecksumCRC32") if key in response}
    return {"PartNumber": number, **kept}


def _copy(bucket: Bucket) -> None:
    _is_honoured(_put, bucket)  # create the source of the copy
    bucket.call("copy_object", _COPIED, **bucket.copy_source(MARKER), IfNoneMatch="*")


_TRIALS: dict[str, Callable[[Bucket], None]] = {
    "put_object": _put,
    "complete_multipart_upload": _complete,
    "copy_object": _copy,
}

#: The option to set if the server ignores the condition of an operation.
REMEDIES = {
    "put_object": "allow_races=True, which checks for the name before writing",
    "complete_multipart_upload": "allow_races=True, which checks for the name before writing",
    "copy_object": "server_side_copy=False, which copies through this machine",
}

_known: set[Hashable] = set()


def findings(bucket: Bucket) -> Iterator[tuple[str, bool]]:
    """Yield each operation that can be conditional, and whether the server honours the condition.

    The server is always tested, even if the process knows the result. The marker stays in the
    bucket, but no listing of the store contains it. Raise the exceptions of a store.
    """
    for operation, trial in _TRIALS.items():
        yield operation, _is_honoured(trial, bucket)


def require(bucket: Bucket, operation: str) -> None:
    """Raise ConditionalWritesIgnored unless the server honours the condition of the operation.

    Each process tests each bucket and prefix once.
    """
    fact = (bucket.identity, operation)
    if fact in _known:
        return
    if not _is_honoured(_TRIALS[operation], bucket):
        raise ConditionalWritesIgnored(
            f"The server of {bucket} ignores If-None-Match in {operation}, so one writer could "
            "overwrite the file of another. Use another server, or set the store's option "
            f"{REMEDIES[operation]}."
        )
    _known.add(fact)


def _is_honoured(trial: Callable[[Bucket], None], bucket: Bucket) -> bool:
    """Return whether the server rejects the first or the second of two attempts."""
    for _ in range(2):
        try:
            trial(bucket)
        except ConditionFailed:
            return True
        except StoreFailure as exception:
            if exception.code in _NOT_IMPLEMENTED:
                return False
            raise
    return False
