"""``collectstatic`` into the stores on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles.management.commands.collectstatic import Command
from django.contrib.staticfiles.storage import ManifestFilesMixin, StaticFilesStorage
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import override_settings
from django.urls import reverse_lazy

from devilry_storage.storages import FsDeliveryStore, FsHierDeliveryStore


class Static(StaticFilesStorage, FsHierDeliveryStore):
    """The options are STATIC_ROOT and STATIC_URL."""

    def exists(self, name: Any) -> bool:
        # collectstatic --clear asks for folders.
        return super().exists(name) or self.listdir(name) != ([], [])


class Manifest(ManifestFilesMixin, FsHierDeliveryStore):  # type: ignore[misc]  # stubs differ
    """Names with a hash of the content."""


def at(store: Callable[..., Any]) -> Callable[[Path], Any]:
    return lambda root: store(location=root, base_url=reverse_lazy("admin:index"))


STORES: dict[str, Callable[[Path], Any]] = {
    "flat": at(FsDeliveryStore),
    "hierarchical": at(FsHierDeliveryStore),
    "manifest": at(Manifest),
    "settings": lambda root: Static(),
}


def collect(store: Any, source: Path, **options: Any) -> None:
    command = Command()
    command.storage = store
    with override_settings(
        STATICFILES_DIRS=[source],
        STATICFILES_FINDERS=["django.contrib.staticfiles.finders.FileSystemFinder"],
    ):
        call_command(command, interactive=False, verbosity=0, **options)


@pytest.mark.parametrize("make", STORES.values(), ids=list(STORES))
def test_collectstatic_stores_files(make: Callable[[Path], Any], tmp_path: Path) -> None:
    """A second run replaces changed files, and ``--clear`` removes all."""
    source, root = tmp_path / "source", tmp_path / "root"
    (source / "css").mkdir(parents=True)
    (source / "css" / "a.css").write_text("b {}")
    (source / "top.js").write_text("1")
    with override_settings(STATIC_ROOT=str(root), STATIC_URL="/static/"):
        store = make(root)
        collect(store, source)
        (source / "css" / "a.css").write_text("i {}")
        store.delete("css/a.css")
        collect(store, source)
        assert (root / "css" / "a.css").read_text() == "i {}"
        assert store.url("css/a.css").startswith(f"{store.base_url}css/a.")
        assert store.url("css/") == f"{store.base_url}css/"
        hashed = {name for name in store.listdir("css")[1] if name != "a.css"}
        assert bool(hashed) == isinstance(store, Manifest)
        (source / "css" / "a.css").unlink()
        collect(store, source, clear=True)
        assert "top.js" in store.listdir("")[1]
        assert store.exists("css/a.css") != isinstance(store, Static)


@override_settings(STATIC_ROOT=None)
def test_collectstatic_without_static_root_is_an_error(tmp_path: Path) -> None:
    """And nothing is stored elsewhere."""
    (tmp_path / "a.css").write_text("b {}")
    with pytest.raises(ImproperlyConfigured):
        collect(Static(), tmp_path)
