"""Which store a model uses: the order, and the ways to say it; the original page's example."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import models
from django.test import TestCase, override_settings
from django.test.utils import isolate_apps

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.fields import DeliveryFileField
from devilry_storage.models import AbstractFileMeta, Tombstone
from devilry_storage.resolving import NoStore, WrongStore, resolve, store_for
from devilry_storage.storages import FsDeliveryStore, FsHierDeliveryStore, MemoryDeliveryStore
from devilry_storage.testing import override_deliverystore
from tests.harness.users import make_user
from tests.testapp.models import MarkedFile, Note, ProxyFile
from tests.testapp.pictures import stored
from tests.testapp.stores import Source, notes_store

MEMORY = {"BACKEND": "devilry_storage.storages.MemoryDeliveryStore"}
DJANGOS = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
STATIC = settings.STORAGES["staticfiles"]


def configured(**given: Any) -> Any:
    return override_settings(STORAGES={"default": DJANGOS, "staticfiles": STATIC, **given})


# -- The order --


@isolate_apps("tests.testapp")
def test_the_order() -> None:
    """Class attribute, field, "deliveries", DELIVERY_STORE_BACKEND, default storage; else none."""
    of_field = MemoryDeliveryStore()

    class Own(AbstractFileMeta):
        content = DeliveryFileField(storage=of_field)

        class Meta:
            app_label = "testapp"

    class Plain(AbstractFileMeta):
        class Meta:
            app_label = "testapp"

    backend = override_settings(DELIVERY_STORE_BACKEND="devilry_storage.storages.FsDeliveryStore")
    with backend, configured(default=MEMORY, deliveries=MEMORY, other=MEMORY):
        Own.deliverystore = of_class = MemoryDeliveryStore()
        assert resolve(Own) == (of_class, "")
        Own.deliverystore = "other"
        assert resolve(Own) == (storages["other"], "other")
        Own.deliverystore = None
        assert resolve(Own) == (of_field, "")
        assert resolve(Plain) == (storages["deliveries"], "deliveries")
    with backend, configured(default=MEMORY):
        assert isinstance(store_for(Plain), FsDeliveryStore)
        assert store_for(Plain) is store_for(Plain)
        assert resolve(Plain).alias == ""
    with configured(default=MEMORY):
        assert resolve(Plain) == (storages["default"], "default")
    with (
        configured(),
        pytest.raises(NoStore, match=r"testapp\.Plain\.content.*Add this") as caught,
    ):
        store_for(Plain)
    assert isinstance(caught.value, ImproperlyConfigured)
    assert '"deliveries": {' in str(caught.value)


@isolate_apps("tests.testapp")
def test_a_field_takes_a_store_an_alias_or_a_callable() -> None:
    """Resolved at each use, so that settings may change and nothing is made at import."""
    made: list[MemoryDeliveryStore] = []

    def make() -> MemoryDeliveryStore:
        made.append(MemoryDeliveryStore())
        return made[-1]

    class ByAlias(AbstractFileMeta):
        content = DeliveryFileField(storage="handins")

        class Meta:
            app_label = "testapp"

    class ByCallable(AbstractFileMeta):
        content = DeliveryFileField(storage=make)

        class Meta:
            app_label = "testapp"

    assert made == []
    assert store_for(ByCallable) is made[-1]
    with configured(handins=MEMORY):
        assert store_for(ByAlias) is storages["handins"]
    with configured(handins={"BACKEND": "devilry_storage.storages.FsDeliveryStore"}):
        assert isinstance(store_for(ByAlias), FsDeliveryStore)
    for model in (ByAlias, ByCallable):
        field: Any = model._meta.get_field("content")
        assert "storage" not in field.deconstruct()[3]
        assert "storage" not in field.clone().deconstruct()[3]


@pytest.mark.parametrize("way", ["alias", "attribute", "backend"])
def test_what_is_no_delivery_store_is_refused(way: str, monkeypatch: Any) -> None:
    """The error says what it is, where it comes from, and what a delivery store is."""
    path = "django.core.files.storage.InMemoryStorage"
    with configured(**({"deliveries": DJANGOS} if way == "alias" else {})):
        if way == "attribute":
            monkeypatch.setattr(FileMeta, "deliverystore", "default")
        backend = path if way == "backend" else None
        given = override_settings(DELIVERY_STORE_BACKEND=backend)
        with given, pytest.raises(WrongStore, match="InMemoryStorage', which is not a delivery"):
            store_for(FileMeta)


def test_a_backend_that_cannot_be_imported() -> None:
    """The error names the setting, the path, and one that works."""
    path = "devilry.apps.core.deliverystore.FsDeliveryStore"
    given = override_settings(DELIVERY_STORE_BACKEND=path)
    error = pytest.raises(WrongStore, match=rf"DELIVERY_STORE_BACKEND '{path}' cannot be imp")
    with configured(), given, error:
        store_for(FileMeta)


def test_proxy_and_child_use_the_store_of_their_parent(monkeypatch: Any) -> None:
    """The model that declares the field has the say."""
    monkeypatch.setattr(FileMeta, "deliverystore", MemoryDeliveryStore())
    monkeypatch.setattr(ProxyFile, "deliverystore", MemoryDeliveryStore())
    monkeypatch.setattr(MarkedFile, "deliverystore", MemoryDeliveryStore())
    assert store_for(ProxyFile) is store_for(MarkedFile) is store_for(FileMeta)
    assert store_for(FileMeta) is FileMeta.deliverystore


@pytest.mark.django_db
def test_a_model_with_a_store_of_its_own() -> None:
    """A callable given to the field: the notes lie apart from the deliveries' files."""
    assert store_for(Note) is notes_store()
    note = Note.objects.create(filename="a.txt", content=Source(b"note"))
    name = note.content.name
    assert b"".join(notes_store().stream(name)) == b"note"
    assert not storages["deliveries"].exists(name)
    note.delete()
    assert Tombstone.objects.get().alias == "testapp.note"


# -- Settings --


def test_override_settings_reaches_the_store() -> None:
    """Each setting is read at each use."""
    with override_settings(DEVILRY_FSHIERDELIVERYSTORE_INTERVAL=10):
        assert store_for(FileMeta).layout.key(210, 5) == "2/1/210/5"
    assert store_for(FileMeta).layout.key(210, 5) == "0/0/210/5"


@pytest.mark.parametrize("store", [FsDeliveryStore, FsHierDeliveryStore])
def test_the_original_settings(store: Any, tmp_path: Path) -> None:
    """DELIVERY_STORE_BACKEND and DELIVERY_STORE_ROOT, as on the original's page."""
    path = f"devilry_storage.storages.{store.__name__}"
    for folder in (tmp_path / "one", str(tmp_path / "two")):
        given = override_settings(DELIVERY_STORE_BACKEND=path, DELIVERY_STORE_ROOT=folder)
        with configured(), given:
            assert type(store_for(FileMeta)) is store
            store_for(FileMeta).save("a.txt", ContentFile(b"a"))
            assert Path(folder, "a.txt").read_bytes() == b"a"


@pytest.mark.usefixtures("without_downloads")
@pytest.mark.django_db
def test_the_default_storage_serves_ordinary_names_too(tmp_path: Path) -> None:
    """As the default storage a delivery store is also Django's storage, with a URL."""
    backend = {"BACKEND": "devilry_storage.storages.FsHierDeliveryStore"}
    with configured(default=backend), override_settings(MEDIA_ROOT=tmp_path, MEDIA_URL="/m/"):
        delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
        row = delivery.add_file("a.txt", b"a")
        name = storages["default"].save("avatars/me.png", ContentFile(b"png"))
        assert storages["default"].url(name) == "/m/avatars/me.png"
        assert (tmp_path / row.content.name).read_bytes() == b"a"
        assert row.content.url == f"/m/{row.content.name}"


@pytest.mark.skipif(django.VERSION >= (5, 1), reason="the setting is gone")
def test_the_default_storage_by_the_old_setting(tmp_path: Path) -> None:
    """Django 4.2 without STORAGES: DEFAULT_FILE_STORAGE names the store."""
    script = """
        import django
        from django.conf import settings

        settings.configure(
            DEFAULT_FILE_STORAGE="devilry_storage.storages.FsHierDeliveryStore",
            MEDIA_ROOT="{folder}",
            DATABASES={{
                "default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
            }},
            INSTALLED_APPS=[
                "django.contrib.auth",
                "django.contrib.contenttypes",
                "devilry_storage",
                "devilry_storage.deliveries",
            ],
            USE_TZ=True,
        )
        django.setup()

        from django.core.management import call_command
        from devilry_storage.deliveries.models import AssignmentGroup, Delivery
        from devilry_storage.store import resolve

        call_command("migrate", verbosity=0)
        delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
        row = delivery.add_file("a.txt", b"data")
        delivery.finish()
        print(resolve(row).alias, type(row.content.storage).__name__, row.content.path)
    """
    script = dedent(script).format(folder=tmp_path)
    ignored = "ignore:The DEFAULT_FILE_STORAGE setting is deprecated"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-W", ignored, "-c", script],
        cwd=Path(__file__).parents[2],
        env={key: value for key, value in os.environ.items() if not key.startswith("DJANGO")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"default FsHierDeliveryStore {tmp_path}/0/0/1/1\n"


# -- In tests --


@pytest.mark.django_db
def test_the_class_attribute_in_a_test() -> None:
    """override_deliverystore() gives a model a store, and takes it back."""
    before = store_for(FileMeta)
    with override_deliverystore() as store:
        assert store_for(FileMeta) is store
        delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
        row = delivery.add_file("a.txt", b"a")
        assert isinstance(store, MemoryDeliveryStore)
        assert stored(store) == {row.content.name: b"a"}
    assert store_for(FileMeta) is before


# The original's page (devilry.apps.core.deliverystore), only its import paths changed.
EXAMPLE = """
    from django.test import TestCase
    from devilry_storage.deliveries.models import FileMeta, Delivery
    from devilry_storage.storages import MemoryDeliveryStore

    class MyTest(TestCase):
        def test_something(self):
            FileMeta.deliverystore = MemoryDeliveryStore()
            delivery = Delivery.begin(assignmentgroup, user)
            delivery.add_file('hello.txt', ['hello', 'world'])
            delivery.finish()
"""


@pytest.mark.django_db
def test_the_example_of_the_original_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """It works here as it is written there; its text is stored as it says."""
    monkeypatch.setattr(FileMeta, "deliverystore", None)  # takes back what the example sets
    user = make_user("user")
    group = AssignmentGroup.objects.create(name="assignmentgroup")
    names: dict[str, Any] = {"assignmentgroup": group, "user": user, "__name__": __name__}
    exec(dedent(EXAMPLE), names)
    example = names["MyTest"]("test_something")
    assert isinstance(example, TestCase)
    example.test_something()  # type: ignore[attr-defined]
    delivery = Delivery.objects.get()
    assert (delivery.successful, delivery.number, delivery.delivered_by) == (True, 1, user)
    row = delivery.files.get()
    assert (row.filename, row.content.read()) == ("hello.txt", b"helloworld")
    assert stored(FileMeta.deliverystore) == {row.content.name: b"helloworld"}


# -- The shape of a model --


@isolate_apps("tests.testapp")
def test_a_model_needs_a_delivery_or_key_ids() -> None:
    """The layout's integers come from somewhere: without either it is an error that says so."""

    class Loose(AbstractFileMeta):
        class Meta:
            app_label = "testapp"

    with pytest.raises(AttributeError, match="delivery_id"):
        Loose(pk=1).key_ids()


@isolate_apps("tests.testapp")
def test_a_field_of_another_name_is_a_field_of_django() -> None:
    """null, unique, 255 characters; what the model says more, counts."""

    class Short(AbstractFileMeta):
        content = DeliveryFileField("file", max_length=100)

        class Meta:
            app_label = "testapp"

    field: Any = Short._meta.get_field("content")
    assert isinstance(field, models.FileField)
    assert (field.null, field.unique, field.blank, field.max_length) == (True, True, False, 100)
    assert field.verbose_name == "file"
    assert field.check() == []
