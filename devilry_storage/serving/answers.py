"""Answers to whoever may read a file; who may is not asked here."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotModified,
)

from .. import http
from ..conf import conf, way_of
from ..storages.base import DeliveryStoreMixin
from ..storages.interface import stored_name
from ..store import resolve
from .access import COMPLETE, FAILED, HANDED_OVER, REFUSED, UNMODIFIED, record_access, recorder
from .file import File, file_of
from .protecting import protect
from .streaming import Body, streamed
from .ways import left_to_the_web_server, redirected

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
    found = http.Representation(file.size, file.etag, file.modified)
    asked = http.answer(request.method or "", request.headers, found)
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
        answer["Content-Range"] = http.content_range(found, asked)
    file.validate(answer)
    return protect(answer, shown_as=file.media_type if file.shown else "")


def _streamed(
    request: HttpRequest, file: File, asked: http.Answer, record: partial[None]
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
