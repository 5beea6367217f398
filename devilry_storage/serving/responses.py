"""Answers to whoever may read a file; who may is not asked here."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotModified,
    HttpResponseRedirect,
)
from django.utils.cache import patch_vary_headers

from .. import rfc9110
from ..conf import PDF, conf, way_of
from ..media_types import content_type
from ..resolving import resolve
from ..storages.base import DeliveryStoreMixin
from ..storages.protocols import stored_name
from .access_log import COMPLETE, FAILED, HANDED_OVER, REFUSED, UNMODIFIED, record_access, recorder
from .stored_file import File, file_of
from .streaming import Body, streamed

logger = logging.getLogger("devilry_storage")


def serve(
    request: HttpRequest, filemeta: Any, *, inline: bool = False, way: str = ""
) -> HttpResponseBase:
    """Answer a GET or HEAD with the file of a row: whole, a range, or what conditions demand.

    ``inline`` asks for it to be shown, which is done for ``DELIVERY_STORE_INLINE_TYPES`` alone.
    The bytes travel as ``way`` says, or else ``DELIVERY_STORE_SERVE``. Raises Http404 where the
    row has no file, or the store has not; ImproperlyConfigured where the store cannot do what the
    setting says; what the store raises where it cannot be read.
    """
    name = stored_name(filemeta)
    if name is None:
        raise Http404("No file.")
    store, alias = resolve(filemeta)
    try:
        file = file_of(filemeta, name, store, inline=inline)
    except FileNotFoundError as exception:
        logger.exception("%r cannot be served.", name)
        raise Http404("No file.") from exception
    way = way or way_of(alias)
    # A URL is signed for GET alone, and one request less is worth more than some bytes.
    if way == "redirect" and (request.method == "HEAD" or file.size < conf.redirect_min_bytes):
        way = "stream"
    record = recorder(request, filemeta, way)
    if way == "stream":
        return _answer(request, file, record)
    try:
        answer = redirected(file) if way == "redirect" else left_to_the_web_server(request, file)
    except Exception:
        record(0, FAILED)
        raise
    record(0, HANDED_OVER)
    return answer


def serve_name(request: HttpRequest, store: DeliveryStoreMixin, name: str) -> HttpResponseBase:
    """Answer a GET or HEAD with bytes that no row names: an attachment of no particular type.

    They are not verified, for nothing is known of them. Raises Http404, InvalidName.
    """
    try:
        size = store.size(name)
    except FileNotFoundError as exception:
        raise Http404("No file.") from exception
    file = File(store, name, name.rpartition("/")[2], size, looked_at=True)
    return _answer(request, file, partial(record_access, request, f"name:{name}", "stream"))


def _answer(request: HttpRequest, file: File, record: partial[None]) -> HttpResponseBase:
    """Answer with bytes that pass through here, or without any."""
    found = rfc9110.Representation(file.size, file.etag, file.modified)
    asked = rfc9110.answer(request.method or "", request.headers, found)
    answer: HttpResponseBase
    if request.method == "HEAD" or asked.status not in {200, 206}:
        # Else nobody would notice that it is gone (RFC 9110, sections 9.3.2 and 13.2.1).
        try:
            file.look()
        except Exception:
            record(0, FAILED)
            raise
    if asked.status not in {200, 206}:
        record(0, UNMODIFIED if asked.status == 304 else REFUSED)
        answer = HttpResponseNotModified() if asked.status == 304 else HttpResponse()
    elif request.method == "HEAD":
        record(0, COMPLETE)
        answer = HttpResponse()
    else:
        answer = _streamed(request, file, asked, record)
    answer.status_code = asked.status
    if asked.status in {200, 206}:
        answer["Content-Length"] = str(asked.stop - asked.start)
        file.describe(answer)
    if asked.status in {206, 416}:
        answer["Content-Range"] = rfc9110.content_range(found, asked)
    file.validate(answer)
    return protect(answer, shown_as=file.media_type if file.shown else "")


def _streamed(
    request: HttpRequest, file: File, asked: rfc9110.Answer, record: partial[None]
) -> HttpResponseBase:
    if asked.stop - asked.start == file.size:
        chunks = file.store.stream(file.name, sha256=file.sha256 or None)
    else:
        chunks = file.store.stream(file.name, asked.start, asked.stop)
    body = Body(chunks, asked.stop - asked.start, file.name, record)
    try:
        body.begin()
    except FileNotFoundError as exception:
        raise Http404("No file.") from exception
    return streamed(request, body)


class _Redirect(HttpResponseRedirect):
    """A redirect whose URL is a secret: it stands in the Location header and nowhere else."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} status_code={self.status_code}>"


def redirected(file: File) -> HttpResponseBase:
    """Send the client to a URL of the store's that is good for some seconds.

    Conditions and ranges are not for this answer: the client repeats them there (RFC 9110,
    section 13.2.1). Raises ImproperlyConfigured where the store signs no URLs.
    """
    url = file.store.signed_url(
        file.name,
        expires_in=conf.redirect_seconds,
        filename=file.filename,
        content_type=content_type(file.media_type),
    )
    if not url:
        raise ImproperlyConfigured(
            f"DELIVERY_STORE_SERVE is 'redirect', but {type(file.store).__name__} signs no URLs: "
            "set it to 'stream' or 'sendfile' for this store."
        )
    answer = _Redirect(url)
    answer["Cache-Control"] = "no-store"
    return protect(answer)


def left_to_the_web_server(request: HttpRequest, file: File) -> HttpResponseBase:
    """Let the web server send the file, which answers conditions and ranges, too.

    It is looked at before, but not read. Raises Http404 where it is gone, ChecksumMismatch where
    it has another size, ImproperlyConfigured.
    """
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
    file.look()  # by the store, which follows no symlink that was planted in it
    answer: HttpResponseBase = sendfile(request, path, mimetype=content_type(file.media_type))
    if not answer.streaming:
        # It has no body yet: a proxy would wait for as many bytes as the file has.
        del answer["Content-Length"]
    if "X-Sendfile" in answer:
        # Its bytes as they are, which Django would encode for a mail (RFC 2047).
        answer["X-Sendfile"] = os.fsencode(path).decode("latin-1")
    file.describe(answer)
    if "X-Accel-Redirect" not in answer:
        # nginx has others, which ConditionalGetMiddleware would compare with ours.
        file.validate(answer)
    return protect(answer, shown_as=file.media_type if file.shown else "")


R = TypeVar("R", bound=HttpResponseBase)


# A page of it can run nothing, load nothing and is of no origin (Content Security Policy 3,
# section 6.4.3); the style is that of the browser's own page around an image.
_SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


# In a sandbox Chromium shows a blank page for a PDF.
_VIEWER = "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'"


def protect(response: R, *, shown_as: str = "") -> R:
    """Give an answer the headers that all have that carry what others made, and return it.

    ``shown_as`` is the media type as which a browser is to show it, if it is.
    """
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = _VIEWER if shown_as == PDF else _SANDBOX
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    response["Referrer-Policy"] = "no-referrer"
    if not response.has_header("Cache-Control"):
        response["Cache-Control"] = "private, no-cache"
    patch_vary_headers(response, ["Cookie"])
    return response
