"""The store browser: the files of each store, with the rows and deleted files that name them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any, ClassVar, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import router
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from ..abstract_models.querysets import may_view
from ..archive import of_folder
from ..conf import conf
from ..dates import format_datetime
from ..deletion import bury_orphan
from ..exceptions import InvalidName, NotAnOrphan
from ..identity import summary
from ..integrity import State, Verdict, ordinary_rows_named, rows_named, tombstones_named
from ..models import StoreBrowser, Tombstone
from ..registry import ConfiguredStore, configured_stores, unconfigured
from ..serving import serve_name
from ..store_info import describe
from ..views.archives import archive_response
from .base import ReadOnlyAdmin
from .store_listing import (
    MAX_NAME_LENGTH,
    describe_folders,
    describe_state,
    find_file,
    is_name,
    list_folder,
    locate,
    parents,
    printable,
)
from .utils import admin_path, admin_url, download_url, reason, render

#: The maximum length of the token of a page.
_MAX_TOKEN_LENGTH = 4 * MAX_NAME_LENGTH


class Link(NamedTuple):
    """A text and its URL, which is "" if the user may not follow it."""

    text: str
    url: str


class Line(NamedTuple):
    """A file on a page; ``owners`` are its row, its delivery and its user."""

    leaf: str
    verdict: Verdict
    state: str
    owners: list[Link]
    actions: list[Link]


def _of_store(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Let a view take the label of one of the store's models, and report failures."""

    @wraps(view)
    def with_label(self: DeliveryStoreAdmin, request: HttpRequest, label: str) -> HttpResponseBase:
        configured = self._get_store(request, label)
        try:
            return view(self, request, configured)
        except (OSError, ImproperlyConfigured, InvalidName) as exception:
            self.message_user(request, reason(exception), messages.ERROR)
            return HttpResponseRedirect(self._url("folder", configured))

    return with_label


@admin.register(StoreBrowser)
class DeliveryStoreAdmin(ReadOnlyAdmin):
    """Browse the stores (permission ``browse_store``), delete unrecorded files (``bury_orphan``).

    Files with a row can be downloaded by users who may view the row, from the download view.
    """

    class Media:
        css: ClassVar[Any] = {"all": ["devilry_storage/admin.css", "devilry_storage/stores.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._has_perm(request, "browse_store")

    def has_bury_permission(self, request: HttpRequest) -> bool:
        return self._has_perm(request, "bury_orphan") and self.has_view_permission(request)

    def get_urls(self) -> list[Any]:
        # Without Django's own pages, which would query a table that does not exist.
        return [
            admin_path(self, "", self.changelist_view, "changelist"),
            admin_path(self, "<str:label>/", self.folder_view, "folder"),
            admin_path(self, "<str:label>/jump/", self.jump_view, "jump"),
            admin_path(self, "<str:label>/file/", self.file_view, "file"),
            admin_path(self, "<str:label>/archive/", self.archive_view, "archive"),
            admin_path(self, "<str:label>/bury/", self.bury_view, "bury"),
        ]

    def _url(self, page: str, configured: ConfiguredStore, **query: str) -> str:
        label = configured.models[0]._meta.label_lower
        return admin_url(self.admin_site, self.model, page, label, **query)

    def _get_store(self, request: HttpRequest, label: str) -> ConfiguredStore:
        """Return the store in a URL; raise PermissionDenied or Http404."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        for configured in configured_stores():
            if label in {model._meta.label_lower for model in configured.models}:
                return configured
        raise Http404(_("This store does not exist."))

    def _get_name(self, request: HttpRequest, parameter: str, required: bool = False) -> str:
        name = request.GET.get(parameter, "")
        if not is_name(name) and (name or required):
            raise Http404(_("This name is invalid."))
        return name

    def _using(self, configured: ConfiguredStore) -> str:
        return router.db_for_write(configured.models[0])

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """List the stores."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        stores = [
            (self._url("folder", configured), describe(configured))
            for configured in configured_stores()
        ]
        problems = [problem for _model, problem in unconfigured()]
        context = {"title": _("Delivery stores"), "stores": stores, "problems": problems}
        return self._render(request, "list", {**context, **(extra_context or {})})

    def folder_view(self, request: HttpRequest, label: str) -> HttpResponse:
        """Show a page of a folder, and the file that was looked up."""
        configured = self._get_store(request, label)
        folder, name = self._get_name(request, "folder"), self._get_name(request, "name")
        after = request.GET.get("after", "")
        if len(after) > _MAX_TOKEN_LENGTH:
            raise Http404(_("This page does not exist."))
        models = ", ".join(str(model._meta.verbose_name_plural) for model in configured.models)
        context: dict[str, Any] = {
            "title": _("Store of %(models)s") % {"models": models},
            "location": configured.store.location_text(),
            "parents": [
                Link(leaf, self._url("folder", configured, folder=parent))
                for parent, leaf in parents(folder)
            ],
            "top_url": self._url("folder", configured),
            "jump_url": self._url("jump", configured),
            "name": name,
        }
        try:
            if not (folder or name or after):
                context["identity"] = summary(configured.models[0], self._using(configured))
            context |= self._page(request, configured, folder, after)
            if name:
                found = find_file(configured, name, self._using(configured))
                context["found"] = [self._line(request, configured, found)] if found else []
        except (OSError, ImproperlyConfigured) as exception:
            context["problem"] = reason(exception)
        return self._render(request, "folder", context)

    def _page(
        self, request: HttpRequest, configured: ConfiguredStore, folder: str, after: str
    ) -> dict[str, Any]:
        page, verdicts = list_folder(configured, folder, after, self._using(configured))
        has_entries = bool(page.folders or page.files)
        folders = []
        for path, content in describe_folders(configured.store.layout, page.folders).items():
            url = self._url("folder", configured, folder=path) if is_name(path) else ""
            folders.append((Link(printable(posixpath.basename(path)), url), content))
        archive_url = next_url = ""
        if folder and has_entries and self._may_view_all(request, configured):
            archive_url = self._url("archive", configured, folder=folder)
        if page.next_token:
            next_url = self._url("folder", configured, folder=folder, after=page.next_token)
        return {
            # A disk that is not mounted looks like an empty one.
            "problem": "" if has_entries or after else configured.store.unavailable_reason(),
            "folders": folders,
            "lines": [self._line(request, configured, verdict) for verdict in verdicts],
            "archive_url": archive_url,
            "first_url": after and self._url("folder", configured, folder=folder),
            "next_url": next_url,
        }

    def _line(self, request: HttpRequest, configured: ConfiguredStore, verdict: Verdict) -> Line:
        owners, row = [], verdict.row
        if row is not None:
            delivery = getattr(row, "delivery", None)
            user = getattr(delivery, "delivered_by", None)
            owners = [self._link(request, owner) for owner in (row, delivery, user) if owner]
        elif verdict.tombstone is not None:
            link = self._link(request, verdict.tombstone)
            owners = [Link(_describe(verdict.tombstone), link.url)]
        leaf = printable(posixpath.basename(verdict.name))
        actions = self._actions(request, configured, verdict) if is_name(verdict.name) else []
        return Line(leaf, verdict, describe_state(verdict.state), owners, actions)

    def _link(self, request: HttpRequest, row: Any) -> Link:
        """Return a row's text, with the URL of its page if the user may view it."""
        registry: Any = self.admin_site._registry  # get_model_admin() is new in Django 5.0
        model_admin = registry.get(type(row))
        url = ""
        if model_admin is not None and model_admin.has_view_permission(request, row):
            url = admin_url(self.admin_site, row, "change", quote(row.pk))
        return Link(str(row), url)

    def _actions(
        self, request: HttpRequest, configured: ConfiguredStore, verdict: Verdict
    ) -> list[Link]:
        name, row = verdict.name, verdict.row
        if verdict.entry is None:
            return []
        links = []
        if row is not None:
            if may_view(request.user, type(row)):
                preview_url = admin_url(self.admin_site, row, "preview", quote(row.pk))
                links = [Link(_("Download"), download_url(row)), Link(_("Preview"), preview_url)]
        elif self._may_download(request, verdict):
            links.append(Link(_("Download"), self._url("file", configured, name=name)))
        if verdict.state is State.ORPHAN and self.has_bury_permission(request):
            links.append(Link(_("Delete"), self._url("bury", configured, name=name)))
        return [link for link in links if link.url]

    def _may_download(self, request: HttpRequest, verdict: Verdict) -> bool:
        """Return whether the user may download a file that does not have a row.

        Files of other models have a view of their own, which asks for permissions.
        """
        if verdict.state is State.ORDINARY:
            return False
        return verdict.tombstone is None or may_view(request.user, type(verdict.tombstone))

    def _may_view_all(self, request: HttpRequest, configured: ConfiguredStore) -> bool:
        return all(may_view(request.user, model) for model in configured.models)

    @_of_store
    def jump_view(self, request: HttpRequest, configured: ConfiguredStore) -> HttpResponse:
        """Redirect to a delivery by its id, or to a key, any other name, or a folder."""
        to = request.GET.get("to", "")
        if not to.strip(" /"):
            return HttpResponseRedirect(self._url("folder", configured))
        folder, name = locate(configured, to, self._using(configured))
        return HttpResponseRedirect(self._url("folder", configured, folder=folder, name=name))

    @_of_store
    @method_decorator(require_safe)
    def file_view(self, request: HttpRequest, configured: ConfiguredStore) -> HttpResponseBase:
        """Send a file that does not have a row; files with a row have the download view."""
        name = self._get_name(request, "name", required=True)
        verdict = find_file(configured, name, self._using(configured))
        if verdict is None or verdict.entry is None or verdict.row is not None:
            raise Http404(_("The store does not have a file without a row by this name."))
        if not self._may_download(request, verdict):
            raise PermissionDenied
        return serve_name(request, configured.store, name)

    @_of_store
    @method_decorator(require_safe)
    def archive_view(self, request: HttpRequest, configured: ConfiguredStore) -> HttpResponseBase:
        """Send all files below a folder as a zip."""
        folder = self._get_name(request, "folder", required=True)
        if not self._may_view_all(request, configured):
            raise PermissionDenied
        model, using = configured.models[0], self._using(configured)

        def withheld(names: Iterable[str]) -> set[str]:
            found = set(ordinary_rows_named(model, names, using))
            if not may_view(request.user, Tombstone):
                found |= tombstones_named(model, names, using).keys()
            return found - rows_named(model, found, using).keys()

        archive = partial(of_folder, configured.store, folder, withheld)
        return archive_response(request, archive, f"{folder.replace('/', '-')}.zip")

    @_of_store
    def bury_view(self, request: HttpRequest, configured: ConfiguredStore) -> HttpResponse:
        """Ask whether to delete an unrecorded file; on POST write its tombstone."""
        if not self.has_bury_permission(request):
            raise PermissionDenied
        name = self._get_name(request, "name")
        folder_url = self._url("folder", configured, folder=posixpath.dirname(name))
        if request.method == "POST":
            self._bury(request, configured, name)
            return HttpResponseRedirect(folder_url)
        verdict = find_file(configured, name, self._using(configured)) if name else None
        if verdict is None or verdict.state is not State.ORPHAN:
            raise Http404(_("There is no unrecorded file with this name."))
        context = {
            "title": _("Delete an unrecorded file"),
            "entry": verdict.entry,
            "days": max(conf.retention, conf.grace).days,
            "folder_url": folder_url,
        }
        return self._render(request, "bury", context)

    def _bury(self, request: HttpRequest, configured: ConfiguredStore, name: str) -> None:
        try:
            tombstone = bury_orphan(configured.models[0], name, using=self._using(configured))
        except NotAnOrphan as exception:
            self.message_user(request, str(exception), messages.ERROR)
            return
        self.log_addition(request, tombstone, _("Deleted an unrecorded file."))
        text = _("“%(name)s” was deleted. It can be restored until %(until)s.")
        values = {"name": name, "until": format_datetime(tombstone.due)}
        self.message_user(request, text % values, messages.SUCCESS)

    def _render(self, request: HttpRequest, page: str, context: dict[str, Any]) -> HttpResponse:
        stores_url = admin_url(self.admin_site, self.model, "changelist")
        template = f"admin/devilry_storage/storebrowser/{page}.html"
        return render(self, request, template, {"stores_url": stores_url, **context})


def _describe(tombstone: Tombstone) -> str:
    if not tombstone.is_restorable:
        return _("Deleted file")
    return _("Restorable until %(until)s") % {"until": format_datetime(tombstone.due)}
