"""Checks of the settings and of the stores. Only deploy checks use the network."""

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage
from django.db import connections

from ..conf import conf
from ..identity import marked, summary
from ..registry import FileModel, configured_stores, model_stores, ordinary_stores, unconfigured
from ..resolving import REMEDY, NoStore, WrongStore
from ..storages.base import DeliveryStoreMixin
from ..storages.filesystem import FsDeliveryStore, FsHierDeliveryStore
from ..storages.protocols import FLAGS
from ..storages.tree import TEMP_FOLDER
from ..tables import StoreMark

_DEVILRY = "devilry.apps.core.deliverystore."
_PACKAGE = "devilry_storage.storages."
_SUCCESSORS = {
    "FsDeliveryStore": f"{_PACKAGE}FsDeliveryStore",
    "MemoryDeliveryStore": "devilry_storage.testing.MemoryDeliveryStore",
}
_DISK = (FsDeliveryStore, FsHierDeliveryStore)

_SETTINGS = {
    "delivery_store_backend": "devilry_storage.E040",
    "delivery_store_root": "devilry_storage.E041",
    "fshierdeliverystore_root": "devilry_storage.E042",
    "fshierdeliverystore_interval": "devilry_storage.E043",
    "retention": "devilry_storage.E044",
    "grace": "devilry_storage.E045",
    "serve": "devilry_storage.E046",
    "redirect_seconds": "devilry_storage.E047",
    "redirect_min_bytes": "devilry_storage.E048",
    "inline_types": "devilry_storage.E049",
    "upload_max_files": "devilry_storage.E050",
    "upload_max_bytes": "devilry_storage.E051",
    "upload_max_total_bytes": "devilry_storage.E052",
    "archive_max_files": "devilry_storage.E053",
    "archive_max_bytes": "devilry_storage.E054",
    "delivery_store_site": "devilry_storage.E055",
}


@register("devilry_storage")
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Report settings with invalid values."""
    messages: list[CheckMessage] = []
    for name, id_ in _SETTINGS.items():
        try:
            getattr(conf, name)
        except ImproperlyConfigured as exception:
            messages.append(Error(str(exception), hint="Correct or remove the setting.", id=id_))
    return messages


@register("devilry_storage")
def check_stores(**kwargs: Any) -> list[CheckMessage]:
    """Report problems with the store of each model of files."""
    if old := list(_old_paths()):
        return old
    messages = [_unresolved(model, exception) for model, exception in unconfigured()]
    for model, store in model_stores():
        messages += _flags(model, store)
        messages += _public(model, store)
        if isinstance(store, _DISK):
            messages += _disk(model, store)
    for configured in configured_stores() + ordinary_stores():
        messages += _ignored(type(configured.store))
    return messages


@register(Tags.security, "devilry_storage", deploy=True)
def check_stores_deployed(**kwargs: Any) -> list[CheckMessage]:
    """Report problems that matter only in production."""
    messages: list[CheckMessage] = []
    for model, store in model_stores():
        messages += [
            Error(warning.msg, hint=warning.hint, obj=model, id="devilry_storage.E004")
            for warning in _public(model, store)
        ]
        if isinstance(store, _DISK):
            messages += _modes(model, store)
            messages += _open_temps(model, store)
    for configured in configured_stores():
        messages += _weaknesses(configured.models[0], configured.store)
        messages += _probed(configured.models[0], configured.store)
    return messages


@register("devilry_storage", deploy=True)
def check_identity(**kwargs: Any) -> list[CheckMessage]:
    """Report stores without a mark."""
    return [
        Warning(
            f"{type(store).__name__} ({store.location_text()}) has no identity. If another site "
            "uses it, such as a copy of this one, files may be removed by either. If its disk is "
            "not mounted, new files may be stored in the wrong folder.",
            hint=(
                "Remove the option identity=False; or deny all other sites access to the store, "
                "and silence this check."
            ),
            obj=models[0],
            id="devilry_storage.W013",
        )
        for store, _alias, models in configured_stores()
        if marked(models[0], "default") is None
    ]


@register(Tags.database, "devilry_storage", deploy=True)
def check_recognised(
    *, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report stores from which this site does not remove files."""
    return [
        Warning(
            f"This site removes no files from the store of {model._meta.label}: {known.problem}.",
            hint="Run manage.py deliverystore_identity for details.",
            obj=model,
            id="devilry_storage.W014",
        )
        for alias in databases or ()
        if StoreMark._meta.db_table in connections[alias].introspection.table_names()
        for model in (configured.models[0] for configured in configured_stores())
        if (known := summary(model, alias)) is not None and known.problem
    ]


def _old_paths() -> Iterator[CheckMessage]:
    """Yield an error for each dotted path of Devilry's own stores in the settings."""
    paths = {
        f"STORAGES[{alias!r}]": str(storage.get("BACKEND", ""))
        for alias, storage in settings.STORAGES.items()
    }
    paths["DELIVERY_STORE_BACKEND"] = str(getattr(settings, "DELIVERY_STORE_BACKEND", None))
    for subject, path in paths.items():
        if path.startswith(_DEVILRY):
            name = path.removeprefix(_DEVILRY)
            yield Error(
                f"{subject} names {path!r}, a store of Devilry itself.",
                hint=f"Use {_SUCCESSORS.get(name, f'{_PACKAGE}FsHierDeliveryStore')!r}.",
                id="devilry_storage.E003",
            )


def _unresolved(model: FileModel, exception: ImproperlyConfigured) -> CheckMessage:
    id_ = "devilry_storage.E001" if isinstance(exception, NoStore) else "devilry_storage.E002"
    hint = REMEDY
    if isinstance(exception, WrongStore):
        hint = (
            "Write class MyDeliveryStore(DeliveryStoreMixin, MyStorage) with a Django Storage; a "
            "class with only read_open, write_open, remove, exists and copy is not enough. Or "
            f"use an existing store. {REMEDY}"
        )
    return Error(str(exception), hint=hint, obj=model, id=id_)


def _flags(model: FileModel, store: DeliveryStoreMixin) -> Iterator[CheckMessage]:
    missing = [flag for flag in FLAGS if getattr(store, flag) is None]
    if missing:
        yield Warning(
            f"{type(store).__name__} does not declare its capabilities: {', '.join(missing)}.",
            hint=(
                "Set each of these class attributes to True or False; run "
                "devilry_storage.testing.TestDeliveryStoreMixin to find out which."
            ),
            obj=model,
            id="devilry_storage.W007",
        )


def _ignored(kind: type[DeliveryStoreMixin]) -> Iterator[CheckMessage]:
    """Yield a warning if a class after the package's has a location, which has no effect."""
    ignored: dict[str, list[str]] = {}
    for attribute in ("base_location", "location"):
        owners = [cls for cls in kind.__mro__ if attribute in vars(cls)]
        if owners and owners[0].__module__.startswith(_PACKAGE):
            for cls in owners[1:]:
                if cls is not FileSystemStorage and not cls.__module__.startswith(_PACKAGE):
                    ignored.setdefault(cls.__name__, []).append(attribute)
    for name, attributes in ignored.items():
        yield Warning(
            f"{kind.__name__} ignores {' and '.join(attributes)} of {name}, because that class "
            "comes after the delivery store in its bases.",
            hint=f"Put {name} before the delivery store: class {kind.__name__}({name}, ...).",
            id="devilry_storage.W015",
        )


def _public(model: FileModel, store: DeliveryStoreMixin) -> Iterator[CheckMessage]:
    root = os.fspath(settings.MEDIA_ROOT)
    if not isinstance(store, FileSystemStorage) or not root:
        return
    media = os.path.realpath(root)
    if settings.MEDIA_URL and os.path.commonpath([media, _real(store)]) == media:
        yield Warning(
            f"The delivered files are stored in {store.location!r}, below MEDIA_ROOT: anyone can "
            f"read them at MEDIA_URL {settings.MEDIA_URL!r}.",
            hint="Give the store a location outside of MEDIA_ROOT.",
            obj=model,
            id="devilry_storage.W004",
        )


def _real(store: FileSystemStorage) -> str:
    return os.path.realpath(store.location)


def _disk(model: FileModel, store: FileSystemStorage) -> Iterator[CheckMessage]:
    if sys.platform == "win32":
        yield Error(
            f"{type(store).__name__} does not work on Windows, which lacks openat() and link().",
            hint="Keep the files in an object store, or serve from Linux or macOS.",
            obj=model,
            id="devilry_storage.E008",
        )
    # Missing folders are created later: the nearest existing parent must be writable.
    folder = _real(store)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        yield Error(
            f"The store's location {store.location!r} is not writable: {folder!r} is not a folder "
            "in which this process may create files.",
            hint="Create the folder and give it to the user that the site runs as.",
            obj=model,
            id="devilry_storage.E005",
        )
        return
    for temps in _temps(store):
        if not os.access(temps, os.W_OK | os.X_OK):
            yield Error(
                f"The store's folder of temporary files {temps!r} is not writable for this "
                "process, so nothing can be stored.",
                hint=(
                    "Run all processes that store or purge as one user and give it the folder; "
                    "or give the folder to a group of these users and set its mode to 2770."
                ),
                obj=model,
                id="devilry_storage.E005",
            )
            return


def _temps(store: FileSystemStorage) -> Iterator[str]:
    """Yield the existing folders of the store's temporary files, outermost first."""
    folder = store.location
    for part in TEMP_FOLDER:
        folder = os.path.join(folder, part)
        if os.path.isdir(folder):
            yield folder


def _open_temps(model: FileModel, store: FileSystemStorage) -> Iterator[CheckMessage]:
    for folder in _temps(store):
        try:
            mode = stat.S_IMODE(os.stat(folder).st_mode)
        except FileNotFoundError:
            return  # removed since _temps() has found it
        if mode & 0o077:
            yield Warning(
                f"The store's folder of temporary files {folder!r} has mode {mode:#o}: other "
                "users may reach files that are being stored.",
                hint=(
                    f"Run chmod 700 {folder}. Silence this check if processes of several users "
                    "store files and share the folder by their group."
                ),
                obj=model,
                id="devilry_storage.W012",
            )


def _weaknesses(model: FileModel, store: DeliveryStoreMixin) -> Iterator[CheckMessage]:
    risks = {
        "atomic_create": "if two processes write the same name, one may lose its file",
        "whole_or_absent": "a process that is killed may leave an incomplete file",
        "durable": "a saved file may be lost in a power failure",
    }
    for flag, risk in risks.items():
        if not getattr(store, flag):
            yield Warning(
                f"{type(store).__name__} does not guarantee {flag}: {risk}.",
                hint="Use a store or options with this guarantee; see the page of guarantees.",
                obj=model,
                id="devilry_storage.W011",
            )


def _probed(model: FileModel, store: DeliveryStoreMixin) -> Iterator[CheckMessage]:
    """Query the store's server. Only deploy checks may use the network."""
    try:
        findings = list(store.probe())
    except OSError as exception:
        yield Warning(
            f"The capabilities of the store could not be queried: {exception}",
            hint="Run manage.py deliverystore_info --probe when its server can be reached.",
            obj=model,
            id="devilry_storage.W010",
        )
        return
    for finding in findings:
        if finding.remedy:
            yield Error(
                f"Probe failed: {finding.sentence} ({store.location_text()}).",
                hint=f"{finding.remedy[:1].upper()}{finding.remedy[1:]}.",
                obj=model,
                id="devilry_storage.E009",
            )


def _modes(model: FileModel, store: FileSystemStorage) -> Iterator[CheckMessage]:
    open_to_all = []
    for option in ("file_permissions_mode", "directory_permissions_mode"):
        mode = getattr(store, option)
        if mode is None or mode & 0o007:
            open_to_all.append(f"{option} {'not set' if mode is None else oct(mode)}")
    if open_to_all:
        yield Warning(
            f"Every user of this machine may be able to read delivered files: "
            f"{', '.join(open_to_all)}.",
            hint=(
                "Set the options file_permissions_mode to 0o640 and directory_permissions_mode "
                "to 0o750."
            ),
            obj=model,
            id="devilry_storage.W006",
        )
