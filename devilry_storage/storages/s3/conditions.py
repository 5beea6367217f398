"""Test whether a server honours ``If-None-Match``, which prevents overwriting.

Some servers ignore the header and overwrite objects silently. Before the first small file that it
stores, each process therefore tests the server once: it creates an empty marker object twice, and
the server must reject the second attempt. If the marker exists, the first request is rejected, and
no second request is sent.
"""

from __future__ import annotations

from collections.abc import Hashable

from ...exceptions import ConditionalWritesIgnored, StoreFailure
from ...names import RESERVED
from .bucket import Bucket
from .errors import ConditionFailed

_MARKER = f"{RESERVED}/conditional-writes"

# MD5 of no bytes. A bucket with Object Lock requires a checksum, and every server knows MD5.
_CHECKSUM = {"ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}

_NOT_IMPLEMENTED = {"NotImplemented", "501"}

_known: set[Hashable] = set()


def require(bucket: Bucket) -> None:
    """Raise ConditionalWritesIgnored unless the server honours the condition of PutObject.

    Each process tests each bucket and prefix once.
    """
    if bucket.identity in _known:
        return
    if not is_honoured(bucket):
        raise ConditionalWritesIgnored(
            f"The server of {bucket} ignores If-None-Match in put_object, so one writer could "
            "overwrite the file of another. Use another server."
        )
    _known.add(bucket.identity)


def is_honoured(bucket: Bucket) -> bool:
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
