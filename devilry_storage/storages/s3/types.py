"""What S3 is told about a file for those who fetch it from there."""

from __future__ import annotations

import mimetypes
import posixpath
import re
from urllib.parse import quote

from django.utils.http import content_disposition_header

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
    # mimetypes tells .Z from .z, and so does not know .GZ.
    for spelling in (spelling for name in names for spelling in (name, name.lower())):
        guessed, encoding = mimetypes.guess_type(posixpath.basename(spelling))
        if encoding is not None:
            return _COMPRESSED.get(encoding, UNKNOWN)
        if guessed is not None:
            return guessed
    return UNKNOWN


def disposition(filename: str, *, as_attachment: bool) -> str:
    """Return the Content-Disposition for a filename, of which nothing gets out of its quotes."""
    if re.fullmatch(r"[ -~]+", filename):
        return str(content_disposition_header(as_attachment, filename))
    # Django 4.2 would put control characters into the header as they are.
    kind = "attachment" if as_attachment else "inline"
    return f"{kind}; filename*=utf-8''{quote(filename, safe='')}"
