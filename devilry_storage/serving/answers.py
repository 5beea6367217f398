"""Answers to whoever may read a file; who may is not asked here."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotModified,
    HttpResponseRedirect,
)
from django.utils.http import http_date

from .. import http
from ..conf import conf
from ..storages.base import DeliveryStoreMixin
from ..store import resolve
from .access import record_access
from .protecting import protect
from .streaming import Body, streamed

logger = logging.getLogger("devilry_storage")

Record = Callable[[int, str], None]


class _Download(NamedTuple):
    """A file that is asked for: where it lies, and what its headers say of it.

    ``modified`` is in seconds since the epoch, ``shown`` tells whether a browser is to show it.
    """

    store: DeliveryStoreMixin
    name: str
    filename: str
    size: int
    sha256: str
    etag: str
    modified: int
    media_type: str
    shown: bool


def serve(request: HttpRequest, filemeta: Any, *, inline: bool = False) -> HttpResponseBase:
    """Answer a GET or HEAD with the file of a row: whole, a range, or what conditions demand.

    ``inline`` asks for it to be shown, which is done for ``DELIVERY_STORE_INLINE_TYPES`` alone.
    The bytes travel as ``DELIVERY_STORE_SERVE`` says. Raises Http404 where the row has no file,
    or the store has not; ImproperlyConfigured where the store cannot do what the setting says.
    """
    if not filemeta.content.name:
        raise Http404("No file.")
    store, alias = resolve(filemeta)
    file = _download(filemeta, store, inline)
    way = _way(alias, file.size)

    def record(size: int, outcome: str) -> None:
        what = f"{filemeta._meta.label_lower}:{filemeta.pk}"
        record_access(request, what, way, size, outcome, instance=filemeta)

    status = http.failed_condition(request.headers, file.etag, file.modified)
    if status is not None:
        record(0, "not modified" if status == 304 else "condition failed")
        return _bodiless(file, status)
    if request.method == "HEAD":
        record(0, "head")
        return _described(HttpResponse(headers={"Content-Length": file.size}), file)
    if way == "redirect":
        return _redirected(file, record)
    if way == "sendfile":
        return _left_to_the_web_server(request, file, record)
    return _streamed(request, file, record)


def serve_name(request: HttpRequest, store: DeliveryStoreMixin, name: str) -> HttpResponseBase:
    """Answer a GET or HEAD with bytes that no row names: an attachment of no particular type.

    They are not verified, for nothing is known of them. Raises Http404, InvalidName.
    """
    try:
        size = store.size(name)
    except FileNotFoundError as exception:
        raise Http404("No file.") from exception
    answer: HttpResponseBase
    if request.method == "HEAD":
        answer = HttpResponse()
    else:
        record = partial(record_access, request, "bytes-without-row", "stream")
        answer = streamed(request, Body(store.stream(name), size, name, record))
    answer["Content-Length"] = str(size)
    answer["Content-Type"] = http.OCTETS
    answer["Content-Disposition"] = http.content_disposition(name.rpartition("/")[2])
    answer["Content-Encoding"] = "identity"
    return protect(answer)


def _download(filemeta: Any, store: DeliveryStoreMixin, inline: bool) -> _Download:
    name = filemeta.content.name
    size = store.size(name) if filemeta.size is None else filemeta.size
    media_type = http.media_type(filemeta.filename)
    known = filemeta.sha256 or hashlib.sha256(f"{name} {size}".encode()).hexdigest()[:32]
    return _Download(
        store=store,
        name=name,
        filename=filemeta.filename,
        size=size,
        sha256=filemeta.sha256,
        etag=f'"{known}"',
        modified=int(filemeta.created.timestamp()),
        media_type=media_type,
        shown=inline and media_type in conf.inline_types,
    )


def _way(alias: str, size: int) -> str:
    """Return the way of the bytes of a file of that size in the store of that alias."""
    chosen = conf.serve
    way = chosen if isinstance(chosen, str) else chosen.get(alias, "stream")
    return "stream" if way == "redirect" and size < conf.redirect_min_bytes else way


# -- The ways --


def _streamed(request: HttpRequest, file: _Download, record: Record) -> HttpResponseBase:
    try:
        part = http.wanted_range(request.headers, file.size, file.etag, file.modified)
    except http.RangeNotSatisfiable:
        record(0, "range not satisfiable")
        answer = _bodiless(file, 416)
        answer["Content-Range"] = f"bytes */{file.size}"
        return answer
    start, stop = part or (0, file.size)
    if (start, stop) == (0, file.size):
        chunks = file.store.stream(file.name, sha256=file.sha256 or None)
    else:
        chunks = file.store.stream(file.name, start, stop)
    body = Body(_begun(chunks, file.name), stop - start, file.name, record)
    answer = streamed(request, body)
    answer["Content-Length"] = str(stop - start)
    if part is not None:
        answer.status_code = 206
        answer["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    return _described(answer, file)


def _begun(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Read the first chunk, so that what is missing is told before the headers are sent."""
    try:
        first = next(chunks, b"")
    except OSError as exception:
        logger.exception("%r cannot be served.", name)
        if isinstance(exception, FileNotFoundError):
            raise Http404("No file.") from exception
        raise
    return _Continued(first, chunks)


class _Continued:
    """An iterator after its first item was read; closing it closes the iterator."""

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._all = chain([first] if first else [], rest)
        self._rest = rest

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._all)

    def close(self) -> None:
        close = getattr(self._rest, "close", None)
        if close is not None:
            close()


class _Redirect(HttpResponseRedirect):
    """A redirect whose URL is a secret: it stands in the Location header and nowhere else."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} status_code={self.status_code}>"


def _redirected(file: _Download, record: Record) -> HttpResponseBase:
    url = file.store.signed_url(
        file.name,
        seconds=conf.redirect_seconds,
        filename=file.filename,
        content_type=_content_type(file.media_type),
    )
    if not url:
        raise ImproperlyConfigured(
            f"DELIVERY_STORE_SERVE is 'redirect', but {type(file.store).__name__} signs no URLs: "
            "set it to 'stream' or 'sendfile' for this store."
        )
    record(0, "redirected")
    answer = _Redirect(url)
    answer["Cache-Control"] = "no-store"
    return protect(answer)


def _left_to_the_web_server(
    request: HttpRequest, file: _Download, record: Record
) -> HttpResponseBase:
    try:
        from django_sendfile import sendfile
    except ImportError as exception:
        raise ImproperlyConfigured(
            "DELIVERY_STORE_SERVE is 'sendfile', which needs django-sendfile2: "
            "pip install 'devilry-storage[sendfile]'."
        ) from exception
    try:
        path = file.store.path(file.name)
    except NotImplementedError as exception:
        raise ImproperlyConfigured(
            f"DELIVERY_STORE_SERVE is 'sendfile', but {type(file.store).__name__} has no paths: "
            "set it to 'stream' or 'redirect' for this store."
        ) from exception
    if not file.store.exists(file.name):
        logger.error("%r cannot be served: the store has no such file.", file.name)
        raise Http404("No file.")
    answer: HttpResponseBase = sendfile(request, path, mimetype=file.media_type)
    record(file.size, "left to the web server")
    return _described(answer, file)


# -- Headers --


def _content_type(media_type: str) -> str:
    return f"{media_type}; charset=utf-8" if media_type == "text/plain" else media_type


def _validated(answer: HttpResponseBase, file: _Download) -> HttpResponseBase:
    answer["ETag"] = file.etag
    answer["Last-Modified"] = http_date(file.modified)
    answer["Accept-Ranges"] = "bytes"
    return protect(answer, shown_as=file.media_type if file.shown else "")


def _described(answer: HttpResponseBase, file: _Download) -> HttpResponseBase:
    answer["Content-Type"] = _content_type(file.media_type)
    answer["Content-Disposition"] = http.content_disposition(file.filename, inline=file.shown)
    # Else GZipMiddleware would compress a range, and take away its length.
    answer["Content-Encoding"] = "identity"
    return _validated(answer, file)


def _bodiless(file: _Download, status: int) -> HttpResponseBase:
    answer = HttpResponseNotModified() if status == 304 else HttpResponse(status=status)
    return _validated(answer, file)
