"""All ways to store, replace, remove and delete the file of a row.

A function that stores a file returns the instance, or None if it has none, and a function that
stores the file. The latter can be called again after a failure. The file has the name of the way.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.utils.datastructures import MultiValueDict

from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.resolving import store_for

from .forms import FileForm, FileSerializer, UploadForm
from .models import Course, MarkedFile, Note, Paper, ProxyFile
from .stores import Source

Store = Callable[[], Any]
New = Callable[[Delivery, Source], tuple[Any, Store]]
Replace = Callable[[FileMeta, Source], tuple[Any, Store]]
Remove = Callable[[FileMeta], Any]

NEW: dict[str, New] = {}
REPLACE: dict[str, Replace] = {}
REMOVE: dict[str, Remove] = {}
DELETE: dict[str, Remove] = {}

#: An id that automatic ids do not reach in the tests.
FREE = 40_000


def new(way: New) -> New:
    NEW[way.__name__] = way
    return way


def replace(way: Replace) -> Replace:
    REPLACE[way.__name__] = way
    return way


def remove(way: Remove) -> Remove:
    REMOVE[way.__name__] = way
    return way


def delete(way: Remove) -> Remove:
    DELETE[way.__name__] = way
    return way


def files(file: Source) -> MultiValueDict[str, UploadedFile[Any]]:
    """Return a file as in ``request.FILES``."""
    return MultiValueDict({"content": [file]})


# -- Storing a new row --


@new
def save(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = FileMeta(delivery=delivery, filename="save", content=file)
    return row, row.save


@new
def save_force_insert(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = FileMeta(delivery=delivery, filename="save_force_insert", content=file)
    return row, lambda: row.save(force_insert=True)


@new
def save_using(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = FileMeta(delivery=delivery, filename="save_using", content=file)
    return row, lambda: row.save(using="default")


@new
def asave(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = FileMeta(delivery=delivery, filename="asave", content=file)
    return row, async_to_sync(row.asave)


@new
def save_with_assigned_content(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = FileMeta()
    row.content = file
    row.delivery_id = delivery.pk
    row.filename = "save_with_assigned_content"
    return row, row.save


@new
def save_named_after_upload(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    file.name = "save_named_after_upload"
    row = FileMeta(delivery=delivery, content=file)
    return row, row.save


@new
def full_clean_and_save(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = FileMeta(delivery=delivery, filename="full_clean_and_save", content=file)
    row.full_clean()
    return row, row.save


@new
def save_free_pk(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = FileMeta(pk=FREE, delivery=delivery, filename="save_free_pk", content=file)
    return row, row.save


@new
def save_free_pk_force_insert(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    name = "save_free_pk_force_insert"
    row = FileMeta(pk=FREE + 1, delivery=delivery, filename=name, content=file)
    return row, lambda: row.save(force_insert=True)


@new
def fieldfile_save(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = FileMeta(delivery=delivery)
    return row, lambda: row.content.save("fieldfile_save", file)


@new
def fieldfile_save_then_save(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = FileMeta(delivery=delivery, filename="fieldfile_save_then_save")
    row.content.save("upload.txt", file, save=False)
    return row, row.save


@new
def create(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    return None, lambda: FileMeta.objects.create(
        delivery=delivery, filename="create", content=file
    )


@new
def create_using(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    rows = FileMeta.objects.using("default")
    return None, lambda: rows.create(delivery=delivery, filename="create_using", content=file)


@new
def acreate(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    async def store() -> Any:
        return await FileMeta.objects.acreate(delivery=delivery, filename="acreate", content=file)

    return None, async_to_sync(store)


@new
def create_related(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    return None, lambda: delivery.filemetas.create(filename="create_related", content=file)


@new
def get_or_create(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    return None, lambda: FileMeta.objects.get_or_create(
        delivery=delivery, filename="get_or_create", defaults={"content": file}
    )[0]


@new
def update_or_create(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    return None, lambda: FileMeta.objects.update_or_create(
        delivery=delivery, filename="update_or_create", defaults={"content": file}
    )[0]


@new
def add_file(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    return None, lambda: delivery.add_file("add_file", file)


@new
def add_files(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    return None, lambda: delivery.add_files({"add_files": file})[0]


@new
def form(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    made = FileForm({"delivery": delivery.pk, "filename": "form"}, files(file))
    assert made.is_valid(), made.errors
    return made.instance, made.save


@new
def form_without_filename(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    file.name = "form_without_filename"
    made = UploadForm({"delivery": delivery.pk}, files(file))
    assert made.is_valid(), made.errors
    return made.instance, made.save


@new
def form_commit_false(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    data = {"delivery": delivery.pk, "filename": "form_commit_false"}
    made = FileForm(data, files(file))
    row = made.save(commit=False)
    return row, row.save


@new
def serializer(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    data = {"delivery": delivery.pk, "filename": "serializer", "content": file}
    made = FileSerializer(data=data)
    assert made.is_valid(), made.errors
    return None, made.save


@new
def proxy(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = ProxyFile(delivery=delivery, filename="proxy", content=file)
    return row, row.save


@new
def child(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = MarkedFile(delivery=delivery, filename="child", content=file, mark="A")
    return row, row.save


@new
def child_free_pk(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = MarkedFile(pk=FREE + 2, delivery=delivery, filename="child_free_pk", content=file)
    return row, row.save


@new
def child_create(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    return None, lambda: MarkedFile.objects.create(
        delivery=delivery, filename="child_create", content=file, mark="A"
    )


@new
def without_delivery(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = Note(filename="without_delivery", content=file)
    return row, row.save


@new
def plain_parent(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    course = Course.objects.create(title="course")
    row = Paper(delivery=course, filename="plain_parent", content=file, title="page")
    return row, row.save


@new
def copy_of_unsaved(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = copy.copy(FileMeta(delivery=delivery, filename="copy_of_unsaved", content=file))
    return row, row.save


@new
def file_of_another_row(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    other = delivery.add_file("another", file)
    row = FileMeta(delivery=delivery, filename="file_of_another_row", content=other.content)
    return row, row.save


@new
def file_of_another_model(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    other = Note.objects.create(filename="note", content=file)
    row = FileMeta(delivery=delivery, filename="file_of_another_model", content=other.content)
    return row, row.save


@new
def pk_none(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = delivery.add_file("original", file)
    row.pk = None
    row.filename = "pk_none"
    return row, row.save


@new
def pk_none_of_a_copy(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = copy.copy(delivery.add_file("original of a copy", file))
    row.pk, row.filename, row._state.adding = None, "pk_none_of_a_copy", True
    return row, row.save


@new
def pk_none_of_a_child(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = MarkedFile.objects.create(delivery=delivery, filename="original child", content=file)
    row.pk = row.id = None
    row._state.adding = True
    row.filename = "pk_none_of_a_child"
    return row, row.save


@new
def other_pk_force_insert(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = delivery.add_file("original of another pk", file)
    row.pk, row.filename = FREE + 3, "other_pk_force_insert"
    return row, lambda: row.save(force_insert=True)


@new
def written_after_create(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = FileMeta.objects.create(delivery=delivery, filename="written_after_create")

    def write() -> None:
        with store_for(row).write_open(row) as writer:
            for chunk in file.chunks():
                writer.write(chunk)

    return row, write


@new
def assigned_after_create(delivery: Delivery, file: Source) -> tuple[Any, Store]:
    row = FileMeta.objects.create(delivery=delivery, filename="assigned_after_create")
    row.content = file
    return row, row.save


# -- Replacing the content of a stored row --


@replace
def assign_and_save(row: FileMeta, file: Source) -> tuple[Any, Store]:
    row.content = file
    return row, row.save


@replace
def assign_and_save_force_update(row: FileMeta, file: Source) -> tuple[Any, Store]:
    row.content = file
    return row, lambda: row.save(force_update=True)


@replace
def assign_and_save_using(row: FileMeta, file: Source) -> tuple[Any, Store]:
    row.content = file
    return row, lambda: row.save(using="default")


@replace
def assign_and_asave(row: FileMeta, file: Source) -> tuple[Any, Store]:
    row.content = file
    return row, async_to_sync(row.asave)


@replace
def assign_and_update_fields(row: FileMeta, file: Source) -> tuple[Any, Store]:
    row.content = file
    return row, lambda: row.save(update_fields=["content"])


@replace
def assign_and_rename(row: FileMeta, file: Source) -> tuple[Any, Store]:
    row.content = file
    row.filename = "renamed.txt"
    return row, row.save


@replace
def full_clean_stored(row: FileMeta, file: Source) -> tuple[Any, Store]:
    row.content = file
    row.full_clean()
    return row, row.save


@replace
def by_fieldfile(row: FileMeta, file: Source) -> tuple[Any, Store]:
    return row, lambda: row.content.save("upload.txt", file)


@replace
def by_fieldfile_then_save(row: FileMeta, file: Source) -> tuple[Any, Store]:
    row.content.save("upload.txt", file, save=False)
    return row, row.save


@replace
def defer(row: FileMeta, file: Source) -> tuple[Any, Store]:
    row = FileMeta.objects.defer("content", "size", "sha256").get(pk=row.pk)
    row.content = file
    return row, row.save


@replace
def only(row: FileMeta, file: Source) -> tuple[Any, Store]:
    row = FileMeta.objects.only("pk").get(pk=row.pk)
    row.content = file
    return row, row.save


@replace
def refresh_from_db(row: FileMeta, file: Source) -> tuple[Any, Store]:
    row.content = ContentFile(b"forgotten", "forgotten.txt")
    row.refresh_from_db()
    row.content = file
    return row, row.save


@replace
def select_for_update(row: FileMeta, file: Source) -> tuple[Any, Store]:
    def store() -> Any:
        with transaction.atomic():
            locked = FileMeta.objects.select_for_update().get(pk=row.pk)
            locked.content = file
            locked.save()
        return locked

    return None, store


@replace
def update_or_create_stored(row: FileMeta, file: Source) -> tuple[Any, Store]:
    return None, lambda: FileMeta.objects.update_or_create(pk=row.pk, defaults={"content": file})[
        0
    ]


@replace
def stale_instance(row: FileMeta, file: Source) -> tuple[Any, Store]:
    fresh = FileMeta.objects.get(pk=row.pk)
    fresh.content = ContentFile(b"in between", "between.txt")
    fresh.save()
    row.content = file
    return row, row.save


@replace
def copied_instance(row: FileMeta, file: Source) -> tuple[Any, Store]:
    twin = copy.copy(row)
    twin.content = file
    return twin, twin.save


@replace
def deepcopied_instance(row: FileMeta, file: Source) -> tuple[Any, Store]:
    twin = copy.deepcopy(row)
    twin.content = file
    return twin, twin.save


@replace
def unpickled_instance(row: FileMeta, file: Source) -> tuple[Any, Store]:
    twin = pickle.loads(pickle.dumps(row))
    twin.content = file
    return twin, twin.save


@replace
def from_another_row(row: FileMeta, file: Source) -> tuple[Any, Store]:
    row.content = row.delivery.add_file("another.txt", file).content
    return row, row.save


@replace
def form_change(row: FileMeta, file: Source) -> tuple[Any, Store]:
    data = {"delivery": row.delivery_id, "filename": row.filename}
    made = FileForm(data, files(file), instance=row)
    assert made.is_valid(), made.errors
    return row, made.save


@replace
def serializer_update(row: FileMeta, file: Source) -> tuple[Any, Store]:
    data = {"delivery": row.delivery_id, "filename": "put.txt", "content": file}
    made = FileSerializer(row, data=data)
    assert made.is_valid(), made.errors
    return None, made.save


@replace
def serializer_partial(row: FileMeta, file: Source) -> tuple[Any, Store]:
    made = FileSerializer(row, data={"content": file}, partial=True)
    assert made.is_valid(), made.errors
    return None, made.save


@replace
def proxy_of_stored(row: FileMeta, file: Source) -> tuple[Any, Store]:
    proxied = ProxyFile.objects.get(pk=row.pk)
    proxied.content = file
    return proxied, proxied.save


@replace
def write_open(row: FileMeta, file: Source) -> tuple[Any, Store]:
    def write() -> None:
        with store_for(row).write_open(row) as writer:
            for chunk in file.chunks():
                writer.write(chunk)

    return row, write


# -- Removing the content of a stored row --


@remove
def assign_none(row: FileMeta) -> None:
    row.content = None
    row.save()


@remove
def assign_empty_text(row: FileMeta) -> None:
    row.content = ""
    row.save()


@remove
def assign_none_and_update_fields(row: FileMeta) -> None:
    row.content = None
    row.save(update_fields=["content"])


@remove
def assign_empty_file_of_another_row(row: FileMeta) -> None:
    row.content = FileMeta(delivery=row.delivery, filename="unsaved").content
    row.save()


@remove
def fieldfile_delete(row: FileMeta) -> None:
    row.content.delete()


@remove
def fieldfile_delete_then_save(row: FileMeta) -> None:
    row.content.delete(save=False)
    row.save()


@remove
def fieldfile_delete_while_open(row: FileMeta) -> None:
    row.content.open()
    row.content.delete()


@remove
def store_remove(row: FileMeta) -> None:
    store_for(row).remove(row)


@remove
def update_or_create_with_none(row: FileMeta) -> None:
    FileMeta.objects.update_or_create(pk=row.pk, defaults={"content": None})


@remove
def serializer_null(row: FileMeta) -> None:
    made = FileSerializer(row, data={"content": None}, partial=True)
    assert made.is_valid(), made.errors
    made.save()


# -- Deleting a row --


@delete
def instance_delete(row: FileMeta) -> None:
    row.delete()


@delete
def instance_adelete(row: FileMeta) -> None:
    async_to_sync(row.adelete)()


@delete
def stale_delete(row: FileMeta) -> None:
    fresh = FileMeta.objects.get(pk=row.pk)
    fresh.content = ContentFile(b"in between", "between.txt")
    fresh.save()
    row.delete()


@delete
def deferred_delete(row: FileMeta) -> None:
    FileMeta.objects.only("pk").get(pk=row.pk).delete()


@delete
def pending_delete(row: FileMeta) -> None:
    row.content = ContentFile(b"never stored", "never.txt")
    row.delete()


@delete
def pending_removal_delete(row: FileMeta) -> None:
    row.content = None
    row.delete()


@delete
def queryset_delete(row: FileMeta) -> None:
    FileMeta.objects.filter(pk=row.pk).delete()


@delete
def queryset_only_delete(row: FileMeta) -> None:
    FileMeta.objects.only("pk").filter(pk=row.pk).delete()


@delete
def related_queryset_delete(row: FileMeta) -> None:
    row.delivery.filemetas.all().delete()


@delete
def proxy_delete(row: FileMeta) -> None:
    ProxyFile.objects.get(pk=row.pk).delete()


@delete
def proxy_queryset_delete(row: FileMeta) -> None:
    ProxyFile.objects.filter(pk=row.pk).delete()


@delete
def cascade(row: FileMeta) -> None:
    row.delivery.delete()


@delete
def cascade_of_a_queryset(row: FileMeta) -> None:
    Delivery.objects.filter(pk=row.delivery_id).delete()


@delete
def delete_in_savepoint(row: FileMeta) -> None:
    with transaction.atomic(), transaction.atomic():
        row.delete()
