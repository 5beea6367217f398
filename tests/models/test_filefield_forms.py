"""Forms, serializers, requests: what is wrong is said in the form, what fails leaves no trace."""

from __future__ import annotations

from typing import Any, cast

import django
import pytest
from django import forms
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile, UploadedFile
from django.db import connections
from django.forms import inlineformset_factory
from django.test import Client
from django.utils.datastructures import MultiValueDict
from rest_framework.serializers import ModelSerializer

from devilry_storage.deliveries.models import Delivery, FileMeta
from tests.testapp.forms import FileForm, FileSerializer, UploadForm
from tests.testapp.models import MarkedFile, Note, ProxyFile
from tests.testapp.pictures import buried, picture, state, stored
from tests.testapp.stores import OLD_BYTES, FailingStore, Source

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db

# Django 4.2 ignores a constraint's own message.
TAKEN = (
    "File with this Delivery and Filename already exists."
    if django.VERSION < (5, 0)
    else "The delivery has a file of this name already."
)


def files(*uploads: UploadedFile[Any]) -> MultiValueDict[str, UploadedFile[Any]]:
    return MultiValueDict({"content": list(uploads)})


def upload(name: str = "upload.txt", data: bytes = b"upload") -> SimpleUploadedFile:
    """Return an upload whose name is as the client sent it."""
    made: Any = SimpleUploadedFile("name", data, "text/plain")
    made._name = name
    return cast(SimpleUploadedFile, made)


# -- full_clean --


def test_a_row_without_a_file_is_not_valid(delivery: Delivery) -> None:
    """The file may be NULL in the database, for rows whose bytes are on their way; not here."""
    with pytest.raises(ValidationError) as caught:
        FileMeta(delivery=delivery, filename="a.txt").full_clean()
    assert list(caught.value.message_dict) == ["content"]


@pytest.mark.parametrize("name", ["a/b.txt", "a\\b", "..", "a\x00b", "a\u202eb", " ", "x" * 256])
def test_a_bad_filename_is_not_valid(name: str, delivery: Delivery) -> None:
    """The same names are refused that save() refuses."""
    row = FileMeta(delivery=delivery, filename=name, content=upload())
    with pytest.raises(ValidationError) as caught:
        row.full_clean()
    assert list(caught.value.message_dict) == ["filename"]
    with pytest.raises(ValueError, match="filename"):
        row.save()
    assert not FileMeta.objects.exists()


def test_filenames_are_normalised(delivery: Delivery) -> None:
    """NFC, whether it was validated or not."""
    row = FileMeta(delivery=delivery, filename="bla\u030ab\u00e6r", content=upload())
    row.full_clean()
    assert row.filename == "bl\u00e5b\u00e6r"
    other = delivery.add_file("a\u030a", b"")
    assert other.filename == "\u00e5"
    with pytest.raises(FileExistsError):
        delivery.add_file("\u00e5", b"")


def test_a_stored_row_is_valid(row: Any) -> None:
    """A row is valid as it came from the database, and with new content."""
    row.full_clean()
    row.content = upload()
    row.full_clean()
    row.save()
    row.full_clean()


def test_new_content_for_a_finished_delivery_is_not_valid(delivery: Delivery, row: Any) -> None:
    """What save() would refuse is said before."""
    delivery.finish()
    row.full_clean()
    row.content = upload()
    with pytest.raises(ValidationError, match="is finished"):
        row.full_clean()
    with pytest.raises(ValidationError, match="is finished"):
        FileMeta(delivery_id=delivery.pk, filename="a.txt", content=upload()).full_clean()


def test_new_content_for_a_deleted_row_is_not_valid(row: Any) -> None:
    """The row is gone: a form says so."""
    FileMeta.objects.get().delete()
    row.content = upload()
    with pytest.raises(ValidationError, match="was deleted"):
        row.full_clean()


# -- Forms --


def test_the_form_field_takes_empty_files_and_has_no_clear_box() -> None:
    """An empty file is a delivered file; a file is removed by deleting its row."""
    for model in (FileMeta, ProxyFile, MarkedFile, Note):
        field = forms.modelform_factory(model, fields=["content"]).base_fields["content"]
        assert isinstance(field, forms.FileField)
        assert field.allow_empty_file
        assert type(field.widget) is forms.FileInput
        assert field.required


def test_an_empty_upload_is_stored(delivery: Delivery) -> None:
    """Django's own default refuses it."""
    form = FileForm({"delivery": delivery.pk, "filename": ""}, files(upload(data=b"")))
    row = form.save()
    assert (row.filename, row.size, row.content.read()) == ("upload.txt", 0, b"")


def test_a_form_without_a_file_is_invalid(store: FailingStore, delivery: Delivery) -> None:
    """A new row needs a file; what is no upload is none."""
    for data in ({}, {"content": "0/0/1/1"}):
        form = FileForm({"delivery": delivery.pk, "filename": "a", **data}, files())
        assert list(form.errors) == ["content"]
    assert (stored(store), FileMeta.objects.count()) == ({}, 0)


def test_a_change_without_an_upload_keeps_the_file(store: FailingStore, row: Any) -> None:
    """A form that changes the filename leaves the file alone."""
    name = row.content.name
    form = FileForm({"delivery": row.delivery_id, "filename": "renamed.txt"}, instance=row)
    assert form.fields["content"].widget.attrs == {}
    form.save()
    fresh = FileMeta.objects.get()
    assert (fresh.filename, fresh.content.name, buried()) == ("renamed.txt", name, [])


def test_a_large_upload_is_copied(delivery: Delivery) -> None:
    """An upload in a temporary file is copied, not moved or linked."""
    with TemporaryUploadedFile("large.bin", "text/plain", 6, None) as large:
        large.write(b"large!")
        large.seek(0)
        form = FileForm({"delivery": delivery.pk, "filename": ""}, files(large))
        row = form.save()
        large.seek(0)
        large.write(b"AFTER!")
        large.flush()
    assert (row.filename, row.content.read()) == ("large.bin", b"large!")


@pytest.mark.parametrize("form_class", [FileForm, UploadForm])
def test_a_taken_filename_is_a_form_error(form_class: Any, row: Any, store: FailingStore) -> None:
    """Typed or taken from the upload, shown in the form or not."""
    before = picture(store)
    data = {"delivery": row.delivery_id, "filename": ""}
    form = form_class(data, files(upload("old.txt")))
    assert form.errors == {"__all__": [TAKEN]}
    form = FileForm({**data, "filename": "old.txt"}, files(upload("new.txt")))
    assert list(form.errors) == ["__all__"]
    assert picture(store) == before


@pytest.mark.parametrize("name", ["a\u202eb", "a\\b", " "])
def test_a_bad_name_of_an_upload_is_a_form_error(
    name: str, delivery: Delivery, store: FailingStore
) -> None:
    """The client names the upload: whatever it sends is judged before anything is stored."""
    data = {"delivery": delivery.pk, "filename": ""}
    form: Any = FileForm(data, files(upload(name)))
    assert list(form.errors) == ["filename"]
    form = UploadForm(data, files(upload(name)))
    assert list(form.errors) == ["__all__"]
    form.save(commit=False) if form.is_valid() else None
    assert stored(store) == {}


def test_a_form_for_a_finished_delivery_is_invalid(delivery: Delivery, row: Any) -> None:
    """The form says that the delivery is finished."""
    delivery.finish()
    form: Any = FileForm({"delivery": delivery.pk, "filename": "a.txt"}, files(upload()))
    assert "is finished" in str(form.errors["__all__"])
    form = UploadForm({"delivery": delivery.pk}, files(upload()), instance=row)
    assert "is finished" in str(form.errors["__all__"])


def test_a_form_that_sets_its_delivery_afterwards(delivery: Delivery) -> None:
    """The usual view: save(commit=False), set what the form does not show, save()."""
    form = forms.modelform_factory(FileMeta, fields=["content"])({}, files(upload()))
    row = form.save(commit=False)
    assert row.content.read() == b"upload"
    row.delivery = delivery
    row.save()
    form.save_m2m()
    assert (row.filename, FileMeta.objects.get().content.read()) == ("upload.txt", b"upload")


def formset_of(delivery: Delivery, *uploads: SimpleUploadedFile) -> Any:
    made: Any = inlineformset_factory(Delivery, FileMeta, fields=["content"], extra=2)
    management = {"f-TOTAL_FORMS": 2, "f-INITIAL_FORMS": 0}
    given = MultiValueDict({f"f-{i}-content": [each] for i, each in enumerate(uploads)})
    return made(management, given, instance=delivery, prefix="f")


def test_a_formset_of_two_new_files(delivery: Delivery) -> None:
    """Two uploads at once get the filenames of their uploads."""
    formset = formset_of(delivery, upload("a.txt"), upload("b.txt", b"b"))
    assert formset.is_valid(), formset.errors
    formset.save()
    rows = FileMeta.objects.order_by("filename")
    assert [(row.filename, row.content.read()) for row in rows] == [
        ("a.txt", b"upload"),
        ("b.txt", b"b"),
    ]


def test_a_taken_filename_is_an_error_of_the_formset(delivery: Delivery, row: Any) -> None:
    """The formset sets the delivery, so that Django would leave out its constraint."""
    formset = formset_of(delivery, upload("old.txt"), upload("b.txt"))
    assert formset.errors == [{"__all__": [TAKEN]}, {}]


def test_a_formset_that_fails_can_be_saved_again(delivery: Delivery, store: FailingStore) -> None:
    """The second file fails: its row is not there, the first one is; the rest works again."""
    broken = Source(b"broken", "b.txt")
    formset = formset_of(delivery, upload("a.txt"), broken)
    assert formset.is_valid(), formset.errors
    broken.broken = True
    with pytest.raises(OSError, match="Input/output"):
        formset.save()
    assert [row.filename for row in delivery.files] == ["a.txt"]
    assert len(stored(store)) == 1
    broken.broken = False
    formset.forms[1].save()
    assert [row.content.read() for row in delivery.files] == [b"upload", b"broken"]


# -- Serializers --


@pytest.mark.usefixtures("without_downloads")
def test_a_serializer_shows_a_file(row: Any) -> None:
    """A private file has no URL: the representation breaks on nothing."""
    assert FileSerializer(row).data == {
        "id": row.pk,
        "delivery": row.delivery_id,
        "filename": "old.txt",
        "content": "",
    }


def test_an_invalid_serializer_stores_nothing(store: FailingStore, row: Any) -> None:
    """What is no file, has a bad name, or a taken one, is an error of its field."""
    before = picture(store)
    data = {"delivery": row.delivery_id, "filename": "a.txt", "content": upload()}
    for change in (
        {"content": "0/0/1/1"},
        {"content": upload("x" * 256)},
        {"filename": "old.txt"},
        {"delivery": 0},
    ):
        made = FileSerializer(data={**data, **change})
        assert not made.is_valid()
        assert made.errors
    assert not FileSerializer(row, data={"content": "text"}, partial=True).is_valid()
    assert picture(store) == before


def test_a_serializer_update_without_a_file(store: FailingStore, row: Any) -> None:
    """Partial means partial."""
    name = row.content.name
    made = FileSerializer(row, data={"filename": "renamed.txt"}, partial=True)
    assert made.is_valid(), made.errors
    made.save()
    fresh = FileMeta.objects.get()
    assert (fresh.filename, fresh.content.name) == ("renamed.txt", name)
    assert buried() == []


def test_an_upload_named_like_a_stored_file_is_valid(
    store: FailingStore, delivery: Delivery
) -> None:
    """The serializer asks whether content is unique: the upload's name is nobody's stored name."""
    store.save("upload.txt", ContentFile(b"adopted"))
    FileMeta.objects.adopt("upload.txt", delivery=delivery, filename="a.txt")
    made = FileSerializer(
        data={"delivery": delivery.pk, "filename": "b.txt", "content": upload("upload.txt")}
    )
    assert made.is_valid(), made.errors
    assert made.save().content.read() == b"upload"


def test_a_serializer_of_a_model_without_delivery(store: FailingStore) -> None:
    """The name comes from the upload where the client sends none."""

    class NoteSerializer(ModelSerializer):  # type: ignore[type-arg]
        class Meta:
            model = Note
            fields = ("filename", "content")

    made = NoteSerializer(data={"content": upload()})
    assert made.is_valid(), made.errors
    note = made.save()
    assert (note.filename, note.content.read()) == ("upload.txt", b"upload")


# -- Requests --


@pytest.fixture(params=[False, True], ids=["autocommit", "ATOMIC_REQUESTS"])
def atomic_requests(request: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    atomic: bool = request.param
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", atomic)
    return atomic


@pytest.mark.urls("tests.testapp.urls")
@pytest.mark.django_db(transaction=True)
def test_a_request(atomic_requests: bool, store: FailingStore, delivery: Delivery) -> None:
    """A view stores an upload; one whose store fails leaves no trace; it can be sent again."""
    client = Client(raise_request_exception=False)

    def send(**data: Any) -> Any:
        return client.post("/receive/", {"delivery": delivery.pk, "filename": "", **data})

    assert send().status_code == 400
    store.full = True
    before = picture(store)
    assert send(content=upload()).status_code == 500
    assert picture(store) == before
    store.full = False
    response = send(content=upload())
    assert response.status_code == 200
    row = FileMeta.objects.get(pk=int(response.content))
    assert (row.filename, row.content.read()) == ("upload.txt", b"upload")
    assert send(content=upload()).status_code == 400


@pytest.mark.urls("tests.testapp.urls")
@pytest.mark.django_db(transaction=True)
def test_a_request_that_fails_after_the_store(
    atomic_requests: bool, store: FailingStore, delivery: Delivery
) -> None:
    """Rolled back, there is no row, and the bytes are an orphan; else the row has its bytes."""
    client = Client(raise_request_exception=False)
    data = {"delivery": delivery.pk, "filename": "", "content": upload(), "fail": "yes"}
    assert client.post("/receive/", data).status_code == 500
    assert FileMeta.objects.count() == (0 if atomic_requests else 1)
    assert list(stored(store).values()) == [b"upload"]
    assert buried() == []
    data = {"delivery": delivery.pk, "filename": "again.txt", "content": upload()}
    assert client.post("/receive/", data).status_code == 200
    for row in FileMeta.objects.all():
        assert row.content.read() == b"upload"


def test_old_bytes_stay_while_a_form_fails(store: FailingStore, row: Any) -> None:
    """A change form whose store fails keeps row and file; the form can be saved again."""
    form = UploadForm({"delivery": row.delivery_id}, files(upload()), instance=row)
    assert form.is_valid()
    known, before = state(row), picture(store)
    store.nearly_full = True
    with pytest.raises(OSError, match="No space"):
        form.save()
    assert (state(row), picture(store)) == (known, before)
    assert FileMeta.objects.get().content.read() == OLD_BYTES
    store.nearly_full = False
    assert form.save().content.read() == b"upload"
