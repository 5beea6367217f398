"""Whether a server honours ``If-None-Match``, on which it rests that nothing is overwritten.

Some servers ignore the header and overwrite, without a word. So before the first request of a
kind that relies on it, each process asks once: it creates a marker of no bytes twice, and the
second attempt has to be refused. Where the marker is there already that is one request.
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

# MD5 of no bytes: a bucket with Object Lock wants a checksum, and each server knows this one.
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


def named_part(number: int, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part as CompleteMultipartUpload names it, with the checksum that it was sent with.

    S3 wants that where the upload was begun with an algorithm, which boto3 adds by itself.
    """
    kept = {key: answer[key] for key in ("ETag", "ChecksumCRC32") if key in answer}
    return {"PartNumber": number, **kept}


def _copy(bucket: Bucket) -> None:
    _twice_refused(_put, bucket)  # there has to be something to copy
    bucket.call("copy_object", _COPIED, **bucket.copy_source(MARKER), IfNoneMatch="*")


_TRIALS: dict[str, Callable[[Bucket], None]] = {
    "put_object": _put,
    "complete_multipart_upload": _complete,
    "copy_object": _copy,
}

#: What a site does where the condition of an operation is ignored.
REMEDIES = {
    "put_object": "allow_races=True, which looks first and writes then",
    "complete_multipart_upload": "allow_races=True, which looks first and writes then",
    "copy_object": "server_side_copy=False, which copies through this machine",
}

_known: set[Hashable] = set()


def findings(bucket: Bucket) -> Iterator[tuple[str, bool]]:
    """Yield each operation that can be conditional, and whether the server honours that.

    Asks whatever is known, with few requests; leaves the marker, which is in no listing. Raises
    the errors of a store.
    """
    for operation, trial in _TRIALS.items():
        yield operation, _twice_refused(trial, bucket)


def require(bucket: Bucket, operation: str) -> None:
    """Raise ConditionalWritesIgnored unless the server honours the condition of the operation.

    Asked once for a process and place.
    """
    fact = (bucket.identity, operation)
    if fact in _known:
        return
    if not _twice_refused(_TRIALS[operation], bucket):
        raise ConditionalWritesIgnored(
            f"The server of {bucket} ignores If-None-Match in {operation}: of two writers of one "
            "name the second would overwrite the first. Use another server, or give the store the "
            f"option {REMEDIES[operation]}."
        )
    _known.add(fact)


def _twice_refused(trial: Callable[[Bucket], None], bucket: Bucket) -> bool:
    """Tell whether the second attempt, at the latest, was refused."""
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
