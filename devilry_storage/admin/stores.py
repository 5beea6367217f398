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

from ..abstract_models.querysets import may_view
from ..archive import of_folder
from ..conf import conf
from ..deletion import bury_orphan
from ..exceptions import InvalidName, NotAnOrphan
from ..identity import summary
from ..integrity import State, Verdict, rows_named, tombstones_named
from ..models import StoreBrowser, Tombstone
from ..registry import ConfiguredStore, configured_stores, unconfigured
from ..serving import serve_name
from ..storages.base import DeliveryStoreMixin
from ..store_info import describe
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

    def _folder_url(self, configured: ConfiguredStore, folder: str, **query: str) -> str:
        return self._url("folder", configured.models[0]._meta.label_lower, folder=folder, **query)

    # -- What is asked for --

    def _use(self, request: HttpRequest, label: str) -> ConfiguredStore:
        """Return the store that a URL names; PermissionDenied, Http404."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        for configured in configured_stores():
            labels = {model._meta.label_lower for model in configured.models}
            if label in labels:
                return configured
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
        stores = [
            (self._folder_url(configured, ""), describe(configured))
            for configured in configured_stores()
        ]
        problems = [problem for _model, problem in unconfigured()]
        context = {"title": _("Delivery stores"), "stores": stores, "problems": problems}
        return self._answer(request, "list", {**context, **(extra_context or {})})

    def folder_view(self, request: HttpRequest, label: str) -> HttpResponse:
        """Show a page of a folder."""
        configured = self._use(request, label)
        folder, name = self._name(request, "folder"), self._name(request, "name")
        after = request.GET.get("after", "")
        if len(after) > _LONGEST_TOKEN:
            raise Http404(_("There is no such page."))
        context: dict[str, Any] = {
            "title": _("Store of %(models)s") % {"models": _models(configured)},
            "use": configured,
            "where": configured.store.location_text(),
            "folder": folder,
            "parents": [
                Link(part, self._folder_url(configured, each)) for each, part in parents(folder)
            ],
            "top": self._folder_url(configured, ""),
            "jump": self._url("jump", configured.models[0]._meta.label_lower),
            "after": after,
            "name": name,
        }
        try:
            if not (folder or name or after):
                context["identity"] = summary(configured.models[0], self._using(configured))
            context |= self._page(request, configured, folder, after)
            if name:
                found = sought(configured, name, self._using(configured))
                context["sought"] = [self._line(request, configured, found)] if found else []
        except (OSError, ImproperlyConfigured) as exception:
            context["problem"] = reason(exception)
        return self._answer(request, "folder", context)

    def _page(
        self, request: HttpRequest, configured: ConfiguredStore, folder: str, after: str
    ) -> dict[str, Any]:
        page = shown(configured, folder, after, self._using(configured))
        listed = page.folders or any(verdict.entry for verdict in page.files)
        following = page.next_token and self._folder_url(configured, folder, after=page.next_token)
        archive = ""
        if folder and listed and all(may_view(request.user, model) for model in configured.models):
            archive = self._url("archive", configured.models[0]._meta.label_lower, folder=folder)
        return {
            # An unmounted disk looks like an empty one.
            "problem": "" if listed or after else configured.store.unavailable_reason(),
            "folders": [
                (each, self._folder_url(configured, each.name) if each.opens else "")
                for each in page.folders
            ],
            "lines": [self._line(request, configured, verdict) for verdict in page.files],
            "archive": archive,
            "first": after and self._folder_url(configured, folder),
            "following": following,
        }

    def _using(self, configured: ConfiguredStore) -> str:
        return router.db_for_write(configured.models[0])

    def _line(self, request: HttpRequest, configured: ConfiguredStore, verdict: Verdict) -> Line:
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
        actions = self._actions(request, configured, verdict) if is_name(verdict.name) else []
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

    def _actions(
        self, request: HttpRequest, configured: ConfiguredStore, verdict: Verdict
    ) -> list[Link]:
        label, name = configured.models[0]._meta.label_lower, verdict.name
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
        configured = self._use(request, label)
        to = request.GET.get("to", "")
        if not to.strip(" /"):
            return HttpResponseRedirect(self._folder_url(configured, ""))
        try:
            folder, name = folder_or_file(configured, to, self._using(configured))
        except InvalidName as exception:
            return self._told(request, configured, "", str(exception))
        except (OSError, ImproperlyConfigured) as exception:
            return self._told(request, configured, "", reason(exception))
        return HttpResponseRedirect(self._folder_url(configured, folder, name=name))

    def _told(
        self, request: HttpRequest, configured: ConfiguredStore, folder: str, text: str
    ) -> HttpResponse:
        self.message_user(request, text, messages.ERROR)
        return HttpResponseRedirect(self._folder_url(configured, folder))

    def file_view(self, request: HttpRequest, label: str) -> HttpResponseBase:
        """Send bytes that no row names; those of a row are the download view's."""
        return self._sent(request, label, "name", self._file)

    def _file(
        self, request: HttpRequest, configured: ConfiguredStore, name: str
    ) -> HttpResponseBase:
        verdict = sought(configured, name, self._using(configured))
        if verdict is None or verdict.entry is None or verdict.row is not None:
            raise Http404(_("No bytes without a row lie there."))
        if not self._may_fetch(request, verdict):
            raise PermissionDenied
        return serve_name(request, _store(configured), name)

    def archive_view(self, request: HttpRequest, label: str) -> HttpResponseBase:
        """Send all that lies below a folder as one zip."""
        return self._sent(request, label, "folder", self._archive)

    def _archive(
        self, request: HttpRequest, configured: ConfiguredStore, folder: str
    ) -> HttpResponseBase:
        if not all(may_view(request.user, model) for model in configured.models):
            raise PermissionDenied
        model, using = configured.models[0], self._using(configured)

        def deleted(names: Iterable[str]) -> set[str]:
            buried = tombstones_named(model, names, using)
            return buried.keys() - rows_named(model, buried, using).keys()

        without = None if may_view(request.user, Tombstone) else deleted
        archive = partial(of_folder, _store(configured), folder, without)
        return archive_response(request, archive, f"{folder.replace('/', '-')}.zip")

    def _sent(
        self,
        request: HttpRequest,
        label: str,
        parameter: str,
        send: Callable[[HttpRequest, ConfiguredStore, str], HttpResponseBase],
    ) -> HttpResponseBase:
        configured = self._use(request, label)
        name = self._name(request, parameter)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not name:
            raise Http404(_("There is no such name."))
        try:
            return send(request, configured, name)
        except (OSError, ImproperlyConfigured) as exception:
            return self._told(request, configured, "", reason(exception))

    def bury_view(self, request: HttpRequest, label: str) -> HttpResponse:
        """Ask whether to have an orphan removed, and write its tombstone by POST."""
        configured = self._use(request, label)
        if not self.has_bury_permission(request):
            raise PermissionDenied
        name = self._name(request, "name")
        folder = posixpath.dirname(name)
        try:
            if request.method == "POST":
                return self._bury(request, configured, name)
            verdict = sought(configured, name, self._using(configured)) if name else None
        except (OSError, ImproperlyConfigured) as exception:
            return self._told(request, configured, folder, reason(exception))
        if verdict is None or verdict.state is not State.ORPHAN:
            raise Http404(_("There is no such orphan."))
        context = {
            "title": _("Remove an orphan"),
            "entry": verdict.entry,
            "days": max(conf.retention, conf.grace).days,
            "back": self._folder_url(configured, folder),
        }
        return self._answer(request, "bury", context)

    def _bury(self, request: HttpRequest, configured: ConfiguredStore, name: str) -> HttpResponse:
        folder = posixpath.dirname(name)
        try:
            tombstone = bury_orphan(configured.models[0], name, using=self._using(configured))
        except NotAnOrphan as exception:
            return self._told(request, configured, folder, str(exception))
        self.log_addition(request, tombstone, _("Had the orphan removed."))
        text = _("'%(name)s' has a tombstone now: a purge removes the bytes after %(due)s.") % {
            "name": name,
            "due": _moment(tombstone.due),
        }
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(self._folder_url(configured, folder))


def _store(configured: ConfiguredStore) -> DeliveryStoreMixin:
    return configured.store


def _moment(time: datetime) -> str:
    local = timezone.localtime(time) if timezone.is_aware(time) else time
    return formats.date_format(local, "DATETIME_FORMAT")


def _models(configured: ConfiguredStore) -> str:
    return ", ".join(str(model._meta.verbose_name_plural) for model in configured.models)
