"""Validation of storage names and filenames. `test_hostile_names` has a longer table."""

from __future__ import annotations

import itertools
import os
import pathlib
import unicodedata
import uuid
from typing import Any

import pytest
from django.core.exceptions import SuspiciousFileOperation, SuspiciousOperation
from django.utils.safestring import SafeString
from hypothesis import example, given
from hypothesis import strategies as st

from devilry_storage.exceptions import InvalidFilename, InvalidName
from devilry_storage.layout import FlatLayout, HierLayout
from devilry_storage.names import RESERVED, validate_filename, validate_storage_name

hostile_text = st.text(
    st.one_of(
        st.sampled_from("./\\ab~ \0\n\r\t\x7f\x85\u200b\u202e\u2028%:-_０．／"),
        st.characters(),
        st.characters(categories=["Cs"]),
    ),
    max_size=20,
)


def storage_name_or_none(name: str) -> str | None:
    try:
        return validate_storage_name(name)
    except InvalidName:
        return None


def filename_or_none(name: str) -> str | None:
    try:
        return validate_filename(name)
    except InvalidFilename:
        return None


# -- Storage names --


def test_ordinary_relative_names_are_valid() -> None:
    """A delivery store can also be the default storage of a site."""
    names = [
        "a",
        "a.txt",
        "avatars/me.png",
        "0/1/1005/17",
        "a b/ö 日本語 😀.txt",
        "..a/b..",
        "a:b",
    ]
    assert [storage_name_or_none(name) for name in names] == names


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.sampled_from([2, 10, 1000, 10**9]))
def test_keys_are_valid_storage_names(delivery: int, filemeta: int, interval: int) -> None:
    """For every layout."""
    for layout in HierLayout(interval), FlatLayout():
        key = layout.key(delivery, filemeta)
        assert validate_storage_name(key) == key


@given(hostile_text)
@example("a\n")
@example("a/..")
@example("../a")
def test_valid_storage_names_stay_inside_the_root(name: str) -> None:
    """A valid name refers to one file below the root, on disk and in every encoding."""
    if storage_name_or_none(name) is None:
        return
    assert os.path.normpath(f"/root/{name}") == f"/root/{name}"
    assert pathlib.PurePosixPath("/root", name).parts == ("/", "root", *name.split("/"))
    assert not set(name) & {"\\", "\0", "\n", "\r"}
    assert name.encode().decode() == name


@given(hostile_text)
def test_storage_names_are_returned_unchanged(name: str) -> None:
    """Names are rejected or unchanged, but never cleaned."""
    assert storage_name_or_none(name) in {name, None}


REASONS = [
    ("", "it is empty"),
    ("/a", "it is absolute"),
    ("a\\b", "it contains a backslash"),
    ("a\0", "it contains a control character"),
    ("a\ud800", "it is not valid Unicode"),
    ("a/../b", "'..' would lead out of the store"),
    ("a//b", "it has a part that is empty or '.'"),
    ("./b", "it has a part that is empty or '.'"),
    (".devilry-storage/tmp/x", "names that begin with '.devilry-storage' are the store's own"),
]


def test_error_has_name_reason_and_remedy(subtests: pytest.Subtests) -> None:
    """The name is quoted and escaped."""
    for name, reason in REASONS:
        with subtests.test(name=name):
            with pytest.raises(InvalidName) as caught:
                validate_storage_name(name)
            assert str(caught.value) == (
                f"{name!a} is not a valid storage name: {reason}. "
                "Use a relative name such as 'folder/file.txt'."
            )


def test_invalid_name_is_a_django_and_a_python_exception() -> None:
    """Callers can handle Django's exception (status 400) or Python's."""
    assert issubclass(InvalidName, SuspiciousFileOperation)
    assert issubclass(InvalidName, SuspiciousOperation)
    assert issubclass(InvalidName, ValueError)
    assert issubclass(InvalidFilename, ValueError)
    assert not issubclass(InvalidFilename, SuspiciousOperation)


def test_error_for_long_name_is_short() -> None:
    """A megabyte of user input does not fill the log."""
    names = ["../" + "x" * 10**6, "\x00" * 10**6]
    for name, validate in itertools.product(names, (validate_storage_name, validate_filename)):
        with pytest.raises(ValueError, match="is not a valid") as caught:
            validate(name)
        assert len(str(caught.value)) < 400


NOT_STR: list[Any] = [
    None,
    b"a",
    b"../a",
    bytearray(b"a"),
    17,
    1.5,
    True,
    ("a",),
    uuid.UUID(int=5),
]


@pytest.mark.filterwarnings("ignore::BytesWarning")
def test_values_other_than_str_are_rejected(subtests: pytest.Subtests) -> None:
    """None must not become a file named "None", nor bytes one named "b'a'"."""
    for name in NOT_STR:
        with subtests.test(name=name):
            message = f"it is a {type(name).__name__}, not text"
            with pytest.raises(InvalidName, match=message):
                validate_storage_name(name)
            with pytest.raises(InvalidFilename, match=message):
                validate_filename(name)


def test_path_objects_are_accepted() -> None:
    """As by Django's storages. They are validated like text and returned as str."""
    name = validate_storage_name(pathlib.PurePosixPath("a/b.txt"))
    assert (name, type(name)) == ("a/b.txt", str)
    with pytest.raises(InvalidName):
        validate_storage_name(pathlib.PurePosixPath("/etc/passwd"))
    with pytest.raises(InvalidName):
        validate_storage_name(pathlib.PurePosixPath("../a"))
    with pytest.raises(InvalidName):
        validate_storage_name(pathlib.PureWindowsPath("a/b"))


class MisleadingStr(str):
    """A str whose methods contradict its value."""

    __slots__ = ()

    def __str__(self) -> str:
        return "harmless"

    def split(self, *args: Any) -> list[str]:
        return ["harmless"]

    def startswith(self, *args: Any) -> bool:
        return False

    def __contains__(self, item: object) -> bool:
        return False


def test_subclasses_of_str_are_validated_by_value() -> None:
    """Overridden methods do not affect validation."""
    names = [MisleadingStr(text) for text in ("../x", "/x", "a\\b", "", "a/../x")]
    assert [name for name in names if storage_name_or_none(name) is not None] == []
    assert [name for name in names if filename_or_none(name) is not None] == []


def test_subclasses_of_str_are_returned_as_str() -> None:
    """Such as SafeString of Django's templates."""
    for result in (
        validate_storage_name(SafeString("a/b")),
        validate_storage_name(MisleadingStr("a/b")),
        validate_filename(SafeString("b")),
        validate_filename(MisleadingStr("b")),
    ):
        assert type(result) is str
        assert result in {"a/b", "b"}


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["", "\u200c", "\ufe0f", "\u00ad"]))))
def test_all_spellings_of_the_reserved_name_are_rejected(changes: list[tuple[bool, str]]) -> None:
    """Some file systems ignore case and invisible characters."""
    spelled = "".join(
        (character.upper() if upper else character) + invisible
        for character, (upper, invisible) in zip(
            RESERVED, [*changes, *[(False, "")] * len(RESERVED)], strict=False
        )
    )
    for name in spelled, f"{spelled}/tmp/x", f"{spelled}-of-mine/x":
        with pytest.raises(InvalidName, match="the store's own"):
            validate_storage_name(name)
    assert validate_storage_name(f"a/{spelled}") == f"a/{spelled}"


# -- Filenames --


def test_ordinary_filenames_are_valid() -> None:
    """Students may choose any harmless name."""
    names = ["a", "a.txt", "Oblig 1 (ferdig).pdf", "ö 日本語 😀.txt", "-rf", ".bashrc", "a" * 255]
    assert [filename_or_none(name) for name in names] == names


def test_filenames_are_normalized_to_nfc() -> None:
    """A name typed on macOS equals the same name typed elsewhere."""
    assert validate_filename("e\u0301.txt") == validate_filename("\u00e9.txt") == "\u00e9.txt"


def test_filename_length_is_counted_in_nfc() -> None:
    """The normalized name must fit into the column."""
    assert validate_filename("e\u0301" * 255) == "\u00e9" * 255
    with pytest.raises(InvalidFilename, match="it has 256 characters, at most 255 are allowed"):
        validate_filename("e\u0301" * 256)
    with pytest.raises(InvalidFilename, match="it has 256 characters"):
        validate_filename("\u0958" * 128)  # two characters each in NFC


@given(hostile_text)
@example("\u1fef")
@example("e\u0301")
def test_valid_filenames_are_safe_for_downloads(filename: str) -> None:
    """They are in NFC, fit into the column, have no separators, and are returned unchanged."""
    result = filename_or_none(filename)
    if result is None:
        return
    assert result == unicodedata.normalize("NFC", filename) == validate_filename(result)
    assert 0 < len(result) <= 255
    assert os.path.basename(result) == result
    assert not any(unicodedata.category(character) in {"Cc", "Cs"} for character in result)
    assert not any(
        unicodedata.bidirectional(character) in {"LRE", "RLE", "LRO", "RLO", "PDF"}
        or unicodedata.bidirectional(character) in {"LRI", "RLI", "FSI", "PDI"}
        for character in result
    )


FILENAME_REASONS = [
    ("", "it is empty"),
    (" \u200b", "it is empty"),
    ("a" * 256, "it has 256 characters, at most 255 are allowed"),
    ("a/b", "it contains a slash or a backslash"),
    ("a\\b", "it contains a slash or a backslash"),
    ("..", "it has only dots and spaces"),
    (". .", "it has only dots and spaces"),
    ("a\r\nb", "it contains a control character"),
    ("\u202egpj.exe", "it contains a character that changes the direction of text"),
    ("\ud83d", "it is not valid Unicode"),
]


def test_error_for_filename_has_name_reason_and_remedy(subtests: pytest.Subtests) -> None:
    """Students see this message."""
    for filename, reason in FILENAME_REASONS:
        with subtests.test(filename=filename):
            with pytest.raises(InvalidFilename) as caught:
                validate_filename(filename)
            message = str(caught.value)
            assert f" is not a valid filename: {reason}. " in message

            assert message.startswith(f"{filename!r}"[:200])
            assert message.endswith("Rename the file.")
            assert message.isprintable()


def test_error_for_filename_quotes_the_name_in_its_own_script() -> None:
    """Invisible characters are escaped."""
    with pytest.raises(InvalidFilename, match=r"'blåbær/Ωμέγα\\u200b' is not"):
        validate_filename("blåbær/Ωμέγα\u200b")
