"""Each system check: what sets it off, what it says, and what silences it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core import checks
from django.core.checks import CheckMessage
from django.core.checks.registry import registry
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import connection, models
from django.test.utils import isolate_apps, override_settings

from devilry_storage.checks import database, ids
from devilry_storage.checks import models as model_checks
from devilry_storage.checks import serving as serving_checks
from devilry_storage.checks import settings as setting_checks
from devilry_storage.checks import stores as store_checks
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.fields import DeliveryFileField
from devilry_storage.models import AbstractDelivery, AbstractFileMeta
from devilry_storage.storages import (
    DeliveryStoreMixin,
    FsDeliveryStore,
    FsHierDeliveryStore,
    MemoryDeliveryStore,
    S3DeliveryStore,
)
from devilry_storage.storages.protocols import FLAGS

from ..slow.database_racing import isolation_level

HIER = "devilry_storage.storages.FsHierDeliveryStore"
FILESYSTEM = {"BACKEND": "django.core.files.storage.FileSystemStorage"}


class FiveMethods:
    """An own store as the original's page describes it."""

    def read_open(self, filemeta: object) -> None: ...
    def write_open(self, filemeta: object) -> None: ...
    def remove(self, filemeta: object) -> None: ...
    def exists(self, filemeta: object) -> None: ...
    def copy(self, source: object, target: object) -> None: ...


class Unflagged(DeliveryStoreMixin, FileSystemStorage):
    """A store that does not say what it can do."""


class Promising(MemoryDeliveryStore):
    """A store that promises everything."""

    durable = bounded_memory = True


def _stores(backend: str, **options: Any) -> dict[str, Any]:
    return {"default": FILESYSTEM, "deliveries": {"BACKEND": backend, "OPTIONS": options}}


def _of(messages: list[CheckMessage], model: Any = FileMeta) -> list[CheckMessage]:
    return [message for message in messages if message.obj in {model, None}]


def _only(messages: list[CheckMessage]) -> CheckMessage:
    assert len(messages) == 1, messages
    (message,) = messages
    assert message.hint, "every check tells a remedy"
    return message


def test_every_id_is_used_for_one_check_alone() -> None:
    """No two checks share an id, and every id has our prefix."""
    all_ids = [value for name, value in vars(ids).items() if name.isupper() and name[0] != "_"]
    assert len(all_ids) == len(set(all_ids))
    assert all(value.startswith("devilry_storage.") for value in all_ids)


def test_the_checks_are_registered() -> None:
    """Those that query a database carry Tags.database, those for production only run there."""
    assert store_checks.check_stores in registry.registered_checks
    assert model_checks.check_models in registry.registered_checks
    assert setting_checks.check_settings in registry.registered_checks
    assert checks.Tags.database in database.check_databases.tags
    assert store_checks.check_stores_deployed in registry.deployment_checks
    assert model_checks.check_database_engine in registry.deployment_checks


def test_a_sound_configuration_has_no_messages(tmp_path: Path) -> None:
    """A store of its own outside of MEDIA_ROOT gives no warning at all."""
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path))):
        assert _of(store_checks.check_stores()) == []
        assert setting_checks.check_settings() == []
    assert _of(model_checks.check_models()) == []


# -- Stores --


@override_settings(STORAGES={"default": FILESYSTEM})
def test_no_store_is_an_error_that_shows_the_lines_to_add() -> None:
    """E001: nothing says where the files go."""
    message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.E001"
    assert "STORAGES" in str(message.hint)
    assert HIER in str(message.hint)


@override_settings(STORAGES=_stores(FILESYSTEM["BACKEND"]))
def test_a_storage_without_the_mixin_is_an_error() -> None:
    """E002: a Storage that is no delivery store."""
    message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.E002"
    assert "FileSystemStorage" in message.msg
    assert "DeliveryStoreMixin" in str(message.hint)


@override_settings(
    STORAGES={"default": FILESYSTEM}, DELIVERY_STORE_BACKEND=f"{__name__}.FiveMethods"
)
def test_a_class_with_only_the_five_methods_is_an_error_that_tells_what_is_missing() -> None:
    """E002: an own store of the original's kind."""
    message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.E002"
    assert "FiveMethods" in message.msg
    assert "read_open" in str(message.hint)


@override_settings(STORAGES={"default": FILESYSTEM}, DELIVERY_STORE_BACKEND="no.such.Store")
def test_a_backend_that_cannot_be_imported_is_an_error() -> None:
    """E002: a path that leads nowhere, quoted."""
    message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.E002"
    assert "'no.such.Store'" in message.msg


@override_settings(STORAGES=_stores(HIER, colour="red"))
def test_an_unknown_option_is_an_error_that_names_it() -> None:
    """E002: an option that the store does not have."""
    message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.E002"
    assert "'colour'" in message.msg


@pytest.mark.parametrize("name", ["FsDeliveryStore", "FsHierDeliveryStore"])
def test_an_old_path_is_an_error_whose_hint_gives_the_new_one(name: str) -> None:
    """E003: a setting that was carried over from Devilry."""
    old = f"devilry.apps.core.deliverystore.{name}"
    with override_settings(STORAGES={"default": FILESYSTEM}, DELIVERY_STORE_BACKEND=old):
        message = _only(store_checks.check_stores())
    assert message.id == "devilry_storage.E003"
    assert old in message.msg
    assert f"devilry_storage.storages.{name}" in str(message.hint)


@override_settings(STORAGES=_stores("devilry.apps.core.deliverystore.DjangoStore"))
def test_an_old_path_in_storages_is_found_too() -> None:
    """E003: wherever the path stands; an unknown store is advised the recommended one."""
    message = _only(store_checks.check_stores())
    assert message.id == "devilry_storage.E003"
    assert HIER in str(message.hint)


@pytest.mark.parametrize("below", ["", "deliveries"])
def test_files_under_a_public_media_url_are_a_warning_and_an_error_in_production(
    tmp_path: Path, below: str
) -> None:
    """W004 and E004: the location is MEDIA_ROOT or below."""
    with override_settings(
        MEDIA_ROOT=str(tmp_path), STORAGES=_stores(HIER, location=str(tmp_path / below))
    ):
        assert _only(_of(store_checks.check_stores())).id == "devilry_storage.W004"
        found = {message.id for message in _of(store_checks.check_stores_deployed())}
    assert "devilry_storage.E004" in found


def test_a_location_that_is_a_symlink_into_media_root_is_public(tmp_path: Path) -> None:
    """W004: what counts is where the files really lie."""
    (tmp_path / "media").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "media")
    with override_settings(
        MEDIA_ROOT=str(tmp_path / "media"),
        STORAGES=_stores(HIER, location=str(tmp_path / "link")),
    ):
        assert _only(_of(store_checks.check_stores())).id == "devilry_storage.W004"


def test_a_neighbour_of_media_root_is_not_public(tmp_path: Path) -> None:
    """No warning for a folder that merely begins with the same letters."""
    with override_settings(
        MEDIA_ROOT=str(tmp_path / "media"),
        STORAGES=_stores(HIER, location=str(tmp_path / "media-deliveries")),
    ):
        assert _of(store_checks.check_stores()) == []


def test_a_root_in_which_no_file_can_be_made_is_an_error(tmp_path: Path) -> None:
    """E005: a file lies where the root should be."""
    (tmp_path / "file").write_text("")
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path / "file" / "root"))):
        message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.E005"
    assert str(tmp_path / "file") in message.msg


@pytest.mark.parametrize("missing", [os.W_OK, os.X_OK], ids=["write", "enter"])
def test_a_root_without_permission_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    """E005: as root every folder is writable, so the answer of access(2) is replaced."""
    monkeypatch.setattr("os.access", lambda path, mode: not mode & missing)
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path))):
        assert _only(_of(store_checks.check_stores())).id == "devilry_storage.E005"


@pytest.mark.parametrize("closed", [".devilry-storage", ".devilry-storage/tmp"])
def test_folder_of_temp_files_without_permission_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    """E005: another user of the site made it, for itself alone."""
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
    """W012: it is not tightened, because several users may share it."""
    (tmp_path / ".devilry-storage").mkdir(mode=0o700)
    (tmp_path / ".devilry-storage/tmp").mkdir(mode=0o700)
    (tmp_path / folder).chmod(mode)
    modes = {"file_permissions_mode": 0o640, "directory_permissions_mode": 0o750}
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path), **modes)):
        message = _only(_of(store_checks.check_stores_deployed()))
    assert message.id == "devilry_storage.W012"
    assert f"{str(tmp_path / folder)!r} has mode {mode:#o}" in message.msg
    assert f"chmod 700 {tmp_path / folder}" in str(message.hint)


def test_modes_that_let_everybody_read_are_a_warning_in_production(tmp_path: Path) -> None:
    """W006: Django's 0644, and folders left to the umask."""
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path))):
        message = _only(_of(store_checks.check_stores_deployed()))
    assert message.id == "devilry_storage.W006"
    assert "0o644" in message.msg
    assert "0o640" in str(message.hint)


@pytest.mark.parametrize("option", ["file_permissions_mode", "directory_permissions_mode"])
@pytest.mark.parametrize("mode", [0o641, 0o642, 0o644, 0o751])
def test_any_permission_of_others_is_a_warning(tmp_path: Path, option: str, mode: int) -> None:
    """W006: to read, to write or to enter."""
    modes = {"file_permissions_mode": 0o640, "directory_permissions_mode": 0o750, option: mode}
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path), **modes)):
        message = _only(_of(store_checks.check_stores_deployed()))
    assert message.id == "devilry_storage.W006"
    assert f"{option} {mode:#o}." in message.msg


def test_folders_left_to_the_umask_are_a_warning(tmp_path: Path) -> None:
    """W006: it may be 022."""
    stores = _stores(HIER, location=str(tmp_path), file_permissions_mode=0o640)
    with override_settings(STORAGES=stores):
        message = _only(_of(store_checks.check_stores_deployed()))
    assert message.id == "devilry_storage.W006"
    assert "directory_permissions_mode not set" in message.msg


def test_location_that_is_not_made_yet_has_no_messages(tmp_path: Path) -> None:
    """The first save makes it, in a folder where it may."""
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path / "a/b"))):
        assert _of(store_checks.check_stores()) == []


@pytest.mark.parametrize("said", [False, None])
@pytest.mark.parametrize("flag", ["atomic_create", "whole_or_absent", "durable"])
def test_each_promise_that_a_store_lacks_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, flag: str, said: bool | None
) -> None:
    """W011: one for each; a flag that is not set counts as False."""
    monkeypatch.setattr(Promising, flag, said)
    with override_settings(STORAGES=_stores(f"{__name__}.Promising")):
        message = _only(_of(store_checks.check_stores_deployed()))
        undecided = _of(store_checks.check_stores())
    assert message.id == "devilry_storage.W011"
    assert f"does not promise {flag}: " in message.msg
    assert [message.id for message in undecided] == ["devilry_storage.W007"] * (said is None)


def test_recommended_modes_are_no_warning(tmp_path: Path) -> None:
    """0640 and 0750 keep other users out."""
    modes = {"file_permissions_mode": 0o640, "directory_permissions_mode": 0o750}
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path), **modes)):
        assert _of(store_checks.check_stores_deployed()) == []


def test_flags_that_a_store_leaves_out_are_a_warning(tmp_path: Path) -> None:
    """W007: the conformance suite would demand everything."""
    backend = f"{__name__}.Unflagged"
    with override_settings(STORAGES=_stores(backend, location=str(tmp_path))):
        message = _only(_of(store_checks.check_stores()))
    assert message.id == "devilry_storage.W007"
    assert "atomic_create" in message.msg
    assert "atomic_copy" in message.msg


@pytest.mark.parametrize(
    "store", [FsDeliveryStore, FsHierDeliveryStore, MemoryDeliveryStore, S3DeliveryStore]
)
def test_our_own_stores_leave_out_no_flag(store: type[DeliveryStoreMixin]) -> None:
    """Each says True or False of each."""
    assert all(isinstance(getattr(store, flag), bool) for flag in FLAGS)


def test_windows_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E008: no openat(), no link()."""
    monkeypatch.setattr("sys.platform", "win32")
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path))):
        assert _only(_of(store_checks.check_stores())).id == "devilry_storage.E008"


# -- Models --


def _checked(isolated: Any, monkeypatch: pytest.MonkeyPatch) -> list[CheckMessage]:
    """Return what the checks say of the models of an isolated registry."""
    monkeypatch.setattr(apps, "get_models", isolated.get_models)
    return model_checks.check_models()


def test_a_uuid_as_primary_key_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """E020: keys are made of integers."""
    with isolate_apps("devilry_storage") as isolated:

        class Handin(AbstractFileMeta):
            id = models.UUIDField(primary_key=True, default=uuid.uuid4)
            delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        message = _only(_checked(isolated, monkeypatch))
    assert message.id == "devilry_storage.E020"
    assert "UUIDField" in message.msg
    assert "key_ids()" in str(message.hint)


def test_a_delivery_with_a_uuid_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """E020: the delivery's id is half of the key."""
    with isolate_apps("devilry_storage") as isolated:

        class Course(models.Model):
            id = models.UUIDField(primary_key=True, default=uuid.uuid4)

            class Meta:
                app_label = "devilry_storage"

        class Handin(AbstractFileMeta):
            delivery = models.ForeignKey(Course, models.CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        message = _only(_checked(isolated, monkeypatch))
    assert message.id == "devilry_storage.E020"
    assert "Course.id" in message.msg


def test_a_model_without_a_delivery_is_an_error_unless_it_has_key_ids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """E020: nothing to make keys of; key_ids() is the remedy."""
    with isolate_apps("devilry_storage") as isolated:

        class Handin(AbstractFileMeta):
            class Meta:
                app_label = "devilry_storage"

        message = _only(_checked(isolated, monkeypatch))
        assert message.id == "devilry_storage.E020"
        monkeypatch.setattr(Handin, "key_ids", lambda self: (0, self.pk))
        assert _checked(isolated, monkeypatch) == []


def test_two_models_in_one_store_are_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """E021: the ids of either would make the same keys."""
    with isolate_apps("devilry_storage") as isolated:

        class One(AbstractFileMeta):
            delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        class Two(AbstractFileMeta):
            delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        message = _only(_checked(isolated, monkeypatch))
        assert message.id == "devilry_storage.E021"
        assert "devilry_storage.One" in message.msg
        assert "devilry_storage.Two" in message.msg
        monkeypatch.setattr(Two, "deliverystore", FsHierDeliveryStore(tmp_path))
        assert _checked(isolated, monkeypatch) == []


def test_two_stores_at_one_location_are_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """E021: it is the place that counts."""
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

        assert _only(_checked(isolated, monkeypatch)).id == "devilry_storage.E021"


@pytest.mark.parametrize("kind", ["proxy", "child"])
def test_a_store_set_on_a_proxy_or_child_is_an_error(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """E022: nobody looks there."""
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

        message = _only(_checked(isolated, monkeypatch))
    assert message.id == "devilry_storage.E022"
    assert "devilry_storage.Handin" in str(message.hint)


@pytest.mark.parametrize("other", ["store/inner", "link"])
def test_a_store_in_the_folder_of_another_is_the_same_place(
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

        assert _only(_checked(isolated, monkeypatch)).id == "devilry_storage.E021"


@pytest.mark.parametrize("models_of_files", [0, 2])
def test_a_delivery_without_one_model_of_files_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, models_of_files: int
) -> None:
    """E027: add_file() would not know what to make."""
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
        message = _only(_checked(isolated, monkeypatch))
    assert message.id == "devilry_storage.E027"
    assert ("found: none" in message.msg) == (models_of_files == 0)
    assert "filemeta_model()" in str(message.hint)


def test_the_field_in_another_model_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """E023: only AbstractFileMeta.save() stores what is assigned."""
    with isolate_apps("devilry_storage") as isolated:

        class Stray(models.Model):
            content = DeliveryFileField()

            class Meta:
                app_label = "devilry_storage"

        message = _only(_checked(isolated, monkeypatch))
    assert message.id == "devilry_storage.E023"
    assert "AbstractFileMeta" in str(message.hint)


@pytest.mark.skipif(not hasattr(models, "DB_CASCADE"), reason="Django 6.1 has DB_CASCADE first.")
def test_a_cascade_that_the_database_carries_out_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """W024: no signal, no tombstone."""
    with isolate_apps("devilry_storage") as isolated:

        class Handin(AbstractFileMeta):
            delivery = models.ForeignKey(Delivery, models.DB_CASCADE, related_name="+")

            class Meta:
                app_label = "devilry_storage"

        message = _only(_checked(isolated, monkeypatch))
    assert message.id == "devilry_storage.W024"


# -- What the database tells --


@pytest.mark.django_db(transaction=True)
def test_a_cascade_in_the_tables_is_a_warning() -> None:
    """W024: whoever wrote it into the database."""
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
def test_an_interval_other_than_that_of_the_stored_keys_is_a_warning(tmp_path: Path) -> None:
    """W025: the setting was lost or changed; the files are still found."""
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
def test_adopted_names_say_nothing_of_the_interval(tmp_path: Path, name: str) -> None:
    """No warning for names that no layout made."""
    with override_settings(STORAGES=_stores(HIER, location=str(tmp_path))):
        group = AssignmentGroup.objects.create(name="group")
        delivery = Delivery.begin(group)
        FsHierDeliveryStore(tmp_path).save(name, ContentFile(b"old"))
        FileMeta.objects.adopt(name, delivery=delivery)
        assert database.check_databases(databases=["default"]) == []


def test_without_a_database_nothing_is_asked() -> None:
    """`check` without --database must not connect."""
    assert database.check_databases(databases=None) == []


def test_sqlite_in_production_is_a_warning() -> None:
    """W026: one writer at a time."""
    found = {message.id for message in model_checks.check_database_engine()}
    assert found == ({"devilry_storage.W026"} if connection.vendor == "sqlite" else set())


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_strict_isolation_level_is_a_warning(level: str) -> None:
    """W028: callers have to try again. PostgreSQL's default gives no message."""
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
    """W028: the database is asked, not the settings."""
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
def test_an_impossible_setting_is_an_error_that_names_it(
    setting: str, value: object, id_: str
) -> None:
    """Each setting has a check of its own."""
    with override_settings(**{setting: value}):
        message = _only(setting_checks.check_settings())
    assert message.id == id_
    assert setting in message.msg
    assert repr(value) in message.msg


# -- Serving --

BACKEND = "django_sendfile.backends.nginx"


def test_the_checks_of_serving_are_registered() -> None:
    """They touch no server and no disk: no need of ``--deploy``."""
    assert serving_checks.check_serving in registry.registered_checks


@pytest.mark.parametrize("way", ["sendfile", "redirect"])
def test_a_way_that_a_store_does_not_have_is_an_error(way: str) -> None:
    """E060: memory has neither paths nor URLs."""
    backend = "devilry_storage.storages.MemoryDeliveryStore"
    with override_settings(STORAGES=_stores(backend), DELIVERY_STORE_SERVE={"deliveries": way}):
        message = _only(_of(serving_checks.check_serving()))
    assert message.id == "devilry_storage.E060"
    assert "MemoryDeliveryStore" in message.msg
    assert way in message.msg


def test_a_disk_is_not_redirected_to(tmp_path: Path) -> None:
    """E060: what anybody can read at a URL is not what this is about."""
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
def test_sendfile_that_is_not_set_up_is_an_error(
    tmp_path: Path, given: dict[str, str], missing: str
) -> None:
    """E061: it would answer that there is no such file, or fail."""
    stores = _stores(HIER, location=str(tmp_path))
    with override_settings(STORAGES=stores, DELIVERY_STORE_SERVE="sendfile", **given):
        message = _only(_of(serving_checks.check_serving()))
    assert message.id == "devilry_storage.E061"
    assert missing in message.msg


def test_sendfile_root_beside_the_store_is_an_error(tmp_path: Path) -> None:
    """E061: a folder that merely begins with the same letters is another one."""
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
    """E061: the package itself does without."""
    monkeypatch.setattr(serving_checks, "find_spec", lambda name: None)
    stores = _stores(HIER, location=str(tmp_path))
    with override_settings(STORAGES=stores, DELIVERY_STORE_SERVE="sendfile"):
        message = _only(_of(serving_checks.check_serving()))
    assert message.id == "devilry_storage.E061"
    assert "devilry-storage[sendfile]" in str(message.hint)


def test_an_alias_that_is_not_in_storages_is_a_warning(tmp_path: Path) -> None:
    """W062: a slip of the pen would be streamed in silence."""
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
def test_a_store_that_serves_as_the_settings_say_has_no_messages(
    tmp_path: Path, backend: str, options: dict[str, Any], way: str
) -> None:
    """The ways that fit; a wrong setting is another check's business."""
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
