"""What the form of a delivery takes and what it refuses: each file, all files, every name."""

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
    """Return the form of a request that was encoded as a browser does it, and parsed by Django."""
    request = RequestFactory().post("/", {"uploads": list(uploads), **END})
    return DeliveryForm(request.POST, request.FILES, limits=limits)


def given(uploads: Iterable[Any]) -> DeliveryForm:
    """Return the form of uploads that come from anywhere but from Django's parser."""
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


def test_limit_allows_what_is_below_and_at_it_and_refuses_what_is_above(
    subtests: pytest.Subtests,
) -> None:
    """One byte or file more than the limit is one too many, whoever set it."""
    for setting, override, code, sizes in BOUNDS:
        for settings, limits in (setting, None), ({}, override):
            with subtests.test(settings=settings, limits=limits), override_settings(**settings):
                below, at, above = map(sized, sizes)
                assert sent(below, limits).is_valid()
                assert sent(at, limits).is_valid()
                assert codes(sent(above, limits)) == [code]


def test_override_goes_before_the_setting(subtests: pytest.Subtests) -> None:
    """A form may allow more than the settings do, and less."""
    wide = Limits(max_files=100, max_bytes=100, max_total_bytes=1000)
    for setting, override, code, (*_, above) in BOUNDS:
        with subtests.test(setting=setting):
            with override_settings(**setting):
                assert sent(sized(above), wide).is_valid()
            with override_settings(**dict.fromkeys(setting, 100)):
                assert codes(sent(sized(above), override)) == [code]


def test_limits_of_a_class_hold_for_its_forms_and_an_argument_goes_before_them() -> None:
    """Neither changes the forms that have limits of their own, or none."""

    class EssayForm(DeliveryForm):
        limits = Limits(max_files=1)

    files = MultiValueDict({"uploads": sized([1, 1])})
    assert codes(EssayForm(END, files)) == ["max_files"]
    assert EssayForm(END, files, limits=Limits(max_files=2)).is_valid()
    assert codes(EssayForm(END, files)) == ["max_files"]
    assert DeliveryForm(END, files).is_valid()


def test_limits_of_a_field_that_was_declared_anew_hold_too() -> None:
    """Unless the form has others, which then hold alone."""

    class EssayForm(DeliveryForm):
        uploads = FilesField(limits=Limits(max_files=1, extensions=["txt"]))

    files = MultiValueDict({"uploads": sized([1, 1])})
    assert codes(EssayForm(END, files)) == ["max_files"]
    assert 'accept=".txt"' in EssayForm().as_div()
    wider = Limits(max_files=2)
    assert EssayForm(END, files, limits=wider).is_valid()
    assert "accept" not in EssayForm(limits=wider).as_div()


def test_limits_that_nobody_set_are_those_of_the_settings_page() -> None:
    """100 files, 100 MiB each, 500 MiB together."""
    limits = Limits()
    assert (limits.most_files, limits.most_bytes) == (100, 100 * 1024**2)
    assert limits.most_total_bytes == 500 * 1024**2


@override_settings(DELIVERY_STORE_UPLOAD_MAX_BYTES=2048)
def test_errors_tell_the_sizes_even_where_rounding_makes_them_equal() -> None:
    """``2.0 KB`` of at most ``2.0 KB`` would help nobody."""
    assert messages(sent([upload("a", 2049)])) == [
        "“a”: it has 2049 bytes, at most 2048 bytes are allowed."
    ]
    (message,) = messages(sent([upload("b", 5000)]))
    assert message.replace("\xa0", " ") == "“b”: it has 4.9 KB, at most 2.0 KB are allowed."


@override_settings(DELIVERY_STORE_UPLOAD_MAX_BYTES=3)
def test_every_file_is_validated_wherever_it_stands(subtests: pytest.Subtests) -> None:
    """Not only the last one, as in CVE-2023-31047: one bad file refuses all, by its name."""
    for bad in range(3):
        with subtests.test(bad=bad):
            form = sent(upload(f"{number}.txt", 4 if number == bad else 3) for number in range(3))
            assert not form.is_valid()
            assert [message.partition(":")[0] for message in messages(form)] == [f"“{bad}.txt”"]


def test_validators_of_the_field_see_every_file() -> None:
    """A scanner of a site's own, say; its words are told with the name of the file."""

    def refuse_viruses(file: Any) -> None:
        if file.read() == b"virus":
            raise ValidationError("has a virus")

    field = FilesField(validators=[refuse_viruses])
    bad = [SimpleUploadedFile(name, b"virus") for name in ("a", "c")]
    with pytest.raises(ValidationError) as raised:
        field.clean([bad[0], upload("b"), bad[1]])
    assert raised.value.messages == ["“a”: has a virus", "“c”: has a virus"]


def test_all_faults_of_all_files_are_told_at_once() -> None:
    """Nobody has to send files again for each."""
    limits = Limits(max_files=2, max_bytes=3, max_total_bytes=4, extensions=["txt"])
    form = sent([upload("a.exe", 4), upload("b.txt"), upload("c", 1)], limits)
    assert codes(form) == ["max_bytes", "extension", "extension", "max_files", "max_total_bytes"]


def test_no_file_is_refused() -> None:
    """A delivery of nothing is none."""
    assert codes(sent([])) == ["required"]


def test_empty_files_are_files_unless_the_limits_say_otherwise() -> None:
    """An empty ``__init__.py`` is a part of what students deliver."""
    allowed, refused = (
        sent([upload("__init__.py", 0), upload("a.py")], Limits(allow_empty=allow))
        for allow in (True, False)
    )
    assert allowed.is_valid()
    assert messages(refused) == ["“__init__.py”: it is empty."]


# -- Extensions --


def test_extension_of_the_list_is_allowed_in_any_case() -> None:
    """With a dot in the list or without, in capitals or not."""
    limits = Limits(extensions=["pdf", ".txt", "TAR.gz"])
    names = ["a.pdf", "A.PDF", "a.b.pdf", "a.tar.gz", "ä.Txt", "b.pdf.txt"]
    assert [name for name in names if not sent([upload(name)], limits).is_valid()] == []


def test_other_extension_is_refused_by_the_name_of_the_file() -> None:
    """The name has to end with one of them, after something else."""
    limits = Limits(extensions=["pdf", "tar.gz"])
    names = ["a.gz", "a", "pdf", ".pdf", "a.pdf.exe", "apdf", "a.pdfx"]
    said = {name: messages(sent([upload("fine.pdf"), upload(name)], limits)) for name in names}
    assert said == {
        name: [f"“{name}”: its name may end only with .pdf, .tar.gz."] for name in names
    }


def test_one_text_is_no_list_of_extensions() -> None:
    """It would be a list of letters."""
    with pytest.raises(TypeError, match="give a list, such as"):
        Limits(extensions="pdf")


def test_extensions_of_an_iterator_hold_for_the_second_form_too() -> None:
    """What can be read once is read once."""
    limits = Limits(extensions=iter(["pdf"]))
    for _ in range(2):
        assert codes(sent([upload("a.txt")], limits)) == ["extension"]


# -- Names --


def test_names_that_are_one_in_nfc_are_refused(subtests: pytest.Subtests) -> None:
    """The model's names are in NFC, so these would clash there."""
    for one, other in ("a.txt", "a.txt"), (NFC, NFD), (NFD, NFC):
        with subtests.test(one=one, other=other):
            form = sent([upload(one), upload("other"), upload(other)])
            name = unicodedata.normalize("NFC", one)
            assert messages(form) == [f"“{name}” is there 2 times: names must differ."]


def test_names_that_differ_in_case_are_two() -> None:
    """As in the model; archives make them differ on systems that fold case."""
    assert sent([upload("a.txt"), upload("A.txt")]).is_valid()


def test_cleaned_names_are_in_nfc() -> None:
    """What is stored, shown and compared is one form."""
    form = sent([upload(NFD)])
    assert form.is_valid()
    assert [file.name for file in form.cleaned_data["uploads"]] == [NFC]


#: The lines of the table whose names have something in them.
NAMED = [line for line in TABLE if line.name]


def test_hostile_name_is_refused_by_name_or_becomes_what_the_table_says(
    subtests: pytest.Subtests,
) -> None:
    """However an upload gets here; what is refused is quoted so that it does nothing."""
    for line in NAMED:
        with subtests.test(line.what, name=line.name):
            form = given([ContentFile(b"x", name="fine.txt"), ContentFile(b"x", name=line.name)])
            if line.filename is None:
                (message,) = messages(form)
                assert "is not a valid filename" in message
                assert message.isprintable()
            else:
                assert form.is_valid()
                assert form.cleaned_data["uploads"][1].name == line.filename


def test_hostile_name_in_a_request_is_refused_or_becomes_a_valid_filename(
    subtests: pytest.Subtests,
) -> None:
    """Django's parser drops folders and what cannot be printed; what it leaves is judged here."""
    for line in NAMED:
        with subtests.test(line.what, name=line.name):
            try:
                form = sent([ContentFile(b"x", name=line.name)])
            except (UnicodeEncodeError, MultiPartParserError):
                continue  # no browser sends it, or Django answers 400
            if form.is_valid():
                for file in form.cleaned_data["uploads"]:
                    assert file.name == validate_filename(file.name)
            else:
                assert all(message.isprintable() for message in messages(form))


def test_what_is_no_named_upload_is_refused() -> None:
    """A string where a file should be, or a file without a name."""
    for odd in "text", ContentFile(b"nameless"), object():
        assert codes(given([upload("fine"), odd])) == ["filename"]


# -- The request --


def test_request_that_broke_off_is_refused_whatever_arrived() -> None:
    """Without its end nobody knows whether all files are there."""
    files = MultiValueDict({"uploads": [upload("a")]})
    for data in {}, {"end": ""}, {"end": "en"}:
        assert codes(DeliveryForm(data, files)) == ["broken_off"]


def test_form_tells_only_that_it_broke_off() -> None:
    """That files are missing or too large may be a consequence."""
    form = DeliveryForm({}, MultiValueDict({"uploads": []}))
    assert codes(form) == ["broken_off"]


# -- The page --


def test_page_has_a_labelled_input_for_many_files_and_the_mark_of_the_end_after_it() -> None:
    """A label, several files, the limits as help, and the hidden mark behind."""
    limits = Limits(max_files=3, max_bytes=1024, extensions=["PDF"])
    page = DeliveryForm(limits=limits).as_div()
    assert '<label for="id_uploads">' in page
    assert 'type="file" name="uploads"' in page
    for attribute in (" multiple", " required", 'accept=".pdf"'):
        assert attribute in page
    assert "At most 3 files of 1.0\xa0KB each, 500.0\xa0MB together." in page
    assert "Their names end with .pdf." in page
    assert page.index('name="uploads"') < page.index('type="hidden" name="end" value="end"')


def test_page_of_a_refused_form_has_the_mark_again() -> None:
    """Else it would refuse whatever is sent next."""
    assert 'name="end" value="end"' in DeliveryForm({}, {}).as_div()


def test_form_is_sent_as_multipart() -> None:
    """A template that asks gets the encoding that files need."""
    assert DeliveryForm().is_multipart()


def test_help_follows_the_settings_until_it_is_shown() -> None:
    """A field that was declared when the module was imported knows no settings yet."""
    field = FilesField()
    with override_settings(DELIVERY_STORE_UPLOAD_MAX_FILES=7):
        assert "At most 7 files" in str(field.help_text)
    assert str(FilesField(help_text="My own.").help_text) == "My own."


def test_prefix_lets_two_forms_share_a_page() -> None:
    """Each has its own input and its own mark."""
    request = RequestFactory().post("/", {"b-uploads": [upload("a")], "b-end": "end"})
    assert DeliveryForm(request.POST, request.FILES, prefix="b").is_valid()
    assert not DeliveryForm(request.POST, request.FILES, prefix="a").is_valid()
