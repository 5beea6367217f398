"""Historical models, which Django makes for the operations of migrations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.core.files.base import ContentFile
from django.db import transaction
from django.db.migrations.state import ProjectState

from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.exceptions import HistoricalModel
from devilry_storage.fields import DeliveryFileField, StoredName
from devilry_storage.resolving import NoStore
from tests.testapp.models import MarkedFile, Note, ProxyFile
from tests.testapp.pictures import picture
from tests.testapp.stores import OLD_BYTES, FailingStore

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db

FILEMETA = ("devilry_deliveries", "filemeta")


@pytest.fixture
def state(store: FailingStore) -> ProjectState:
    """Return the state of the models of today."""
    return ProjectState.from_apps(apps)


def upload() -> ContentFile[bytes]:
    return ContentFile(b"upload", "upload.txt")


# -- The store --


@pytest.mark.parametrize("alias", [None, "handins"])
def test_historical_model_reads_from_the_store_of_its_model(
    alias: str | None, row: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The migration has the alias, if the model names one."""
    monkeypatch.setattr(FileMeta._meta.get_field("content"), "given_storage", alias)
    state = ProjectState.from_apps(apps)
    field: Any = state.models[FILEMETA].fields["content"]
    assert field.deconstruct()[3].get("storage") == alias
    content = state.apps.get_model(*FILEMETA).objects.get().content
    assert (content.open().read(), content.size) == (OLD_BYTES, len(OLD_BYTES))
    content.close()


def test_historical_model_does_not_guess_its_store(
    row: Any, state: ProjectState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it could read the files of another model, which have the same keys."""
    field: Any = FileMeta._meta.get_field("content")

    def refuses(label: str, name: str = FILEMETA[1], app: str = FILEMETA[0]) -> None:
        model: Any = state.apps.get_model(app, name)
        content = model(content=StoredName(row.content.name)).content
        for read in (content.open, lambda: content.size, lambda: content.path):
            with pytest.raises(NoStore, match=rf"{label} is not certain.*storages\["):
                read()

    refuses("testapp.Note", "note", "testapp")  # its storage is a function
    with monkeypatch.context() as patch:
        patch.setattr(field, "given_storage", "deliveries")
        refuses("devilry_deliveries.FileMeta")
    state.alter_field(*FILEMETA, "content", DeliveryFileField(storage="old"), True)
    refuses("devilry_deliveries.FileMeta")
    state.alter_field(*FILEMETA, "content", DeliveryFileField(), True)
    for below in ("markedfile", "proxyfile"):
        state.remove_model("testapp", below)
    state.rename_model(*FILEMETA, "Renamed")
    refuses("devilry_deliveries.Renamed", "renamed")
    state.rename_model(FILEMETA[0], "renamed", "Delivery2")
    with monkeypatch.context() as patch:  # today the name belongs to a model without files
        patch.setattr(apps, "get_model", lambda label: Delivery)
        refuses("devilry_deliveries.Delivery2", "delivery2")


# -- Rows --


def in_new_row(model: Any) -> None:
    model.objects.create(delivery_id=Delivery.objects.get().pk, filename="b", content=upload())


def of_row(change: Callable[[Any], object]) -> Callable[[Any], object]:
    """Return an operation on the row that is stored."""
    return lambda model: change(model.objects.get())


def assigned(content: Any) -> Callable[[Any], object]:
    def change(row: Any) -> None:
        row.content = content() if callable(content) else content
        row.save()

    return of_row(change)


def in_bulk(model: Any) -> None:
    row = model.objects.get()
    row.content = upload()
    model.objects.bulk_update([row], ["content"])


REFUSED: dict[str, Callable[[Any], object]] = {
    "create": in_new_row,
    "get_or_create": lambda model: model.objects.get_or_create(
        filename="b", defaults={"delivery_id": Delivery.objects.get().pk, "content": upload()}
    ),
    "bulk_create": lambda model: model.objects.bulk_create(
        [model(delivery_id=Delivery.objects.get().pk, filename="b", content=upload())]
    ),
    "bulk_update": in_bulk,
    "update": lambda model: model.objects.update(content=upload()),
    "new content": assigned(upload),
    "content of another row": assigned(lambda: Note(content=upload()).content),
    "no content": assigned(None),
    "content.save": of_row(lambda row: row.content.save("b.txt", upload())),
    "content.delete": of_row(lambda row: row.content.delete()),
    "delete": of_row(lambda row: row.delete()),
    "queryset.delete": lambda model: model.objects.all().delete(),
    "cascade": of_row(lambda row: type(row.delivery).objects.all().delete()),
    "cascade of one": of_row(lambda row: row.delivery.delete()),
}


@pytest.mark.parametrize(
    ("name", "model"),
    # Django does not create multi-table children in bulk.
    [(name, FileMeta) for name in REFUSED]
    + [(name, ProxyFile) for name in REFUSED if "delete" in name]
    + [(name, MarkedFile) for name in REFUSED if name != "bulk_create"],
)
def test_historical_model_cannot_store_or_delete_files(
    name: str, model: Any, store: FailingStore, delivery: Delivery, state: ProjectState
) -> None:
    """It has no save() that stores, and sends no signals that write tombstones."""
    model.objects.create(delivery=delivery, filename="a.txt", content=ContentFile(OLD_BYTES, "a"))
    before = picture(store)
    with (
        pytest.raises(HistoricalModel, match="with the model that a migration provides"),
        transaction.atomic(),
    ):
        REFUSED[name](state.apps.get_model(model._meta.label))
    assert picture(store) == before


def test_historical_model_changes_other_columns_and_empty_rows(
    row: Any, delivery: Delivery, state: ProjectState
) -> None:
    FileMeta.objects.create(delivery=delivery, filename="empty.txt")
    model: Any = state.apps.get_model(*FILEMETA)
    stale = model.objects.get(pk=row.pk)
    row.content = upload()
    row.save()
    stale.filename = "renamed.txt"
    stale.save()
    stale.save(update_fields=["content"])
    fresh = FileMeta.objects.get(pk=row.pk)
    assert fresh.content.read() == b"upload"
    assert (fresh.filename, fresh.size, fresh.sha256) == ("renamed.txt", row.size, row.sha256)
    assert model.objects.exclude(pk=row.pk).delete()[0] == 1
