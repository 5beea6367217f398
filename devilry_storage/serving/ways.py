"""Ways on which the bytes do not pass through Django: the web server's, and S3's own."""

from __future__ import annotations

import os

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect

from ..conf import conf
from .file import File
from .protecting import protect
from .types import content_type


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
