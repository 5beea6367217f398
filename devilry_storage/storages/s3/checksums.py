"""Checksums of requests, by which the server rejects bytes that were damaged on the way.

Some servers reject the checksums that S3 has had since 2022 (``x-amz-checksum-*``). If the site
sets botocore's ``request_checksum_calculation`` to ``when_required``, requests have Content-MD5
instead, which every server knows.
"""

import hashlib
import zlib
from base64 import b64encode
from typing import Any


def of_object(client: Any, data: Any, sha256: bytes) -> dict[str, Any]:
    """Return the checksum parameters of an object; ``sha256`` is the digest of the data."""
    if not _are_new(client):
        return {"ContentMD5": _md5(data)}
    # A bucket with Object Lock requires the algorithm as well.
    return {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": _base64(sha256)}


def of_parts(client: Any) -> dict[str, str]:
    """Return the parameters of an upload in parts for the checksums of its parts."""
    return {"ChecksumAlgorithm": "CRC32"} if _are_new(client) else {}


def of_part(client: Any, data: Any) -> dict[str, str]:
    """Return the checksum parameter of a part."""
    if not _are_new(client):
        return {"ContentMD5": _md5(data)}
    return {"ChecksumCRC32": _base64(zlib.crc32(data).to_bytes(4, "big"))}


def prefer_md5(model: Any, params: dict[str, Any], **kwargs: Any) -> None:
    """Send DeleteObjects with Content-MD5, and no request with both kinds of checksums.

    S3 requires a checksum for DeleteObjects. botocore calls this handler before it adds a new one,
    in a trailer if the body is a file and the connection has TLS.
    """
    if model.name == "DeleteObjects":
        params["headers"]["Content-MD5"] = _md5(params["body"])
    if "Content-MD5" in params["headers"]:
        params["context"].pop("checksum", None)


def not_of_a_range(params: dict[str, Any], **kwargs: Any) -> None:
    """Do not request the checksum of the whole object with a range of it.

    Some servers (rclone) send it, and botocore would compare it with the range. For whole objects
    botocore requests and compares it, unless ``response_checksum_validation`` is
    ``when_required``.
    """
    if "Range" in params:
        params.pop("ChecksumMode", None)


def _are_new(client: Any) -> bool:
    return bool(client.meta.config.request_checksum_calculation != "when_required")


def _md5(data: Any) -> str:
    return _base64(hashlib.md5(data, usedforsecurity=False).digest())


def _base64(digest: bytes) -> str:
    return b64encode(digest).decode()
