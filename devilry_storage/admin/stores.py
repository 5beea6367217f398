"""The store browser: the stores as they really lie, beside what the database says of them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import router
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, path, reverse
from django.utils import formats, timezone
from django.utils.translation import gettext as _

from ..archive import of_folder
from ..check import State, Verdict, rows_named, tombstones_named
from ..conf import conf
from ..exceptions import InvalidName, NotAnOrphan
from ..identity import summary
from ..info import Use, describe, uses
from ..models import StoreBrowser, Tombstone
from ..models.visibility import may_view
from ..orphans import bury_orphan
from ..serving import serve_name
from ..storages.base import DeliveryStoreMixin
from ..views.archives import archive_response
from .browsing import LONGEST, folder_or_file, is_name, parents, printable, shown, sought, word
from .failures import reason
from .permissions import LookedAt

#: No token of a page is longer.
_LONGEST_TOKEN = 4 * LONGEST

_TEMPLATES = "admin/devilry_storage/storebrowser"


class Link(NamedTuple):
    """A text, and the URL behind it, ``""`` where there is none for this user."""

    text: str
    url: str


class Line(NamedTuple):
    """A file on the page: ``owners`` are its row, delivery and user."""

    leaf: str
    verdict: Verdict
    word: str
    owners: list[Link]
    actions: list[Link]


@admin.register(StoreBrowser)
class DeliveryStoreAdmin(LookedAt):
    """Shown to whoever has ``browse_store``; ``bury_orphan`` permits to have orphans removed.

    Rows are downloaded by who may view them, all else as what it is: bytes.
    """

    # -- Permissions --

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._permits(request, "browse_store")

    def has_bury_permission(self, request: HttpRequest) -> bool:
        return self._permits(request, "bury_orphan") and self.has_view_permission(request)

    # -- URLs --

    def get_urls(self) -> list[Any]:
        # Nothing of Django's own: they would ask a table that is not there.
        views: dict[str, tuple[str, Callable[..., HttpResponseBase]]] = {
            "changelist": ("", self.changelist_view),
            "folder": ("<str:label>/", self.folder_view),
            "jump": ("<str:label>/jump/", self.jump_view),
            "file": ("<str:label>/file/", self.file_view),
            "archive": ("<str:label>/archive/", self.archive_view),
            "bury": ("<str:label>/bury/", self.bury_view),
        }
        return [
            path(route, self.admin_site.admin_view(view), name=self._url_name(page))
            for page, (route, view) in views.items()
        ]

    def _url_name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    def _url(self, page: str, *args: str, **query: str) -> str:
        name = f"admin:{self._url_name(page)}"
        url = reverse(name, args=args, current_app=self.admin_site.name)
        given = {key: value for key, value in query.items() if value}
        return f"{url}?{urlencode(given)}" if given else url

    def _folder_url(self, use: Use, folder: str, **query: str) -> str:
        return self._url("folder", use.models[0]._meta.label_lower, folder=folder, **query)

    # -- What is asked for --

    def _use(self, request: HttpRequest, label: str) -> Use:
        """Return the store that a URL names; PermissionDenied, Http404."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        for use in uses():
            labels = {model._meta.label_lower for model in use.models}
            if use.resolved is not None and label in labels:
                return use
        raise Http404(_("There is no such store."))

    def _name(self, request: HttpRequest, parameter: str) -> str:
        name = request.GET.get(parameter, "")
        if name and not is_name(name):
            raise Http404(_("There is no such name."))
        return name

    # -- Pages --

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """List the stores."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = [use for use in uses() if use.resolved is not None]
        stores = [(self._folder_url(use, ""), describe(use)) for use in found]
        problems = [use.problem for use in uses() if use.resolved is None]
        context = {"title": _("Delivery stores"), "stores": stores, "problems": problems}
        return self._answer(request, "list", {**context, **(extra_context or {})})

    def folder_view(self, request: HttpRequest, label: str) -> HttpResponse:
        """Show a page of a folder."""
        use = self._use(request, label)
        folder, name = self._name(request, "folder"), self._name(request, "name")
        after = request.GET.get("after", "")
        if len(after) > _LONGEST_TOKEN:
            raise Http404(_("There is no such page."))
        assert use.resolved is not None
        context: dict[str, Any] = {
            "title": _("Store of %(models)s") % {"models": _models(use)},
            "use": use,
            "where": use.resolved.store.location_text(),
            "folder": folder,
            "parents": [Link(part, self._folder_url(use, each)) for each, part in parents(folder)],
            "top": self._folder_url(use, ""),
            "jump": self._url("jump", use.models[0]._meta.label_lower),
            "after": after,
            "name": name,
        }
        try:
            if not (folder or name or after):
                context["identity"] = summary(use.models[0], self._using(use))
            context |= self._page(request, use, folder, after)
            if name:
                found = sought(use, name, self._using(use))
                context["sought"] = [self._line(request, use, found)] if found else []
        except (OSError, ImproperlyConfigured) as exception:
            context["problem"] = reason(exception)
        return self._answer(request, "folder", context)

    def _page(self, request: HttpRequest, use: Use, folder: str, after: str) -> dict[str, Any]:
        page = shown(use, folder, after, self._using(use))
        assert use.resolved is not None
        listed = page.folders or any(verdict.entry for verdict in page.files)
        following = page.next_token and self._folder_url(use, folder, after=page.next_token)
        archive = ""
        if folder and listed and all(may_view(request.user, model) for model in use.models):
            archive = self._url("archive", use.models[0]._meta.label_lower, folder=folder)
        return {
            # An unmounted disk looks like an empty one.
            "problem": "" if listed or after else use.resolved.store.unavailable_reason(),
            "folders": [
                (each, self._folder_url(use, each.name) if each.opens else "")
                for each in page.folders
            ],
            "lines": [self._line(request, use, verdict) for verdict in page.files],
            "archive": archive,
            "first": after and self._folder_url(use, folder),
            "following": following,
        }

    def _using(self, use: Use) -> str:
        return router.db_for_write(use.models[0])

    def _line(self, request: HttpRequest, use: Use, verdict: Verdict) -> Line:
        owners, row = [], verdict.row
        if row is not None:
            delivery = getattr(row, "delivery", None)
            user = getattr(delivery, "delivered_by", None)
            owners = [self._link(request, each) for each in (row, delivery, user) if each]
        elif verdict.tombstone is not None:
            due = _moment(verdict.tombstone.due)
            link = self._link(request, verdict.tombstone)
            owners = [Link(_("tombstone, due %(due)s") % {"due": due}, link.url)]
        leaf = printable(posixpath.basename(verdict.name))
        actions = self._actions(request, use, verdict) if is_name(verdict.name) else []
        return Line(leaf, verdict, word(verdict.state), owners, actions)

    def _link(self, request: HttpRequest, row: Any) -> Link:
        """Return the text of a row with the URL of its page, where the user may see that."""
        registry: Any = self.admin_site._registry  # get_model_admin is 5.0's
        model_admin = registry.get(type(row))
        url = ""
        if model_admin is not None and model_admin.has_view_permission(request, row):
            url = self._reversed(row, "change")
        return Link(str(row), url)

    def _reversed(self, row: Any, page: str) -> str:
        name = f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}"
        try:
            return reverse(name, args=[row.pk], current_app=self.admin_site.name)
        except NoReverseMatch:
            return ""

    def _actions(self, request: HttpRequest, use: Use, verdict: Verdict) -> list[Link]:
        label, name = use.models[0]._meta.label_lower, verdict.name
        if verdict.entry is None:
            return []
        found = []
        if verdict.row is not None:
            if may_view(request.user, type(verdict.row)):
                found.append(Link(_("Download"), verdict.row.content.url))
                found.append(Link(_("Preview"), self._reversed(verdict.row, "preview")))
        elif self._may_fetch(request, verdict):
            found.append(Link(_("Download bytes"), self._url("file", label, name=name)))
        if verdict.state is State.ORPHAN and self.has_bury_permission(request):
            found.append(Link(_("Remove"), self._url("bury", label, name=name)))
        return [each for each in found if each.url]

    def _may_fetch(self, request: HttpRequest, verdict: Verdict) -> bool:
        """Tell whether the user may have bytes without a row: deleted ones are not everybody's."""
        return verdict.tombstone is None or may_view(request.user, type(verdict.tombstone))

    def _answer(self, request: HttpRequest, page: str, context: dict[str, Any]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "stores_url": self._url("changelist"),
            **context,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, f"{_TEMPLATES}/{page}.html", context)

    # -- What is done --

    def jump_view(self, request: HttpRequest, label: str) -> HttpResponse:
        """Go to a delivery by its id, or to a key, another name, or a folder."""
        use = self._use(request, label)
        to = request.GET.get("to", "")
        if not to.strip(" /"):
            return HttpResponseRedirect(self._folder_url(use, ""))
        try:
            folder, name = folder_or_file(use, to, self._using(use))
        except InvalidName as exception:
            return self._told(request, use, "", str(exception))
        except (OSError, ImproperlyConfigured) as exception:
            return self._told(request, use, "", reason(exception))
        return HttpResponseRedirect(self._folder_url(use, folder, name=name))

    def _told(self, request: HttpRequest, use: Use, folder: str, text: str) -> HttpResponse:
        self.message_user(request, text, messages.ERROR)
        return HttpResponseRedirect(self._folder_url(use, folder))

    def file_view(self, request: HttpRequest, label: str) -> HttpResponseBase:
        """Send bytes that no row names; those of a row are the download view's."""
        return self._sent(request, label, "name", self._file)

    def _file(self, request: HttpRequest, use: Use, name: str) -> HttpResponseBase:
        verdict = sought(use, name, self._using(use))
        if verdict is None or verdict.entry is None or verdict.row is not None:
            raise Http404(_("No bytes without a row lie there."))
        if not self._may_fetch(request, verdict):
            raise PermissionDenied
        return serve_name(request, _store(use), name)

    def archive_view(self, request: HttpRequest, label: str) -> HttpResponseBase:
        """Send all that lies below a folder as one zip."""
        return self._sent(request, label, "folder", self._archive)

    def _archive(self, request: HttpRequest, use: Use, folder: str) -> HttpResponseBase:
        if not all(may_view(request.user, model) for model in use.models):
            raise PermissionDenied
        model, using = use.models[0], self._using(use)

        def deleted(names: Iterable[str]) -> set[str]:
            buried = tombstones_named(model, names, using)
            return buried.keys() - rows_named(model, buried, using).keys()

        without = None if may_view(request.user, Tombstone) else deleted
        archive = partial(of_folder, _store(use), folder, without)
        return archive_response(request, archive, f"{folder.replace('/', '-')}.zip")

    def _sent(
        self,
        request: HttpRequest,
        label: str,
        parameter: str,
        send: Callable[[HttpRequest, Use, str], HttpResponseBase],
    ) -> HttpResponseBase:
        use = self._use(request, label)
        name = self._name(request, parameter)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not name:
            raise Http404(_("There is no such name."))
        try:
            return send(request, use, name)
        except (OSError, ImproperlyConfigured) as exception:
            return self._told(request, use, "", reason(exception))

    def bury_view(self, request: HttpRequest, label: str) -> HttpResponse:
        """Ask whether to have an orphan removed, and write its tombstone by POST."""
        use = self._use(request, label)
        if not self.has_bury_permission(request):
            raise PermissionDenied
        name = self._name(request, "name")
        folder = posixpath.dirname(name)
        try:
            if request.method == "POST":
                return self._bury(request, use, name)
            verdict = sought(use, name, self._using(use)) if name else None
        except (OSError, ImproperlyConfigured) as exception:
            return self._told(request, use, folder, reason(exception))
        if verdict is None or verdict.state is not State.ORPHAN:
            raise Http404(_("There is no such orphan."))
        context = {
            "title": _("Remove an orphan"),
            "entry": verdict.entry,
            "days": max(conf.retention, conf.grace).days,
            "back": self._folder_url(use, folder),
        }
        return self._answer(request, "bury", context)

    def _bury(self, request: HttpRequest, use: Use, name: str) -> HttpResponse:
        folder = posixpath.dirname(name)
        try:
            tombstone = bury_orphan(use.models[0], name, using=self._using(use))
        except NotAnOrphan as exception:
            return self._told(request, use, folder, str(exception))
        self.log_addition(request, tombstone, _("Had the orphan removed."))
        text = _("'%(name)s' has a tombstone now: a purge removes the bytes after %(due)s.") % {
            "name": name,
            "due": _moment(tombstone.due),
        }
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(self._folder_url(use, folder))


def _store(use: Use) -> DeliveryStoreMixin:
    assert use.resolved is not None
    return use.resolved.store


def _moment(time: datetime) -> str:
    local = timezone.localtime(time) if timezone.is_aware(time) else time
    return formats.date_format(local, "DATETIME_FORMAT")


def _models(use: Use) -> str:
    return ", ".join(str(model._meta.verbose_name_plural) for model in use.models)
