"""System checks: their conditions and messages."""

from __future__ import annotations

import os
import re
import sys
import uuid
from collections import Counter
from io import StringIO
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import django
import pytest
from django.apps import apps
from django.core import checks
from django.core.checks import CheckMessage
from django.core.checks.registry import registry
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection, connections, models
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLiteWrapper
from django.test.utils import isolate_apps, override_settings

from devilry_storage.checks import database
from devilry_storage.checks import managers as manager_checks
from devilry_storage.checks import models as model_checks
from devilry_storage.checks import serving as serving_checks
from devilry_storage.checks import settings as setting_checks
from devilry_storage.checks import stores as store_checks
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.fields import DeliveryFileField
from devilry_storage.models import (
    AbstractDelivery,
    AbstractFileMeta,
    DeliveryQuerySet,
    FileMetaQuerySet,
)
from devilry_storage.registry import file_models
from devilry_storage.storages import (
    DeliveryStoreMixin,
    FsDeliveryStore,
    FsHierDeliveryStore,
    S3DeliveryStore,
)
from devilry_storage.storages.protocols import FLAGS
from devilry_storage.testing import MemoryDeliveryStore

from ..harness.managers import ChildManager, set_manager
from ..slow.database_racing import isolation_level
from ..testapp.models import Attachment, Course, MarkedFile, Page, ProxyFile

HIER = "devilry_storage.storages.FsHierDeliveryStore"
FILESYSTEM = {"BACKEND": "django.core.files.storage.FileSystemStorage"}


class FiveMethods:
    """A store of a site's own with the interface that Devilry documents."""

    def read_open(self, filemeta: object) -> None: ...
    def write_open(self, filemeta: object) -> None: ...
    def remove(self, filemeta: object) -> None: ...
    def exists(self, filemeta: object) -> None: ...
    def copy(self, source: object, target: object) -> None: ...


class Unflagged(DeliveryStoreMixin, FileSystemStorage):
    """A store that declares no capabilities."""


class Capable(MemoryDeliveryStore):
    """A store that declares all capabilities."""

    durable = bounded_memory = True


def _stores(backend: str, **options: Any) -> dict[str, Any]:
    return {"default": FILESYSTEM, "deliveries": {"BACKEND": backend, "OPTIONS": options}}


def _of(messages: list[CheckMessage], model: Any = FileMeta) -> list[CheckMessage]:
    return [message for message in messages if message.obj in {model, None}]


def _only(messages: list[CheckMessage]) -> CheckMessage:
    assert len(messages) == 1, messages
    (message,) = messages
    assert message.hint, "every check has a remedy"
    return message


def test_modules_of_checks_share_no_ids() -> None:
    """Except W024: both the database and a model can show a cascade."""
    modules = Path(database.__file__).parent.glob("*.py")
    found = [set(re.findall(r"devilry_storage\.[EW]\d+", path.read_text())) for path in modules]
    numbers = Counter(chain.from_iterable(found))
    assert {id_ for id_, number in numbers.items() if number > 1} == {"devilry_storage.W024"}


def test_checks_are_registered() -> None:
    """Checks of the database have Tags.database. Deploy checks run only with ``--deploy``."""
    assert store_checks.check_stores in registry.registered_checks
    assert model_checks.check_models in registry.registered_checks
    assert setting_checks.check_settings in registry.registered_checks
    assert checks.Tags.database in database.check_databases.tags
    assert store_checks.check_stores_deployed in registry.deployment_checks
    assert model_checks.check_database_engine in registry.deployment_checks


def test_valid_configuration_has_no_messages(tmp_path: Path) -> None:
    """A store with its own location outside of MEDIA_ROOT."""
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path))):
        assert _of(store_checks.check_stores()) == []
        assert setting_checks.check_settings() == []
    assert _of(model_checks.check_models()) == []


# -- Stores --


@override_settings(STORAGES={"default": FILESYSTEM})
def test_missing_store_is_an_error() -> None:
    """E001: the hint shows the lines to add."""
    message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.E001"
    assert "STORAGES" in str(message.hint)
    assert HIER in str(message.hint)


@override_settings(STORAGES=_stores(FILESYSTEM["BACKEND"]))
def test_storage_without_the_mixin_is_an_error() -> None:
    """E002: a Storage that is not a delivery store."""
    message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.E002"
    assert "FileSystemStorage" in message.msg
    assert "DeliveryStoreMixin" in str(message.hint)


@override_settings(
    STORAGES={"default": FILESYSTEM}, DELIVERY_STORE_BACKEND=f"{__name__}.FiveMethods"
)
def test_store_with_devilrys_interface_is_an_error() -> None:
    """E002: the hint names what is missing."""
    message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.E002"
    assert "FiveMethods" in message.msg
    assert "read_open" in str(message.hint)


@override_settings(STORAGES={"default": FILESYSTEM}, DELIVERY_STORE_BACKEND="no.such.Store")
def test_backend_that_cannot_be_imported_is_an_error() -> None:
    """E002: the message quotes the path."""
    message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.E002"
    assert "'no.such.Store'" in message.msg


@override_settings(STORAGES=_stores(HIER, colour="red"))
def test_unknown_option_is_an_error() -> None:
    """E002: the message names the option."""
    message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.E002"
    assert "'colour'" in message.msg


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("FsDeliveryStore", "storages"),
        ("FsHierDeliveryStore", "storages"),
        ("MemoryDeliveryStore", "testing"),
    ],
)
def test_dotted_path_of_devilry_is_an_error(name: str, package: str) -> None:
    """E003: a setting that was copied from Devilry. The hint has the new path."""
    old = f"devilry.apps.core.deliverystore.{name}"
    with override_settings(STORAGES={"default": FILESYSTEM}, DELIVERY_STORE_BACKEND=old):
        message = _only(store_checks.check_stores())
    assert message.id == "devilry_storage.E003"
    assert old in message.msg
    assert f"devilry_storage.{package}.{name}" in str(message.hint)


@override_settings(STORAGES=_stores("devilry.apps.core.deliverystore.DjangoStore"))
def test_dotted_path_of_devilry_in_storages_is_an_error() -> None:
    """E003: for an unknown store, the hint recommends FsHierDeliveryStore."""
    message = _only(store_checks.check_stores())
    assert message.id == "devilry_storage.E003"
    assert HIER in str(message.hint)


@pytest.mark.parametrize("below", ["", "deliveries"])
def test_location_below_media_root_is_public(tmp_path: Path, below: str) -> None:
    """W004, and E004 with ``--deploy``: the location is MEDIA_ROOT or below it."""
    with override_settings(
        MEDIA_ROOT=str(tmp_path), STORAGES=_stores(HIER, location=str(tmp_path / below))
    ):
        assert _only(_of(store_checks.check_stores())).id == "devilry_storage.W004"
        found = {message.id for message in _of(store_checks.check_stores_deployed())}
    assert "devilry_storage.E004" in found


def test_symlink_into_media_root_is_public(tmp_path: Path) -> None:
    """W004: symlinks are resolved."""
    (tmp_path / "media").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "media")
    with override_settings(
        MEDIA_ROOT=str(tmp_path / "media"), STORAGES=_stores(HIER, location=str(tmp_path / "link"))
    ):
        assert _only(_of(store_checks.check_stores())).id == "devilry_storage.W004"


def test_folder_beside_media_root_is_not_public(tmp_path: Path) -> None:
    """Although its name begins with the same letters."""
    with override_settings(
        MEDIA_ROOT=str(tmp_path / "media"),
        STORAGES=_stores(HIER, location=str(tmp_path / "media-deliveries")),
    ):
        assert _of(store_checks.check_stores()) == []


def test_location_below_a_file_is_an_error(tmp_path: Path) -> None:
    """E005: no folder can be created there."""
    (tmp_path / "file").write_text("")
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path / "file" / "root"))):
        message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.E005"
    assert str(tmp_path / "file") in message.msg


@pytest.mark.parametrize("missing", [os.W_OK, os.X_OK], ids=["write", "enter"])
def test_location_without_permission_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    """E005: root may write everywhere, so os.access() is replaced."""
    monkeypatch.setattr("os.access", lambda path, mode: not mode & missing)
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path))):
        assert _only(_of(store_checks.check_stores())).id == "devilry_storage.E005"


@pytest.mark.parametrize("closed", [".devilry-storage", ".devilry-storage/tmp"])
def test_folder_of_temp_files_without_permission_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    """E005: it was created by another user of the site."""
    (tmp_path / ".devilry-storage/tmp").mkdir(parents=True)
    monkeypatch.setattr("os.access", lambda path, mode: path != str(tmp_path / closed))
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path))):
        message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.E005"
    assert str(tmp_path / closed) in message.msg
    assert "2770" in str(message.hint)


@pytest.mark.parametrize("mode", [0o710, 0o720, 0o2770, 0o755, 0o701])
@pytest.mark.parametrize("folder", [".devilry-storage", ".devilry-storage/tmp"])
def test_open_folder_of_temp_files_is_a_warning_in_production(
    tmp_path: Path, folder: str, mode: int
) -> None:
    """W012: its mode is not changed, because several users may share it."""
    (tmp_path / ".devilry-storage").mkdir(mode=0o700)
    (tmp_path / ".devilry-storage/tmp").mkdir(mode=0o700)
    (tmp_path / folder).chmod(mode)
    modes = {"file_permissions_mode": 0o640, "directory_permissions_mode": 0o750}
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path), **modes)):
        message = _only(_of(store_checks.check_stores_deployed()))
    assert message.id == "devilry_storage.W012"
    assert f"{str(tmp_path / folder)!r} has mode {mode:#o}" in message.msg
    assert f"chmod 700 {tmp_path / folder}" in str(message.hint)


def test_folder_of_temp_files_may_vanish_during_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge or another process may remove it at any time."""
    folder = tmp_path / ".devilry-storage"
    folder.mkdir(mode=0o755)
    isdir = os.path.isdir

    def remove_after_check(path: str) -> bool:
        exists = isdir(path)
        if path == str(folder) and exists:
            folder.rmdir()
        return exists

    monkeypatch.setattr("os.path.isdir", remove_after_check)
    modes = {"file_permissions_mode": 0o640, "directory_permissions_mode": 0o750}
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path), **modes)):
        assert _of(store_checks.check_stores_deployed()) == []
    assert not folder.exists()


def test_world_readable_modes_are_a_warning_in_production(tmp_path: Path) -> None:
    """W006: Django's default 0644, and folders that depend on the umask."""
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path))):
        message = _only(_of(store_checks.check_stores_deployed()))
    assert message.id == "devilry_storage.W006"
    assert "0o644" in message.msg
    assert "0o640" in str(message.hint)


@pytest.mark.parametrize("option", ["file_permissions_mode", "directory_permissions_mode"])
@pytest.mark.parametrize("mode", [0o641, 0o642, 0o644, 0o751])
def test_any_permission_for_others_is_a_warning(tmp_path: Path, option: str, mode: int) -> None:
    """W006: to read, to write or to enter."""
    modes = {"file_permissions_mode": 0o640, "directory_permissions_mode": 0o750, option: mode}
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path), **modes)):
        message = _only(_of(store_checks.check_stores_deployed()))
    assert message.id == "devilry_storage.W006"
    assert f"{option} {mode:#o}." in message.msg


def test_missing_folder_mode_is_a_warning(tmp_path: Path) -> None:
    """W006: the umask may be 022."""
    stores = _stores(HIER, location=str(tmp_path), file_permissions_mode=0o640)
    with override_settings(STORAGES=stores):
        message = _only(_of(store_checks.check_stores_deployed()))
    assert message.id == "devilry_storage.W006"
    assert "directory_permissions_mode not set" in message.msg


def test_missing_location_has_no_messages(tmp_path: Path) -> None:
    """The first save creates it in a writable folder."""
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path / "a/b"))):
        assert _of(store_checks.check_stores()) == []


@pytest.mark.parametrize("value", [False, None])
@pytest.mark.parametrize("flag", ["atomic_create", "whole_or_absent", "durable"])
def test_each_missing_guarantee_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, flag: str, value: bool | None
) -> None:
    """W011: one warning per guarantee. A flag that is not set counts as False."""
    monkeypatch.setattr(Capable, flag, value)
    with override_settings(STORAGES=_stores(f"{__name__}.Capable")):
        message = _only(_of(store_checks.check_stores_deployed()))
        undecided = _of(store_checks.check_stores())
    assert message.id == "devilry_storage.W011"
    assert f"does not guarantee {flag}: " in message.msg
    assert [message.id for message in undecided] == ["devilry_storage.W007"] * (value is None)


def test_recommended_modes_have_no_messages(tmp_path: Path) -> None:
    """0640 and 0750 deny access to other users."""
    modes = {"file_permissions_mode": 0o640, "directory_permissions_mode": 0o750}
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path), **modes)):
        assert _of(store_checks.check_stores_deployed()) == []


def test_missing_flags_are_a_warning(tmp_path: Path) -> None:
    """W007: the conformance suite would require all capabilities."""
    backend = f"{__name__}.Unflagged"
    with override_settings(STORAGES=_stores(backend, location=str(tmp_path))):
        message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.W007"
    assert "atomic_create" in message.msg
    assert "atomic_copy" in message.msg


@pytest.mark.parametrize(
    "store", [FsDeliveryStore, FsHierDeliveryStore, MemoryDeliveryStore, S3DeliveryStore]
)
def test_stores_of_the_package_set_all_flags(store: type[DeliveryStoreMixin]) -> None:
    """To True or False."""
    assert all(isinstance(getattr(store, flag), bool) for flag in FLAGS)


def test_windows_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E008: it has no openat() and link()."""
    monkeypatch.setattr("sys.platform", "win32")
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path))):
        assert _only(_of(store_checks.check_stores())).id == "devilry_storage.E008"


# -- Models --


def _check_isolated(isolated: Any, monkeypatch: pytest.MonkeyPatch) -> list[CheckMessage]:
    """Return the messages for the models of an isolated registry."""
    monkeypatch.setattr(apps, "get_models", isolated.get_models)
    return model_checks.check_models()


def test_uuid_primary_key_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """E020: keys are made of integers."""
    with isolate_apps("devilry_storage") as isolated:

        class Handin(AbstractFileMeta):
            id = models.UUIDField(primary_key=True, default=uuid.uuid4)
            delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        message = _only(_check_isolated(isolated, monkeypatch))
    assert message.id == "devilry_storage.E020"
    assert "UUIDField" in message.msg
    assert "key_ids()" in str(message.hint)


def test_uuid_primary_key_of_delivery_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """E020: the id of the delivery is part of the key."""
    with isolate_apps("devilry_storage") as isolated:

        class Course(models.Model):
            id = models.UUIDField(primary_key=True, default=uuid.uuid4)

            class Meta:
                app_label = "devilry_storage"

        class Handin(AbstractFileMeta):
            delivery = models.ForeignKey(Course, models.CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        message = _only(_check_isolated(isolated, monkeypatch))
    assert message.id == "devilry_storage.E020"
    assert "Course.id" in message.msg


def test_model_without_delivery_needs_key_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """E020: there are no ids to make keys of, unless key_ids() is overridden."""
    with isolate_apps("devilry_storage") as isolated:

        class Handin(AbstractFileMeta):
            class Meta:
                app_label = "devilry_storage"

        message = _only(_check_isolated(isolated, monkeypatch))
        assert message.id == "devilry_storage.E020"
        monkeypatch.setattr(Handin, "key_ids", lambda self: (0, self.pk))
        assert _check_isolated(isolated, monkeypatch) == []


def test_two_models_in_one_store_are_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """E021: rows with the same ids would have the same keys."""
    with isolate_apps("devilry_storage") as isolated:

        class One(AbstractFileMeta):
            delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        class Two(AbstractFileMeta):
            delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        message = _only(_check_isolated(isolated, monkeypatch))
        assert message.id == "devilry_storage.E021"
        assert "devilry_storage.One" in message.msg
        assert "devilry_storage.Two" in message.msg
        monkeypatch.setattr(Two, "deliverystore", FsHierDeliveryStore(tmp_path))
        assert _check_isolated(isolated, monkeypatch) == []


def test_two_stores_at_one_location_are_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """E021: the location is compared, not the instance."""
    with isolate_apps("devilry_storage") as isolated:

        class One(AbstractFileMeta):
            deliverystore = FsHierDeliveryStore(tmp_path)
            delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        class Two(AbstractFileMeta):
            deliverystore = FsDeliveryStore(tmp_path)
            delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        assert _only(_check_isolated(isolated, monkeypatch)).id == "devilry_storage.E021"


@pytest.mark.parametrize("kind", ["proxy", "child"])
def test_store_of_proxy_or_child_is_an_error(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """E022: it has no effect there."""
    with isolate_apps("devilry_storage") as isolated:

        class Handin(AbstractFileMeta):
            delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        class Below(Handin):
            deliverystore = MemoryDeliveryStore()

            class Meta:
                app_label = "devilry_storage"
                proxy = kind == "proxy"

        message = _only(_check_isolated(isolated, monkeypatch))
    assert message.id == "devilry_storage.E022"
    assert "devilry_storage.Handin" in str(message.hint)


@pytest.mark.parametrize("other", ["store/inner", "link"])
def test_store_within_another_store_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: str
) -> None:
    """E021: nested, or reached through a symlink."""
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "store")
    with isolate_apps("devilry_storage") as isolated:

        class One(AbstractFileMeta):
            deliverystore = FsHierDeliveryStore(tmp_path / "store")
            delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        class Two(AbstractFileMeta):
            deliverystore = FsHierDeliveryStore(tmp_path / other)
            delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        assert _only(_check_isolated(isolated, monkeypatch)).id == "devilry_storage.E021"


@pytest.mark.parametrize("models_of_files", [0, 2])
def test_delivery_needs_exactly_one_model_of_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, models_of_files: int
) -> None:
    """E027: otherwise add_file() could not choose."""
    with isolate_apps("devilry_storage") as isolated:

        class Homework(AbstractDelivery):
            class Meta:
                app_label = "devilry_storage"

        for number in range(models_of_files):
            type(
                f"Handin{number}",
                (AbstractFileMeta,),
                {
                    "__module__": __name__,
                    "Meta": type("Meta", (), {"app_label": "devilry_storage"}),
                    "deliverystore": FsHierDeliveryStore(tmp_path / str(number)),
                    "delivery": models.ForeignKey(Homework, models.CASCADE, related_name="+"),
                },
            )
        message = _only(_check_isolated(isolated, monkeypatch))
    assert message.id == "devilry_storage.E027"
    assert ("found: none" in message.msg) == (models_of_files == 0)
    assert "filemeta_model()" in str(message.hint)


def test_managers_that_hide_rows_or_lack_methods_are_reported(
    monkeypatch: pytest.MonkeyPatch, subtests: Any
) -> None:
    """E029, W033 and W031."""

    class Unhidden(models.Manager[Any]):
        def get_queryset(self) -> Any:
            return super().get_queryset().filter(pk__gt=0)

    class Living(models.Manager.from_queryset(FileMetaQuerySet)):  # type: ignore[misc]
        def get_queryset(self) -> Any:
            return super().get_queryset().filter(pk__gt=0)

    assert manager_checks.check_managers() == []
    cases: list[tuple[type[models.Model], str, models.Manager[Any], list[str]]] = [
        (FileMeta, "base_manager", Unhidden(), ["devilry_storage.E029"]),
        (Delivery, "base_manager", Unhidden(), ["devilry_storage.E029"]),
        (Course, "base_manager", Unhidden(), ["devilry_storage.E029"]),
        (Page, "base_manager", Unhidden(), ["devilry_storage.E029"]),
        (MarkedFile, "base_manager", Unhidden(), ["devilry_storage.E029"]),
        (Attachment, "base_manager", Unhidden(), []),
        (FileMeta, "base_manager", ChildManager(), ["devilry_storage.W031"]),
        (Delivery, "base_manager", ChildManager(), []),  # protected instead of deleted
        (FileMeta, "default_manager", Unhidden(), ["devilry_storage.W033"]),
        (FileMeta, "default_manager", Living(), []),
        (Delivery, "default_manager", Unhidden(), []),
    ]
    for model, kind, manager, expected in cases:
        with subtests.test(model=model, kind=kind), monkeypatch.context() as patched:
            set_manager(patched, model, manager, kind)
            messages = manager_checks.check_managers()
            assert [message.id for message in messages] == expected
            assert all(model._meta.label in message.msg for message in messages)


def test_visible_to_of_proxy_or_child_alone_is_an_error(
    monkeypatch: pytest.MonkeyPatch, subtests: Any
) -> None:
    """E034: views that start from the parent never ask it."""

    class Strict(FileMetaQuerySet):
        def visible_to(self, user: Any) -> Any:
            return super().visible_to(user).none()

    class Similar(Strict):
        """Has the same rule."""

    class StrictManager(models.Manager.from_queryset(FileMetaQuerySet)):  # type: ignore[misc]
        def visible_to(self, user: Any) -> Any:
            return super().visible_to(user).none()

    strict, plain = models.Manager.from_queryset(Strict), models.Manager
    similar = models.Manager.from_queryset(Similar)
    default = models.Manager.from_queryset(FileMetaQuerySet)
    cases: list[tuple[type[models.Model], Any, Any, bool]] = [
        (MarkedFile, default, strict, True),
        (MarkedFile, plain, strict, True),
        (MarkedFile, default, StrictManager, True),
        (MarkedFile, strict, strict, False),
        (MarkedFile, strict, similar, False),
        (MarkedFile, strict, default, False),
        (MarkedFile, default, plain, False),
        (ProxyFile, default, strict, True),
        (ProxyFile, default, StrictManager, True),
        (ProxyFile, strict, similar, False),
    ]
    for model, of_parent, of_child, expected in cases:
        with subtests.test(model=model), monkeypatch.context() as patched:
            # A child has the manager of its parent, unless it has one of its own.
            for child in (MarkedFile, ProxyFile):
                set_manager(patched, child, of_parent(), "default_manager")
            set_manager(patched, FileMeta, of_parent(), "default_manager")
            set_manager(patched, model, of_child(), "default_manager")
            found = [
                each
                for each in manager_checks.check_managers()
                if each.id == "devilry_storage.E034"
            ]
            assert [each.obj for each in found] == [model] * expected
            assert all("devilry_deliveries.FileMeta" in str(each.hint) for each in found)


@pytest.mark.parametrize("proxy", [True, False])
def test_visible_to_of_child_of_deliveries_is_an_error(
    monkeypatch: pytest.MonkeyPatch, proxy: bool
) -> None:
    """E034: archives of the parent contain the child's rows."""

    class Strict(DeliveryQuerySet):
        def visible_to(self, user: Any) -> Any:
            return super().visible_to(user).none()

    with isolate_apps("devilry_storage") as isolated:
        meta = type("Meta", (), {"app_label": "devilry_storage", "proxy": proxy})
        objects = Strict.as_manager()
        names = {"__module__": __name__, "Meta": meta, "objects": objects}
        type("Exam", (Delivery,), names)
        monkeypatch.setattr(manager_checks, "apps", isolated)
        message = _only(manager_checks.check_managers())
    assert message.id == "devilry_storage.E034"
    assert "devilry_deliveries.Delivery" in str(message.hint)


def test_field_outside_of_filemeta_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """E023: only AbstractFileMeta.save() stores the content."""
    with isolate_apps("devilry_storage") as isolated:

        class Stray(models.Model):
            content = DeliveryFileField()

            class Meta:
                app_label = "devilry_storage"

        message = _only(_check_isolated(isolated, monkeypatch))
    assert message.id == "devilry_storage.E023"
    assert "AbstractFileMeta" in str(message.hint)


def test_second_and_plain_file_fields_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """E023: the other checks and the commands leave such fields out."""
    declared: list[tuple[str, type[models.Model], dict[str, Any], str]] = [
        ("second field", AbstractFileMeta, {"extra": DeliveryFileField()}, "a model of its own"),
        ("of a child", FileMeta, {"extra": DeliveryFileField()}, "a model of its own"),
        ("other name", models.Model, {"extra": DeliveryFileField()}, "Let the model inherit"),
        ("plain", AbstractFileMeta, {"content": models.FileField()}, "Use devilry_storage.fields"),
    ]
    for name, base, fields, hint in declared:
        with isolate_apps("devilry_storage") as isolated, monkeypatch.context() as patch:
            meta = type("Meta", (), {"app_label": "devilry_storage"})
            of_model = {"__module__": __name__, "Meta": meta, "key_ids": lambda self: (0, self.pk)}
            type("Odd", (base,), {**of_model, **fields})
            message = _only(_check_isolated(isolated, patch))
            assert (message.id, hint in str(message.hint)) == ("devilry_storage.E023", True), name
            assert len(file_models()) == (name == "second field")


def test_impossible_options_of_the_field_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """E032: they would make every upload or deletion fail."""
    options: list[tuple[dict[str, Any], list[str]]] = [
        ({"null": False}, ["null=False"]),
        ({"unique": False}, ["unique=False"]),
        ({"null": False, "unique": False}, ["null=False", "unique=False"]),
        ({"max_length": 50}, ["max_length=50"]),
        ({"max_length": 300}, ["max_length=300"]),
        ({"max_length": None}, ["max_length=None"]),
        ({"default": "a.txt"}, ["default='a.txt'"]),
        ({"default": ContentFile(b"", "a.txt")}, ["default=<ContentFile"]),
        ({"max_length": 80, "db_column": "file", "default": "", "blank": True}, []),
        ({"default": lambda: ContentFile(b"", "a.txt")}, []),
    ]
    if django.VERSION >= (5, 0):
        options.append(({"db_default": "a.txt"}, ["db_default"]))
    for given, expected in options:
        with isolate_apps("devilry_storage") as isolated, monkeypatch.context() as patch:

            class Handin(AbstractFileMeta):
                content = DeliveryFileField(**given)
                delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="+")

                class Meta:
                    app_label = "devilry_storage"

            messages = _check_isolated(isolated, patch)
        assert [message.id for message in messages] == ["devilry_storage.E032"] * len(expected)
        for message, option in zip(messages, expected, strict=True):
            assert option in message.msg


def test_file_as_primary_key_is_an_error() -> None:
    """Django's own check reports it."""
    with isolate_apps("devilry_storage"):

        class Handin(AbstractFileMeta):
            content = DeliveryFileField(primary_key=True)

            class Meta:
                app_label = "devilry_storage"

        assert "fields.E201" in {message.id for message in Handin.check()}


@pytest.mark.skipif(not hasattr(models, "DB_CASCADE"), reason="Django 6.1 has DB_CASCADE first.")
def test_db_cascade_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """W024: no signal is sent and no tombstone is written."""
    with isolate_apps("devilry_storage") as isolated:

        class Handin(AbstractFileMeta):
            delivery = models.ForeignKey(Delivery, models.DB_CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        message = _only(_check_isolated(isolated, monkeypatch))
    assert message.id == "devilry_storage.W024"


# -- Database --


@pytest.mark.django_db(transaction=True)
def test_cascade_in_the_database_is_a_warning() -> None:
    """W024: it is found in the tables, even if no model declares it."""
    with isolate_apps("devilry_storage"):

        class Cascading(AbstractFileMeta):
            delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

    table = Cascading._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE {table} (id integer PRIMARY KEY, delivery_id bigint "
            f"REFERENCES {Delivery._meta.db_table} (id) ON DELETE CASCADE)"
        )
    try:
        message = _only(list(database._cascades(Cascading, "default")))
        assert message.id == "devilry_storage.W024"
        assert list(database._cascades(FileMeta, "default")) == []
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {table}")


@pytest.mark.django_db
def test_changed_interval_is_a_warning(tmp_path: Path) -> None:
    """W025: the setting was lost or changed. The files are still found."""
    group = AssignmentGroup.objects.create(name="group")
    delivery = Delivery(pk=1005, assignment_group=group)
    delivery.save(force_insert=True)
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path), interval=10)):
        filemeta = FileMeta.objects.create(
            delivery=delivery, content=ContentFile(b"bytes", name="a.txt")
        )
        assert filemeta.content.name == f"10/0/1005/{filemeta.pk}"
        assert database.check_databases(databases=["default"]) == []
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path))):
        (message,) = _of(database.check_databases(databases=["default"]))
        assert message.id == "devilry_storage.W025"
        assert filemeta.content.name in message.msg
        with FileMeta.objects.get().content.open() as file:
            assert file.read() == b"bytes"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "name",
    [
        *("0.001/0.0/1000/5", "0/1/1005/5x"),
        *("0/1/1005/017", "00/1/1005/5"),
        *("0/1/1005/٥", "0/1/1005/1٥", "٠/1/1005/5"),
    ],
)
def test_adopted_names_are_not_compared_with_the_interval(tmp_path: Path, name: str) -> None:
    """Names that no layout produces have no messages."""
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path))):
        group = AssignmentGroup.objects.create(name="group")
        delivery = Delivery.begin(group)
        FsHierDeliveryStore(tmp_path).save(name, ContentFile(b"old"))
        FileMeta.objects.adopt(name, delivery=delivery)
        assert database.check_databases(databases=["default"]) == []


def test_without_database_option_no_query_is_made() -> None:
    """``check`` without ``--database`` must not connect."""
    assert database.check_databases(databases=None) == []


def test_sqlite_in_production_is_a_warning() -> None:
    """W026: SQLite allows one writer at a time."""
    found = {message.id for message in model_checks.check_database_engine()}
    assert found == ({"devilry_storage.W026"} if connection.vendor == "sqlite" else set())


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_strict_isolation_level_is_a_warning(level: str) -> None:
    """W028: callers must repeat transactions. PostgreSQL's default has no message."""
    with isolation_level("read committed"):
        assert database.check_databases(databases=["default"]) == []
    with isolation_level(level):
        message = _only(database.check_databases(databases=["default"]))
    assert message.id == "devilry_storage.W028"
    assert level.upper() in message.msg
    assert "isolation_level" in str(message.hint)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_isolation_level_of_the_role_is_a_warning() -> None:
    """W028: the database is queried, not the settings."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_isolation = 'repeatable read'")
    try:
        message = _only(database.check_databases(databases=["default"]))
        assert message.id == "devilry_storage.W028"
    finally:
        connection.close()


# -- Settings --


@pytest.mark.parametrize(
    ("setting", "value", "id_"),
    [
        ("DELIVERY_STORE_BACKEND", 5, "devilry_storage.E040"),
        ("DELIVERY_STORE_ROOT", 5, "devilry_storage.E041"),
        ("DEVILRY_FSHIERDELIVERYSTORE_ROOT", ["/a"], "devilry_storage.E042"),
        ("DEVILRY_FSHIERDELIVERYSTORE_INTERVAL", 1, "devilry_storage.E043"),
        ("DELIVERY_STORE_RETENTION_DAYS", -1, "devilry_storage.E044"),
        ("DELIVERY_STORE_GRACE_HOURS", "day", "devilry_storage.E045"),
        ("DELIVERY_STORE_SERVE", "x-accel", "devilry_storage.E046"),
        ("DELIVERY_STORE_REDIRECT_SECONDS", 0, "devilry_storage.E047"),
        ("DELIVERY_STORE_REDIRECT_MIN_BYTES", -1, "devilry_storage.E048"),
        ("DELIVERY_STORE_INLINE_TYPES", ["text/html"], "devilry_storage.E049"),
        ("DELIVERY_STORE_UPLOAD_MAX_FILES", 0, "devilry_storage.E050"),
        ("DELIVERY_STORE_UPLOAD_MAX_BYTES", 1.5, "devilry_storage.E051"),
        ("DELIVERY_STORE_UPLOAD_MAX_TOTAL_BYTES", "1 GB", "devilry_storage.E052"),
        ("DELIVERY_STORE_ARCHIVE_MAX_FILES", True, "devilry_storage.E053"),
        ("DELIVERY_STORE_ARCHIVE_MAX_BYTES", -1, "devilry_storage.E054"),
        ("DELIVERY_STORE_SITE", "", "devilry_storage.E055"),
    ],
)
def test_invalid_setting_is_an_error(setting: str, value: object, id_: str) -> None:
    """Each setting has its own id."""
    with override_settings(**{setting: value}):
        message = _only(setting_checks.check_settings())
    assert message.id == id_
    assert setting in message.msg
    assert repr(value) in message.msg


# -- Serving --

BACKEND = "django_sendfile.backends.nginx"


def test_checks_of_serving_are_registered() -> None:
    """They use neither network nor disk, so they do not need ``--deploy``."""
    assert serving_checks.check_serving in registry.registered_checks


@pytest.mark.parametrize("way", ["sendfile", "redirect"])
def test_unsupported_way_to_serve_is_an_error(way: str) -> None:
    """E060: the store in memory has neither paths nor URLs."""
    backend = "devilry_storage.testing.MemoryDeliveryStore"
    with override_settings(STORAGES=_stores(backend), DELIVERY_STORE_SERVE={"deliveries": way}):
        message = _only(_of(serving_checks.check_serving()))
    assert message.id == "devilry_storage.E060"
    assert "MemoryDeliveryStore" in message.msg
    assert way in message.msg


def test_redirect_to_disk_is_an_error(tmp_path: Path) -> None:
    """E060: a public URL is not a signed URL."""
    stores = _stores(HIER, location=str(tmp_path), base_url="/public/")
    with override_settings(STORAGES=stores, DELIVERY_STORE_SERVE="redirect"):
        assert _only(_of(serving_checks.check_serving())).id == "devilry_storage.E060"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"SENDFILE_ROOT": "/"}, "SENDFILE_BACKEND"),
        ({"SENDFILE_ROOT": "/", "SENDFILE_BACKEND": ""}, "SENDFILE_BACKEND"),
        ({"SENDFILE_BACKEND": BACKEND}, "outside of SENDFILE_ROOT None"),
        (
            {"SENDFILE_BACKEND": BACKEND, "SENDFILE_ROOT": "/srv"},
            "outside of SENDFILE_ROOT '/srv'",
        ),
    ],
)
def test_unconfigured_sendfile_is_an_error(
    tmp_path: Path, given: dict[str, str], missing: str
) -> None:
    """E061: downloads would fail, or files would not be found."""
    stores = _stores(HIER, location=str(tmp_path))
    with override_settings(STORAGES=stores, DELIVERY_STORE_SERVE="sendfile", **given):
        message = _only(_of(serving_checks.check_serving()))
    assert message.id == "devilry_storage.E061"
    assert missing in message.msg


def test_sendfile_root_beside_the_store_is_an_error(tmp_path: Path) -> None:
    """E061: even if its name begins with the same letters."""
    with override_settings(
        STORAGES=_stores(HIER, location=str(tmp_path / "store-b")),
        DELIVERY_STORE_SERVE="sendfile",
        SENDFILE_BACKEND=BACKEND,
        SENDFILE_ROOT=str(tmp_path / "store"),
    ):
        message = _only(_of(serving_checks.check_serving()))
    assert message.id == "devilry_storage.E061"
    assert "outside of SENDFILE_ROOT" in message.msg


def test_sendfile_needs_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E061: django-sendfile2 is optional."""
    monkeypatch.setattr(serving_checks, "find_spec", lambda name: None)
    stores = _stores(HIER, location=str(tmp_path))
    with override_settings(STORAGES=stores, DELIVERY_STORE_SERVE="sendfile"):
        message = _only(_of(serving_checks.check_serving()))
    assert message.id == "devilry_storage.E061"
    assert "devilry-storage[sendfile]" in str(message.hint)


def test_unknown_alias_is_a_warning(tmp_path: Path) -> None:
    """W062: a typing error would be streamed without notice."""
    stores = _stores(HIER, location=str(tmp_path))
    with override_settings(STORAGES=stores, DELIVERY_STORE_SERVE={"delivery": "sendfile"}):
        message = _only(_of(serving_checks.check_serving()))
    assert message.id == "devilry_storage.W062"
    assert "'delivery'" in message.msg


@pytest.mark.parametrize(
    ("backend", "options", "way"),
    [
        (HIER, {}, "stream"),
        (HIER, {}, "sendfile"),
        ("devilry_storage.storages.S3DeliveryStore", {"bucket_name": "b"}, "redirect"),
        ("devilry_storage.storages.S3DeliveryStore", {"bucket_name": "b"}, "stream"),
    ],
)
def test_supported_way_to_serve_has_no_messages(
    tmp_path: Path, backend: str, options: dict[str, Any], way: str
) -> None:
    """An invalid setting is reported by another check."""
    options = options or {"location": str(tmp_path)}
    with override_settings(
        STORAGES=_stores(backend, **options),
        DELIVERY_STORE_SERVE={"deliveries": way},
        SENDFILE_BACKEND=BACKEND,
        SENDFILE_ROOT=tmp_path,
    ):
        assert _of(serving_checks.check_serving()) == []
    with override_settings(DELIVERY_STORE_SERVE="pigeon"):
        assert serving_checks.check_serving() == []


@pytest.mark.parametrize("vendor", ["mysql", "oracle", "microsoft"])
def test_unsupported_database_stops_check_and_migrate(
    vendor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any
) -> None:
    """E030: before a table is created."""
    wrapper = type("DatabaseWrapper", (SQLiteWrapper,), {"vendor": vendor})
    monkeypatch.setitem(sys.modules, "stub.base", SimpleNamespace(DatabaseWrapper=wrapper))
    stub = {**connections.databases["default"], "ENGINE": "stub", "NAME": tmp_path / "db"}
    monkeypatch.setitem(connections.databases, "stub", stub)
    routed = {"db_for_write": lambda *args, **hints: "stub"}
    elsewhere = {"allow_migrate": lambda db, *args, **hints: db != "stub"}

    def run(command: str, *args: str, **router: Any) -> str:
        with override_settings(DATABASE_ROUTERS=[SimpleNamespace(**router)] if router else []):
            try:
                parsed = {"skip_checks": False} if command == "migrate" else {}
                call_command(command, *args, **parsed, verbosity=0, stderr=StringIO())
            except SystemCheckError as error:
                return str(error)
        return ""

    found = f"E030) Deliveries cannot be recorded in the database 'stub' ({vendor})"
    with django_db_blocker.unblock():
        assert found in run("migrate", "--database", "stub")
        assert found in run("migrate", "--database", "stub", **routed)
        assert connections["stub"].introspection.table_names() == []
        assert found in run("check", **routed)
        assert run("check") == run("check", "--database", "stub", **elsewhere) == ""
        connections.close_all()
        del connections["stub"]
