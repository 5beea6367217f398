"""Aborting uploads in parts: what they have sent is in no listing, but is paid for."""

from __future__ import annotations

import logging
from dataclasses import replace

from ...exceptions import StoreFailure
from .bucket import Bucket

logger = logging.getLogger("devilry_storage")


def abort(bucket: Bucket, name: str, upload: str) -> None:
    """Abort an upload; one that is not there any more is aborted already.

    By an attempt before this one whose reply was lost, by another purge or by a lifecycle rule.
    """
    try:
        bucket.call("abort_multipart_upload", name, UploadId=upload)
    except StoreFailure as exception:
        if exception.code != "NoSuchUpload":
            raise


def abandon(bucket: Bucket, name: str, upload: str) -> None:
    """Abort an upload that has failed; never raises, for the first error is what matters.

    One attempt: the server may be gone, and what stays is invisible until a purge aborts it.
    """
    try:
        abort(replace(bucket, attempts=1), name, upload)
    except Exception as exception:  # noqa: BLE001  # see above
        logger.warning("The upload of %r could not be aborted: %s", name, exception)
