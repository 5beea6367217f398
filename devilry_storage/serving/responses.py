"""Responses that contain a file. Callers check permissions."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import storages
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotModified,
    HttpResponseRedirect,
)
from django.utils.cache import patch_vary_headers
from django.views.decorators.debug import sensitive_variables

from .. import rfc9110
from ..conf import PDF, conf, way_of
from ..media_types import content_type
from ..resolving import resolve
from ..storages.base import DeliveryStoreMixin
from ..storages.protocols import stored_name
from .access_log import COMPLETE, FAILED, HANDED_OVER, REFUSED, UNMODIFIED, record_access, recorder
from .stored_file import File, file_of, missing_is_404, ordinary_file
from .streaming import Body, streamed


def serve(
    request: HttpRequest, filemeta: Any, *, inline: bool = False, way: str = ""
) -> HttpResponseBase:
    """Return the response to a GET or HEAD request for the file of a row.

    Ranges and conditional requests are supported. With ``inline``, browsers display the file if
    its type is in ``DELIVERY_STORE_INLINE_TYPES``. ``way`` overrides ``DELIVERY_STORE_SERVE``.

    - Raises Http404 if the row has no file, or the file is missing from the store.
    - Raises ImproperlyConfigured if the store does not support the way to serve files.
    - Raises the store's exception if the file cannot be read.
    """
    name = stored_name(filemeta)
    if name is None:
        raise Http404("No file.")
    store, alias = resolve(filemeta)
    with missing_is_404(name):
        file = file_of(filemeta, name, store, inline=inline)
    return _respond(request, file, way or way_of(alias), partial(recorder, request, filemeta))


def serve_ordinary(
    request: HttpRequest, alias: str, name: str, what: str, *, inline: bool = False
) -> HttpResponseBase:
    """Return the response to a GET or HEAD request for a file of an ordinary FileField.

    ``alias`` is that of its store. ``what`` is recorded in the access log. Otherwise as
    :func:`serve`, but the content cannot be verified.
    """
    store: Any = storages[alias]
    with missing_is_404(name):
        file = ordinary_file(store, name, inline=inline)
    return _respond(
        request, file, way_of(alias), lambda way: partial(record_access, request, what, way)
    )


def _respond(
    request: HttpRequest, file: File, way: str, recorder_of: Callable[[str], partial[None]]
) -> HttpResponseBase:
    # URLs are signed for GET only. For small files, the extra request costs more than the bytes.
    if way == "redirect" and (request.method == "HEAD" or file.size < conf.redirect_min_bytes):
        way = "stream"
    record = recorder_of(way)
    if way == "stream":
        return _response(request, file, record)
    try:
        response = _redirect(file) if way == "redirect" else _sendfile(request, file)
    except Exception:
        record(0, FAILED)
        raise
    record(0, HANDED_OVER)
    return response


def serve_name(request: HttpRequest, store: DeliveryStoreMixin, name: str) -> HttpResponseBase:
    """Return the response to a GET or HEAD request for a stored file that has no row.

    It is an attachment of a generic type. Its content cannot be verified. Raises Http404 if the
    file is missing, InvalidName for an invalid name.
    """
    with missing_is_404(name):
        size = store.size(name)
    file = File(store, name, name.rpartition("/")[2], size, size_verified=True)
    return _response(request, file, partial(record_access, request, f"name:{name}", "stream"))


def _response(request: HttpRequest, file: File, record: partial[None]) -> HttpResponseBase:
    """Return a response that Django sends itself, with or without a body."""
    representation = rfc9110.Representation(file.size, file.etag, file.modified)
    outcome = rfc9110.evaluate(request.method or "", request.headers, representation)
    response: HttpResponseBase
    if request.method == "HEAD" or outcome.status not in {200, 206}:
        # A missing file is reported even if no body is sent (RFC 9110, sections 9.3.2 and 13.2.1).
        try:
            file.verify_size()
        except Exception:
            record(0, FAILED)
            raise
    if outcome.status not in {200, 206}:
        record(0, UNMODIFIED if outcome.status == 304 else REFUSED)
        response = HttpResponseNotModified() if outcome.status == 304 else HttpResponse()
    elif request.method == "HEAD":
        record(0, COMPLETE)
        response = HttpResponse()
    else:
        response = _streamed(request, file, outcome, record)
    response.status_code = outcome.status
    if outcome.status in {200, 206}:
        response["Content-Length"] = str(outcome.stop - outcome.start)
        file.set_content_headers(response)
    if outcome.status in {206, 416}:
        response["Content-Range"] = rfc9110.content_range(representation, outcome)
    file.set_validators(response)
    return protect(response, shown_as=file.media_type if file.shown else "")


def _streamed(
    request: HttpRequest, file: File, outcome: rfc9110.Evaluation, record: partial[None]
) -> HttpResponseBase:
    if outcome.stop - outcome.start == file.size:
        chunks = file.store.stream(file.name, sha256=file.sha256 or None)
    else:
        chunks = file.store.stream(file.name, outcome.start, outcome.stop)
    body = Body(chunks, outcome.stop - outcome.start, file.name, record)
    try:
        body.begin()
    except FileNotFoundError as exception:
        raise Http404("No file.") from exception
    return streamed(request, body)


class _SecretRedirect(HttpResponseRedirect):
    """Redirect to a secret URL, which appears only in the Location header and not in the repr."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} status_code={self.status_code}>"


@sensitive_variables()
def _redirect(file: File) -> HttpResponseBase:
    """Redirect the client to a signed URL of the store, which expires after some seconds.

    Conditions and ranges do not apply to the redirect: the client sends them again to the new URL
    (RFC 9110, section 13.2.1). Raises ImproperlyConfigured if the store does not sign URLs.
    """
    url = file.store.signed_url(
        file.name,
        expires_in=conf.redirect_seconds,
        filename=file.filename,
        content_type=content_type(file.media_type),
    )
    if not url:
        raise ImproperlyConfigured(
            f"DELIVERY_STORE_SERVE is 'redirect', but {type(file.store).__name__} does not sign "
            "URLs: set it to 'stream' or 'sendfile' for this store."
        )
    response = _SecretRedirect(url)
    response["Cache-Control"] = "no-store"
    return protect(response)


def _sendfile(request: HttpRequest, file: File) -> HttpResponseBase:
    """Let the web server send the file and handle conditions and ranges.

    The file's size is checked first, but its content is not read. Raises Http404 if the file is
    missing, ChecksumMismatch if its size differs, ImproperlyConfigured if django-sendfile2 is
    missing or the store has no paths.
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
    file.verify_size()  # by the store, which does not follow symlinks
    response: HttpResponseBase = sendfile(request, path, mimetype=content_type(file.media_type))
    if not response.streaming:
        # The body is still empty: a proxy would wait for as many bytes as the file has.
        del response["Content-Length"]
    if "X-Sendfile" in response:
        # The raw bytes of the path: Django would encode them as in an email (RFC 2047).
        response["X-Sendfile"] = os.fsencode(path).decode("latin-1")
    file.set_content_headers(response)
    if "X-Accel-Redirect" not in response:
        # nginx sets its own validators. ConditionalGetMiddleware would use ours.
        file.set_validators(response)
    return protect(response, shown_as=file.media_type if file.shown else "")


R = TypeVar("R", bound=HttpResponseBase)

# The document cannot run scripts or load anything, and has an opaque origin (Content Security
# Policy 3, section 6.4.3). Styles are for the page in which a browser displays an image.
_SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; sandbox"

# Chromium shows a blank page for a sandboxed PDF.
_VIEWER = "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'"


def protect(response: R, *, shown_as: str = "") -> R:
    """Add security headers for untrusted content to the response, and return it.

    ``shown_as`` is the media type of content that browsers display, ``""`` for a download.
    """
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = _VIEWER if shown_as == PDF else _SANDBOX
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    response["Referrer-Policy"] = "no-referrer"
    if not response.has_header("Cache-Control"):
        response["Cache-Control"] = "private, no-cache"
    patch_vary_headers(response, ["Cookie"])
    return response
