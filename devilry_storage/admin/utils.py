"""URLs, pages, failures and messages that several admin classes use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.db import DataError, IntegrityError, OperationalError
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..conf import conf
from ..dates import restorable_until
from ..error_messages import database_reason
from ..exceptions import DeliveryFileNotFound, NoURL

#: Database errors that are caused by the submitted values or by concurrent changes.
DATABASE_ERRORS = (IntegrityError, OperationalError, DataError, OverflowError)

# -- URLs and pages --


def url_name(model: Any, page: str) -> str:
    """Return the URL name of a page of a model (a class or a row), without the namespace."""
    return f"{model._meta.app_label}_{model._meta.model_name}_{page}"


def admin_path(
    model_admin: admin.ModelAdmin[Any],
    route: str,
    view: Callable[..., HttpResponseBase],
    page: str,
) -> URLPattern:
    """Return the URL pattern of an additional page of a model, for staff only."""
    wrapped = model_admin.admin_site.admin_view(view)
    return path(route, wrapped, name=url_name(model_admin.model, page))


def admin_url(admin_site: admin.AdminSite, model: Any, page: str, *args: Any, **query: Any) -> str:
    """Return the URL of a page of a model (a class or a row), "" if the site does not have it.

    Primary keys in ``args`` must be quoted. Empty values of the query are left out.
    """
    try:
        url = reverse(f"admin:{url_name(model, page)}", args=args, current_app=admin_site.name)
    except NoReverseMatch:
        return ""
    given = {name: value for name, value in query.items() if value not in {"", None}}
    return f"{url}?{urlencode(given)}" if given else url


def list_link(admin_site: admin.AdminSite, model: Any, query: dict[str, Any], text: str) -> str:
    """Return the text, as a link to a filtered list if the site has this list."""
    url = admin_url(admin_site, model, "changelist", **query)
    return format_html('<a href="{}">{}</a>', url, text) if url else text


def download_url(filemeta: Any) -> str:
    """Return the URL of the file of a row, ``""`` if it has none."""
    try:
        return str(filemeta.content.url)
    except NoURL:
        return ""


def render(
    model_admin: admin.ModelAdmin[Any],
    request: HttpRequest,
    template: str,
    context: dict[str, Any],
) -> TemplateResponse:
    """Render a page of a model with the context that the templates of the admin need."""
    request.current_app = model_admin.admin_site.name
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "media": model_admin.media,
        **context,
    }
    return TemplateResponse(request, template, context)


# -- Failures and messages, as users of the admin see them --


class NotSaved(Exception):
    """The page was not saved, and its transaction is rolled back; the text is the reason."""


@contextmanager
def storing() -> Iterator[None]:
    """Raise NotSaved if the block fails, whatever the storage backend raises."""
    try:
        yield
    except NotSaved:
        raise
    except Exception as exception:
        raise NotSaved(reason(exception)) from exception


def reason(exception: BaseException) -> str:
    """Return why something failed, in words for staff."""
    if why := database_reason(exception):
        return why
    if isinstance(exception, DeliveryFileNotFound):
        return f"{exception.strerror} '{exception.filename}'"
    if isinstance(exception, OSError) and exception.strerror:
        return _("the delivery store failed: %(error)s") % {"error": exception.strerror}
    return str(exception).rstrip(".") or type(exception).__name__


def failure_message(exception: Exception) -> str:
    """Return the message about a form or an action that failed."""
    if isinstance(exception, OperationalError):  # perhaps only the reply to COMMIT was lost
        return _(
            "The database failed or is busy: check whether your changes were saved before trying "
            "again."
        )
    why = str(exception) if isinstance(exception, NotSaved) else reason(exception)
    return _("Nothing was saved: %(reason)s.") % {"reason": why}


def report_deleted(model_admin: admin.ModelAdmin[Any], request: HttpRequest, count: int) -> None:
    """Add a message about the files that were deleted: until when they can be restored."""
    if not count:
        return
    if conf.retention:
        text = ngettext(
            "%(count)d file was deleted. It can be restored until %(until)s.",
            "%(count)d files were deleted. They can be restored until %(until)s.",
            count,
        )
    else:
        text = ngettext(
            "%(count)d file was removed permanently.",
            "%(count)d files were removed permanently.",
            count,
        )
    values = {"count": count, "until": restorable_until()}
    model_admin.message_user(request, text % values, messages.INFO)
