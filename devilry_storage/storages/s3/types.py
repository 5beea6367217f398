"""What S3 is told about a file for those who fetch it from there."""

from __future__ import annotations

import mimetypes

# What the bytes are that mimetypes calls an encoding of something else. They are served as they
# are: as a Content-Encoding a browser would undo it, and the file arrive with another size.
_COMPRESSED = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}

UNKNOWN = "application/octet-stream"


def content_type(*names: str) -> str:
    """Return the media type by the extension of the first name that has a known one."""
    for name in names:
        guessed, encoding = mimetypes.guess_type(name)
        if encoding is not None:
            return _COMPRESSED.get(encoding, UNKNOWN)
        if guessed is not None:
            return guessed
    return UNKNOWN
