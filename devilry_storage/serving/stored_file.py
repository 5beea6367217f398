"""A requested file and the response headers that describe it."""

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from django.http import Http404, HttpResponseBase
from django.utils import timezone
from django.utils.http import http_date

from .. import rfc9110
from ..conf import conf
from ..exceptions import ChecksumMismatch
from ..media_types import OCTETS, content_type, sent_type
from ..models import AbstractDelivery
from ..storages.base import DeliveryStoreMixin

logger = logging.getLogger("devilry_storage")

_SHA256 = re.compile("[0-9a-f]{64}")


@contextmanager
def missing_is_404(name: str) -> Iterator[None]:
    """Raise Http404 for a FileNotFoundError, which is logged."""
    try:
        yield
    except FileNotFoundError as exception:
        logger.exception("Cannot serve %r.", name)
        raise Http404("No file.") from exception


class File(NamedTuple):
    """A stored file to serve.

    - ``size`` is in bytes.
    - ``sha256`` (hexadecimal) and ``etag`` (with its quotes) are empty if unknown.
    - ``modified`` is in seconds since the epoch, or None if unknown.
    - ``shown`` is true if browsers should display the file instead of saving it.
    - ``size_verified`` is true if the store has just returned ``size``.
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
    size_verified: bool = False

    def verify_size(self) -> None:
        """Check, without reading the file, that it exists and has the recorded size.

        Raises Http404 if the file is missing, ChecksumMismatch if its size differs.
        """
        if self.size_verified:
            return
        with missing_is_404(self.name):
            size = self.store.size(self.name)
        if size != self.size:
            raise ChecksumMismatch(
                f"Cannot serve {self.name!r}: it has {size} bytes, but {self.size} are recorded."
            )

    def set_content_headers(self, response: HttpResponseBase) -> None:
        """Set the Content-* headers of a response with the file or a range of it."""
        response["Content-Type"] = content_type(self.media_type)
        response["Content-Disposition"] = rfc9110.content_disposition(
            self.filename, inline=self.shown
        )
        # Otherwise GZipMiddleware would compress the range and remove its Content-Length.
        response["Content-Encoding"] = "identity"

    def set_validators(self, response: HttpResponseBase) -> None:
        """Set ETag, Last-Modified and Accept-Ranges."""
        if self.etag:
            response["ETag"] = self.etag
        if self.modified is not None:
            response["Last-Modified"] = http_date(self.modified)
        response["Accept-Ranges"] = "bytes"


def file_of(filemeta: Any, name: str, store: DeliveryStoreMixin, *, inline: bool) -> File:
    """Return the file of a row, stored under the given name.

    Raises FileNotFoundError if the row has no size and the store has no file. Browsers should
    display the file if ``inline`` is true and the settings allow its type.
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
        size_verified=filemeta.size is None,
    )


def ordinary_file(store: DeliveryStoreMixin, name: str, *, inline: bool) -> File:
    """Return a file that no FileMeta records, stored under the given name.

    Raises FileNotFoundError if the store has no file. The file has validators once it is older
    than a minute, as it may be replaced by one of the same size in the same second.
    """
    size, modified = store.size(name), store.get_modified_time(name)
    is_settled = timezone.now() - modified > timedelta(minutes=1)
    media_type = sent_type(name)
    return File(
        store,
        name,
        name.rpartition("/")[2],
        size,
        etag=_etag("", f"{modified.timestamp()} {name}", size) if is_settled else "",
        modified=int(modified.timestamp()) if is_settled else None,
        media_type=media_type,
        shown=inline and media_type in conf.inline_types,
        size_verified=True,
    )


def _etag(sha256: str, name: str, size: int) -> str:
    """Return a strong entity tag, made of the checksum or else of the name and size.

    Names of different content differ. The name is hashed, because clients must not see it.
    """
    if not _SHA256.fullmatch(sha256):
        sha256 = hashlib.sha256(f"{size} {name}".encode()).hexdigest()
    return f'"{sha256}"'


def _modified(filemeta: Any) -> int | None:
    """Return when the content was last modified, in seconds, or None if it may still change.

    Files of a finished delivery are never replaced. Their date is a strong validator (RFC 9110,
    section 8.8.2.2), because it was never sent with any other content. Before a delivery is
    finished, no column records when the content changed.
    """
    delivery = getattr(filemeta, "delivery", None)
    if isinstance(delivery, AbstractDelivery) and delivery.successful:
        return int(delivery.time_of_delivery.timestamp())
    return None
