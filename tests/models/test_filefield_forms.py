"""Validation, forms, serializers and requests."""

from __future__ import annotations

from typing import Any, cast

import django
import pytest
from django import forms
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile, UploadedFile
from django.core.validators import FileExtensionValidator, validate_image_file_extension
from django.db import connections
from django.forms import inlineformset_factory
from django.test import Client
from django.utils.datastructures import MultiValueDict
from rest_framework.serializers import ModelSerializer

from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.testing._support.sources import only_once
from tests.testapp.forms import FileForm, FileSerializer, UploadForm
from tests.testapp.models import MarkedFile, Note, ProxyFile
from tests.testapp.pictures import buried, picture, stored
from tests.testapp.stores import FailingStore, Source

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
    """Return an upload with the unchecked name that a client sent."""
    upload: Any = SimpleUploadedFile("name", data, "text/plain")
    upload._name = name
    return cast(SimpleUploadedFile, upload)


# -- full_clean --


def test_full_clean_rejects_a_row_without_file(delivery: Delivery) -> None:
    """Although the column may be NULL while the bytes are stored."""
    with pytest.raises(ValidationError) as caught:
        FileMeta(delivery=delivery, filename="a.txt").full_clean()
    assert list(caught.value.message_dict) == ["content"]


@pytest.mark.parametrize("name", ["a/b.txt", "a\\b", "..", "a\x00b", "a\u202eb", " ", "x" * 256])
def test_full_clean_rejects_invalid_filenames(name: str, delivery: Delivery) -> None:
    """save() rejects them, too."""
    row = FileMeta(delivery=delivery, filename=name, content=upload())
    with pytest.raises(ValidationError) as caught:
        row.full_clean()
    assert list(caught.value.message_dict) == ["filename"]
    with pytest.raises(ValueError, match="filename"):
        row.save()
    assert not FileMeta.objects.exists()


def test_filenames_are_normalised(delivery: Delivery) -> None:
    """To NFC, by full_clean() and by add_file()."""
    row = FileMeta(delivery=delivery, filename="bla\u030ab\u00e6r", content=upload())
    row.full_clean()
    assert row.filename == "bl\u00e5b\u00e6r"
    other = delivery.add_file("a\u030a", b"")
    assert other.filename == "\u00e5"
    with pytest.raises(FileExistsError):
        delivery.add_file("\u00e5", b"")


def test_full_clean_accepts_stored_rows(row: Any) -> None:
    """Unchanged and with new content."""
    row.full_clean()
    row.content = upload()
    row.full_clean()
    row.save()
    row.full_clean()


def test_full_clean_rejects_content_of_a_deleted_row(row: Any) -> None:
    FileMeta.objects.get().delete()
    row.content = upload()
    with pytest.raises(ValidationError, match="was deleted"):
        row.full_clean()


# -- Validators --


def size_limit(file: Any) -> None:
    if file.size > 6:
        raise ValidationError("too large", code="size")


def starts_with_u(file: Any) -> None:
    if file.read(1) != b"u":
        raise ValidationError("no u")


def starts_with_u_as_text(file: Any) -> None:
    """Read as text, and close the file."""
    with file.open("r") as text:
        if text.readline()[:1] != "u":
            raise ValidationError(["no u", "as text"])


def whole(file: Any) -> None:
    """Read the whole file by what it wraps, and close it."""
    if b"".join(file.chunks()) != file.file.read() + b"".join(file.file.chunks()):
        raise ValidationError("not at its beginning")
    file.close()


VALIDATORS: list[Any] = [
    FileExtensionValidator(["png"]),
    validate_image_file_extension,
    size_limit,
    starts_with_u,
    starts_with_u_as_text,
    whole,
    starts_with_u,
]


@pytest.fixture
def validators(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Give the field of FileMeta a list of validators, empty at first."""
    chosen: list[Any] = []
    field: Any = FileMeta._meta.get_field("content")
    monkeypatch.setitem(vars(field), "validators", chosen)
    monkeypatch.setitem(field.error_messages, "size", "more than six bytes")
    monkeypatch.setattr("django.core.validators.get_available_image_extensions", lambda: ["png"])
    return chosen


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("kind", ["in memory", "in a file", "without name", "of a row"])
def test_validators_see_the_upload_under_its_filename(
    kind: str, blank: bool, delivery: Delivery, validators: list[Any], monkeypatch: Any
) -> None:
    """Each reads it from its beginning, may close it, and leaves all to be stored."""
    monkeypatch.setattr(FileMeta._meta.get_field("content"), "blank", blank)
    temporary: list[Any] = []

    def content(data: bytes) -> Any:
        if kind == "in memory":
            return upload("mine.txt", data)
        if kind == "in a file":
            temporary.append(TemporaryUploadedFile("mine.txt", "text/plain", len(data), None))
            temporary[-1].write(data)
            return temporary[-1]
        if kind == "without name":
            return ContentFile(data)
        return delivery.add_file(f"{data!r}.txt", data).content

    validators += VALIDATORS
    row = FileMeta(delivery=delivery, filename="a.png", content=content(b"upload"))
    row.content.read(2)
    row.full_clean()
    row.full_clean()
    assert row.content.read() == b"upload"
    row.save()
    row = FileMeta.objects.get(pk=row.pk)
    assert row.content.read() == b"upload"
    row.full_clean()
    row.filename = "a.exe"
    row.content = content(b"another")
    with pytest.raises(ValidationError) as caught:
        row.full_clean()
    messages = caught.value.message_dict["content"]
    assert [message.split(" ", 2)[0] for message in messages[:2]] == ["File", "File"]
    assert messages[2:] == ["more than six bytes", "no u", "no u", "as text", "no u"]
    for file in temporary:
        file.close()


def test_forms_validate_uploads_and_not_stored_files(
    delivery: Delivery, validators: list[Any]
) -> None:
    """The filename may be taken from the upload."""
    validators += VALIDATORS
    data = {"delivery": delivery.pk, "filename": ""}
    assert list(FileForm(data, files(upload("u.exe"))).errors) == ["content"]
    row = FileForm(data, files(upload("u.png"))).save()
    assert row.content.read() == b"upload"
    FileForm({**data, "filename": "b.exe"}, files(), instance=row).save()
    assert FileMeta.objects.get().filename == "b.exe"
    form = FileForm({**data, "filename": "b.png"}, files(upload("u.png", b"no")), instance=row)
    assert list(form.errors) == ["content"]
    assert delivery.add_file("c.exe", b"not validated by add_file()")


def test_pipe_is_not_stored_without_what_a_validator_read(
    delivery: Delivery, validators: list[Any]
) -> None:
    validators += [starts_with_u]
    row = FileMeta(delivery=delivery, filename="a.txt", content=only_once(b"upload"))
    row.full_clean()
    with pytest.raises(ValueError, match="a second time"):
        row.save()
    validators[:] = [FileExtensionValidator(["txt"])]
    row.content = only_once(b"upload")
    row.full_clean()
    row.save()
    assert row.content.read() == b"upload"


def test_form_accepts_uploads_with_long_names(delivery: Delivery, monkeypatch: Any) -> None:
    """As long as filenames may be; ``max_length`` is that of the key."""
    monkeypatch.setattr(FileMeta._meta.get_field("content"), "max_length", 80)
    form_class = forms.modelform_factory(FileMeta, fields=["content"])
    row = FileMeta(delivery=delivery)
    assert form_class({}, files(upload("x" * 255)), instance=row).is_valid()
    assert not form_class({}, files(upload("x" * 256)), instance=row).is_valid()


# -- Forms --


def test_form_field_accepts_empty_files_and_cannot_be_cleared() -> None:
    """A file is removed by deleting its row."""
    for model in (FileMeta, ProxyFile, MarkedFile, Note):
        field = forms.modelform_factory(model, fields=["content"]).base_fields["content"]
        assert isinstance(field, forms.FileField)
        assert field.allow_empty_file
        assert type(field.widget) is forms.FileInput
        assert field.required


def test_form_stores_an_empty_upload(delivery: Delivery) -> None:
    form = FileForm({"delivery": delivery.pk, "filename": ""}, files(upload(data=b"")))
    row = form.save()
    assert (row.filename, row.size, row.content.read()) == ("upload.txt", 0, b"")


def test_form_without_upload_is_invalid(store: FailingStore, delivery: Delivery) -> None:
    for data in ({}, {"content": "0/0/1/1"}):
        form = FileForm({"delivery": delivery.pk, "filename": "a", **data}, files())
        assert list(form.errors) == ["content"]
    assert (stored(store), FileMeta.objects.count()) == ({}, 0)


def test_change_form_without_upload_keeps_the_file(row: Any) -> None:
    name = row.content.name
    form = FileForm({"delivery": row.delivery_id, "filename": "renamed.txt"}, instance=row)
    assert form.fields["content"].widget.attrs == {}
    form.save()
    fresh = FileMeta.objects.get()
    assert (fresh.filename, fresh.content.name, buried()) == ("renamed.txt", name, [])


def test_large_upload_is_copied(delivery: Delivery) -> None:
    """The temporary file is neither moved nor linked."""
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
def test_taken_filename_is_a_form_error(form_class: Any, row: Any, store: FailingStore) -> None:
    """Typed or taken from the upload, with and without the field in the form."""
    before = picture(store)
    data = {"delivery": row.delivery_id, "filename": ""}
    form = form_class(data, files(upload("old.txt")))
    assert form.errors == {"__all__": [TAKEN]}
    form = FileForm({**data, "filename": "old.txt"}, files(upload("new.txt")))
    assert list(form.errors) == ["__all__"]
    assert picture(store) == before


@pytest.mark.parametrize("name", ["a\u202eb", "a\\b", " "])
def test_invalid_name_of_an_upload_is_a_form_error(
    name: str, delivery: Delivery, store: FailingStore
) -> None:
    """Nothing is stored."""
    data = {"delivery": delivery.pk, "filename": ""}
    form: Any = FileForm(data, files(upload(name)))
    assert list(form.errors) == ["filename"]
    form = UploadForm(data, files(upload(name)))
    assert list(form.errors) == ["__all__"]
    form.save(commit=False) if form.is_valid() else None
    assert stored(store) == {}


def test_form_of_a_finished_delivery_is_invalid(delivery: Delivery, row: Any) -> None:
    """So is the validation of new content. That of the stored row passes."""
    delivery.finish()
    row.full_clean()
    row.content = upload()
    for instance in (row, FileMeta(delivery_id=delivery.pk, filename="a", content=upload())):
        with pytest.raises(ValidationError, match="is finished"):
            instance.full_clean()
    form: Any = FileForm({"delivery": delivery.pk, "filename": "a.txt"}, files(upload()))
    assert "is finished" in str(form.errors["__all__"])
    form = UploadForm({"delivery": delivery.pk}, files(upload()), instance=row)
    assert "is finished" in str(form.errors["__all__"])


def test_delivery_can_be_set_after_commit_false(delivery: Delivery) -> None:
    """As views do that do not show the delivery in their form."""
    form = forms.modelform_factory(FileMeta, fields=["content"])({}, files(upload()))
    row = form.save(commit=False)
    assert row.content.read() == b"upload"
    row.delivery = delivery
    row.save()
    form.save_m2m()
    assert (row.filename, FileMeta.objects.get().content.read()) == ("upload.txt", b"upload")


def formset_of(delivery: Delivery, *uploads: SimpleUploadedFile) -> Any:
    formset: Any = inlineformset_factory(Delivery, FileMeta, fields=["content"], extra=2)
    management = {"f-TOTAL_FORMS": 2, "f-INITIAL_FORMS": 0}
    sent = MultiValueDict({f"f-{i}-content": [upload] for i, upload in enumerate(uploads)})
    return formset(management, sent, instance=delivery, prefix="f")


def test_formset_takes_the_filenames_of_the_uploads(delivery: Delivery) -> None:
    formset = formset_of(delivery, upload("a.txt"), upload("b.txt", b"b"))
    assert formset.is_valid(), formset.errors
    formset.save()
    rows = FileMeta.objects.order_by("filename")
    assert [(row.filename, row.content.read()) for row in rows] == [
        ("a.txt", b"upload"),
        ("b.txt", b"b"),
    ]


def test_taken_filename_is_a_formset_error(delivery: Delivery, row: Any) -> None:
    """The formset sets the delivery, so Django would leave out the constraint."""
    formset = formset_of(delivery, upload("old.txt"), upload("b.txt"))
    assert formset.errors == [{"__all__": [TAKEN]}, {}]


def test_failing_formset_can_be_saved_again(delivery: Delivery, store: FailingStore) -> None:
    """The first file is stored. The second one fails and leaves no row."""
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
def test_serializer_represents_a_private_file(row: Any) -> None:
    """It has no URL."""
    assert FileSerializer(row).data == {
        "id": row.pk,
        "delivery": row.delivery_id,
        "filename": "old.txt",
        "content": None,
    }


def test_invalid_serializer_stores_nothing(store: FailingStore, row: Any) -> None:
    """The content is not a file, or a filename is invalid or taken."""
    before = picture(store)
    data = {"delivery": row.delivery_id, "filename": "a.txt", "content": upload()}
    for change in (
        {"content": "0/0/1/1"},
        {"content": upload("x" * 256)},
        {"filename": "old.txt"},
        {"delivery": 0},
    ):
        serializer = FileSerializer(data={**data, **change})
        assert not serializer.is_valid()
        assert serializer.errors
    assert not FileSerializer(row, data={"content": "text"}, partial=True).is_valid()
    assert picture(store) == before


def test_partial_serializer_update_keeps_the_file(row: Any) -> None:
    name = row.content.name
    serializer = FileSerializer(row, data={"filename": "renamed.txt"}, partial=True)
    assert serializer.is_valid(), serializer.errors
    serializer.save()
    fresh = FileMeta.objects.get()
    assert (fresh.filename, fresh.content.name) == ("renamed.txt", name)
    assert buried() == []


def test_serializer_accepts_an_upload_named_like_a_stored_file(
    store: FailingStore, delivery: Delivery
) -> None:
    """The name of an upload is not compared with stored names."""
    store.save("upload.txt", ContentFile(b"adopted"))
    FileMeta.objects.adopt("upload.txt", delivery=delivery, filename="a.txt")
    serializer = FileSerializer(
        data={"delivery": delivery.pk, "filename": "b.txt", "content": upload("upload.txt")}
    )
    assert serializer.is_valid(), serializer.errors
    assert serializer.save().content.read() == b"upload"


def test_serializer_takes_the_filename_of_the_upload(store: FailingStore) -> None:
    """Of a model without delivery."""

    class NoteSerializer(ModelSerializer):  # type: ignore[type-arg]
        class Meta:
            model = Note
            fields = ("filename", "content")

    serializer = NoteSerializer(data={"content": upload()})
    assert serializer.is_valid(), serializer.errors
    note = serializer.save()
    assert (note.filename, note.content.read()) == ("upload.txt", b"upload")


# -- Requests --


@pytest.fixture(params=[False, True], ids=["autocommit", "ATOMIC_REQUESTS"])
def atomic_requests(request: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    atomic: bool = request.param
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", atomic)
    return atomic


@pytest.mark.urls("tests.testapp.urls")
@pytest.mark.django_db(transaction=True)
def test_failing_request_leaves_no_trace(
    atomic_requests: bool, store: FailingStore, delivery: Delivery
) -> None:
    """It can be repeated."""
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
def test_request_that_fails_after_storing(
    atomic_requests: bool, store: FailingStore, delivery: Delivery
) -> None:
    """With ATOMIC_REQUESTS the bytes become an orphan, otherwise the row is kept."""
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
