"""The headers that keep what students delivered from acting on whoever opens it."""

from __future__ import annotations

from typing import TypeVar

from django.http import HttpResponseBase
from django.utils.cache import patch_vary_headers

from ..conf import PDF

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
