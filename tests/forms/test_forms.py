"""Validation by DeliveryForm: single files, all files together, and names."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http.multipartparser import MultiPartParserError
from django.test import RequestFactory, override_settings
from django.utils.datastructures import MultiValueDict

from devilry_storage.forms import DeliveryForm, FilesField
from devilry_storage.names import validate_filename
from devilry_storage.upload_limits import Limits

from ..storages.test_hostile_names import TABLE

END = {"end": "end"}
NFC = "\u00e9.txt"
NFD = unicodedata.normalize("NFD", NFC)


def upload(name: str, size: int = 1) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, b"x" * size)


def sized(sizes: list[int]) -> list[SimpleUploadedFile]:
    return [upload(f"{number}.txt", size) for number, size in enumerate(sizes)]


def sent(uploads: Iterable[Any], limits: Limits | None = None) -> DeliveryForm:
    """Return the form of a request that is encoded as by a browser and parsed by Django."""
    request = RequestFactory().post("/", {"uploads": list(uploads), **END})
    return DeliveryForm(request.POST, request.FILES, limits=limits)


def bound_form(uploads: Iterable[Any]) -> DeliveryForm:
    """Return the form of uploads that do not come from Django's parser."""
    return DeliveryForm(END, MultiValueDict({"uploads": list(uploads)}))


def codes(form: DeliveryForm) -> list[str]:
    return [str(error.code) for errors in form.errors.as_data().values() for error in errors]


def messages(form: DeliveryForm) -> list[str]:
    return [str(message) for errors in form.errors.values() for message in errors]


# -- Limits: at, below and above each --

FIVE = "DELIVERY_STORE_UPLOAD_MAX_FILES"
TEN = "DELIVERY_STORE_UPLOAD_MAX_BYTES"
THIRTY = "DELIVERY_STORE_UPLOAD_MAX_TOTAL_BYTES"

#: A setting, the same limit as an override, and uploads below, at and above it.
BOUNDS: list[tuple[dict[str, int], Limits, str, list[list[int]]]] = [
    ({FIVE: 5}, Limits(max_files=5), "max_files", [[1] * 4, [1] * 5, [1] * 6]),
    ({TEN: 10}, Limits(max_bytes=10), "max_bytes", [[9, 9], [10, 10], [11]]),
    ({TEN: 0}, Limits(max_bytes=0), "max_bytes", [[0], [0, 0], [1]]),
    ({THIRTY: 30}, Limits(max_total_bytes=30), "max_total_bytes", [[15, 14], [15, 15], [15, 16]]),
]


def test_limits_are_inclusive(subtests: pytest.Subtests) -> None:
    """One byte or file above the limit is rejected, wherever the limit is set."""
    for setting, override, code, sizes in BOUNDS:
        for settings, limits in (setting, None), ({}, override):
            with subtests.test(settings=settings, limits=limits), override_settings(**settings):
                below, at, above = map(sized, sizes)
                assert sent(below, limits).is_valid()
                assert sent(at, limits).is_valid()
                assert codes(sent(above, limits)) == [code]


def test_form_limits_override_settings(subtests: pytest.Subtests) -> None:
    """A form may allow more than the settings, or less."""
    wide = Limits(max_files=100, max_bytes=100, max_total_bytes=1000)
    for setting, override, code, (*_, above) in BOUNDS:
        with subtests.test(setting=setting):
            with override_settings(**setting):
                assert sent(sized(above), wide).is_valid()
            with override_settings(**dict.fromkeys(setting, 100)):
                assert codes(sent(sized(above), override)) == [code]


def test_limits_argument_overrides_class_limits() -> None:
    """Neither changes other forms."""

    class EssayForm(DeliveryForm):
        limits = Limits(max_files=1)

    files = MultiValueDict({"uploads": sized([1, 1])})
    assert codes(EssayForm(END, files)) == ["max_files"]
    assert EssayForm(END, files, limits=Limits(max_files=2)).is_valid()
    assert codes(EssayForm(END, files)) == ["max_files"]
    assert DeliveryForm(END, files).is_valid()


def test_limits_of_redeclared_field_apply() -> None:
    """Limits of the form replace those of the field."""

    class EssayForm(DeliveryForm):
        uploads = FilesField(limits=Limits(max_files=1, extensions=["txt"]))

    files = MultiValueDict({"uploads": sized([1, 1])})
    assert codes(EssayForm(END, files)) == ["max_files"]
    assert 'accept=".txt"' in EssayForm().as_div()
    wider = Limits(max_files=2)
    assert EssayForm(END, files, limits=wider).is_valid()
    assert "accept" not in EssayForm(limits=wider).as_div()


def test_default_limits_are_those_of_the_settings_page() -> None:
    """100 files, 100 MiB each, 500 MiB together."""
    limits = Limits()
    assert (limits.most_files, limits.most_bytes) == (100, 100 * 1024**2)
    assert limits.most_total_bytes == 500 * 1024**2


@override_settings(DELIVERY_STORE_UPLOAD_MAX_BYTES=2048)
def test_errors_show_exact_sizes_if_rounded_sizes_are_equal() -> None:
    """``2.0 KB`` with a maximum of ``2.0 KB`` would be confusing."""
    assert messages(sent([upload("a", 2049)])) == [
        "“a”: the file is too large: it is 2049 bytes, the maximum is 2048 bytes."
    ]
    (message,) = messages(sent([upload("b", 5000)]))
    assert message.replace("\xa0", " ") == (
        "“b”: the file is too large: it is 4.9 KB, the maximum is 2.0 KB."
    )


@override_settings(DELIVERY_STORE_UPLOAD_MAX_BYTES=3)
def test_every_file_is_validated_at_any_position(subtests: pytest.Subtests) -> None:
    """Not only the last file, as in CVE-2023-31047. The error names the invalid file."""
    for bad in range(3):
        with subtests.test(bad=bad):
            form = sent(upload(f"{number}.txt", 4 if number == bad else 3) for number in range(3))
            assert not form.is_valid()
            assert [message.partition(":")[0] for message in messages(form)] == [f"“{bad}.txt”"]


def test_field_validators_run_for_every_file() -> None:
    """Such as a site's virus scanner. Errors name the file."""

    def reject_viruses(file: Any) -> None:
        if file.read() == b"virus":
            raise ValidationError("has a virus")

    field = FilesField(validators=[reject_viruses])
    bad = [SimpleUploadedFile(name, b"virus") for name in ("a", "c")]
    with pytest.raises(ValidationError) as raised:
        field.clean([bad[0], upload("b"), bad[1]])
    assert raised.value.messages == ["“a”: has a virus", "“c”: has a virus"]


def test_errors_of_all_files_are_reported_together() -> None:
    """Users need not submit the form again for each error."""
    limits = Limits(max_files=2, max_bytes=3, max_total_bytes=4, extensions=["txt"])
    form = sent([upload("a.exe", 4), upload("b.txt"), upload("c", 1)], limits)
    assert codes(form) == ["max_bytes", "extension", "extension", "max_files", "max_total_bytes"]


def test_form_requires_a_file() -> None:
    """A delivery without files is not allowed."""
    assert codes(sent([])) == ["required"]


def test_empty_files_are_allowed_unless_limits_forbid_them() -> None:
    """Students deliver files such as an empty ``__init__.py``."""
    allowed, rejected = (
        sent([upload("__init__.py", 0), upload("a.py")], Limits(allow_empty=allow))
        for allow in (True, False)
    )
    assert allowed.is_valid()
    assert messages(rejected) == ["“__init__.py”: the file is empty."]


# -- Extensions --


def test_allowed_extensions_are_case_insensitive() -> None:
    """The list may contain them with or without a leading dot."""
    limits = Limits(extensions=["pdf", ".txt", "TAR.gz"])
    names = ["a.pdf", "A.PDF", "a.b.pdf", "a.tar.gz", "ä.Txt", "b.pdf.txt"]
    assert [name for name in names if not sent([upload(name)], limits).is_valid()] == []


def test_other_extensions_are_rejected() -> None:
    """The name must end with an allowed extension and be longer than it."""
    limits = Limits(extensions=["pdf", "tar.gz"])
    names = ["a.gz", "a", "pdf", ".pdf", "a.pdf.exe", "apdf", "a.pdfx"]
    reason = "this file type is not allowed; allowed file types: .pdf, .tar.gz."
    assert {
        name: messages(sent([upload("fine.pdf"), upload(name)], limits)) for name in names
    } == {name: [f"“{name}”: {reason}"] for name in names}


def test_extensions_must_not_be_a_string() -> None:
    """A string would be read as a list of letters."""
    with pytest.raises(TypeError, match="pass a list such as"):
        Limits(extensions="pdf")


def test_extensions_may_be_an_iterator() -> None:
    """It is read only once, and the limits apply to several forms."""
    limits = Limits(extensions=iter(["pdf"]))
    for _ in range(2):
        assert codes(sent([upload("a.txt")], limits)) == ["extension"]


# -- Names --


def test_names_equal_in_nfc_are_rejected(subtests: pytest.Subtests) -> None:
    """The models store names in NFC, so these names would conflict."""
    for one, other in ("a.txt", "a.txt"), (NFC, NFD), (NFD, NFC):
        with subtests.test(one=one, other=other):
            form = sent([upload(one), upload("other"), upload(other)])
            name = unicodedata.normalize("NFC", one)
            assert messages(form) == [f"Duplicate filename “{name}”: filenames must be unique."]


def test_names_that_differ_in_case_are_accepted() -> None:
    """As in the models. Archives rename them for case-insensitive file systems."""
    assert sent([upload("a.txt"), upload("A.txt")]).is_valid()


def test_cleaned_names_are_in_nfc() -> None:
    """Stored, displayed and compared names have the same form."""
    form = sent([upload(NFD)])
    assert form.is_valid()
    assert [file.name for file in form.cleaned_data["uploads"]] == [NFC]


#: The lines of the table whose names are not empty.
NAMED = [line for line in TABLE if line.name]


def test_hostile_names_are_rejected_or_cleaned(subtests: pytest.Subtests) -> None:
    """The table gives the expected filename. Error messages quote the name safely."""
    for line in NAMED:
        with subtests.test(line.what, name=line.name):
            form = bound_form(
                [ContentFile(b"x", name="fine.txt"), ContentFile(b"x", name=line.name)]
            )
            if line.filename is None:
                (message,) = messages(form)
                assert "is not a valid filename" in message
                assert message.isprintable()
            else:
                assert form.is_valid()
                assert form.cleaned_data["uploads"][1].name == line.filename


def test_hostile_names_in_requests_are_rejected_or_cleaned(subtests: pytest.Subtests) -> None:
    """Django's parser removes folders and unprintable characters. The form validates the rest."""
    for line in NAMED:
        with subtests.test(line.what, name=line.name):
            try:
                form = sent([ContentFile(b"x", name=line.name)])
            except (UnicodeEncodeError, MultiPartParserError):
                continue  # no browser sends it, or Django responds with status 400
            if form.is_valid():
                for file in form.cleaned_data["uploads"]:
                    assert file.name == validate_filename(file.name)
            else:
                assert all(message.isprintable() for message in messages(form))


def test_values_without_a_filename_are_rejected() -> None:
    """A string instead of a file, or a file without a name."""
    for odd in "text", ContentFile(b"nameless"), object():
        assert codes(bound_form([upload("fine"), odd])) == ["filename"]


# -- The request --


def test_incomplete_requests_are_rejected() -> None:
    """Without the field ``end``, files may be missing."""
    files = MultiValueDict({"uploads": [upload("a")]})
    for data in {}, {"end": ""}, {"end": "en"}:
        assert codes(DeliveryForm(data, files)) == ["broken_off"]


def test_incomplete_request_has_no_other_errors() -> None:
    """Other errors may be consequences of the missing part."""
    form = DeliveryForm({}, MultiValueDict({"uploads": []}))
    assert codes(form) == ["broken_off"]


# -- The page --


def test_form_renders_labelled_input_and_end_field() -> None:
    """A label, an input for several files, the limits as help text, and the field ``end``."""
    limits = Limits(max_files=3, max_bytes=1024, extensions=["PDF"])
    page = DeliveryForm(limits=limits).as_div()
    assert '<label for="id_uploads">' in page
    assert 'type="file" name="uploads"' in page
    for attribute in (" multiple", " required", 'accept=".pdf"'):
        assert attribute in page
    assert "At most 3 files of 1.0\xa0KB each, 500.0\xa0MB together." in page
    assert "Allowed file types: .pdf." in page
    assert page.index('name="uploads"') < page.index('type="hidden" name="end" value="end"')


def test_invalid_form_renders_end_field() -> None:
    """Otherwise the form could not be submitted again."""
    assert 'name="end" value="end"' in DeliveryForm({}, {}).as_div()


def test_form_is_multipart() -> None:
    """Templates use this to set the encoding."""
    assert DeliveryForm().is_multipart()


def test_help_text_follows_changed_settings() -> None:
    """Fields are declared at import time, before settings are read."""
    field = FilesField()
    with override_settings(DELIVERY_STORE_UPLOAD_MAX_FILES=7):
        assert "At most 7 files" in str(field.help_text)
    assert str(FilesField(help_text="My own.").help_text) == "My own."


def test_two_forms_with_prefixes_share_a_page() -> None:
    """Each form has its own input and its own ``end`` field."""
    request = RequestFactory().post("/", {"b-uploads": [upload("a")], "b-end": "end"})
    assert DeliveryForm(request.POST, request.FILES, prefix="b").is_valid()
    assert not DeliveryForm(request.POST, request.FILES, prefix="a").is_valid()
