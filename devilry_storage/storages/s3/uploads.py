"""List and abort multipart uploads. No listing shows their parts, but S3 charges for them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ...exceptions import StoreFailure
from .bucket import Bucket

logger = logging.getLogger("devilry_storage")


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
