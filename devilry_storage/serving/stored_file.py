"""A file that is asked for: where it lies, and what the headers of an answer say of it."""

from __future__ import annotations

import hashlib
import logging
import re
from typing import Any, NamedTuple

from django.http import Http404, HttpResponseBase

from .. import rfc9110
from ..conf import conf
from ..exceptions import ChecksumMismatch
from ..media_types import OCTETS, content_type, sent_type
from ..models import AbstractDelivery
from ..storages.base import DeliveryStoreMixin

logger = logging.getLogger("devilry_storage")

_SHA256 = re.compile("[0-9a-f]{64}")


class File(NamedTuple):
    """A stored file as it is sent.

    ``size`` is in bytes; ``sha256`` (hexadecimal) and ``etag`` (with its quotes) are empty and
    ``modified`` (seconds since the epoch) is None where nobody knows. ``shown`` tells whether a
    browser is to show it, ``looked_at`` whether the size is what the store has just told.
    """

    store: DeliveryStoreMixin
    name: str
    filename: str
    size: int
    sha256: str = ""
    etag: str = ""
    modified: int | None = None
    media_type: str = OCTETS
    shown: bool = False
    looked_at: bool = False

    def look(self) -> None:
        """Look whether it is there with its size, without reading it.

        Raises Http404 where it is gone, ChecksumMismatch where it has another size.
        """
        if self.looked_at:
            return
        try:
            size = self.store.size(self.name)
        except FileNotFoundError as exception:
            logger.exception("%r cannot be served.", self.name)
            raise Http404("No file.") from exception
        if size != self.size:
            raise ChecksumMismatch(
                f"{self.name!r} has {size} bytes, but {self.size} are recorded: it is not served."
            )

    def describe(self, answer: HttpResponseBase) -> None:
        """Set the headers of an answer that has the file, or a part of it."""
        answer["Content-Type"] = content_type(self.media_type)
        answer["Content-Disposition"] = rfc9110.content_disposition(
            self.filename, inline=self.shown
        )
        # Else GZipMiddleware would compress a range, and take away its length.
        answer["Content-Encoding"] = "identity"

    def validate(self, answer: HttpResponseBase) -> None:
        """Set the headers by which a client asks again: for what has changed, or for the rest."""
        if self.etag:
            answer["ETag"] = self.etag
        if self.modified is not None:
            answer["Last-Modified"] = rfc9110.http_date(self.modified)
        answer["Accept-Ranges"] = "bytes"


def file_of(filemeta: Any, name: str, store: DeliveryStoreMixin, *, inline: bool) -> File:
    """Return the file of a row that lies under the name; FileNotFoundError if it does not.

    It is shown if ``inline`` asks for it and the settings allow it for its type.
    """
    size = store.size(name) if filemeta.size is None else filemeta.size
    media_type = sent_type(filemeta.filename)
    return File(
        store,
        name,
        filemeta.filename,
        size,
        filemeta.sha256,
        _etag(filemeta.sha256.lower(), name, size),
        _modified(filemeta),
        media_type,
        inline and media_type in conf.inline_types,
        looked_at=filemeta.size is None,
    )


def _etag(sha256: str, name: str, size: int) -> str:
    """Return a strong entity tag: another content is another hash, or has at least another name.

    The name itself is nobody's business.
    """
    if not _SHA256.fullmatch(sha256):
        sha256 = hashlib.sha256(f"{size} {name}".encode()).hexdigest()
    return f'"{sha256}"'


def _modified(filemeta: Any) -> int | None:
    """Return the second since when the content has been this one, None if it may yet change.

    In a finished delivery nothing is replaced; no column tells when it was before. So the date is
    a strong validator, too (RFC 9110, section 8.8.2.2): no other content ever had it.
    """
    delivery = getattr(filemeta, "delivery", None)
    if isinstance(delivery, AbstractDelivery) and delivery.successful:
        return int(delivery.time_of_delivery.timestamp())
    return None
