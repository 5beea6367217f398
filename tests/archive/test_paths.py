"""Paths in archives stay within their folder on every system."""

from __future__ import annotations

import unicodedata

from hypothesis import given

from devilry_storage.archive.paths import FILE_BYTES, ArchivePaths, clean

from . import folding

CLEANED = [
    ("課題\uff0edocx", "課題.docx"),
    ("\uff0e\uff0e\uff0fetc", ".._etc"),
    ("\u2025\u2215etc", ".._etc"),
    ("\u2024\u2024", "file"),
    ("Essay\u2026", "Essay"),
    ("Essay\u2026 2.txt", "Essay... 2.txt"),
    ("\ufe52\ufe52\uff3cetc", ".._etc"),
    ("C\uff1aevil", "C_evil"),
    ("C\ufe55evil", "C_evil"),
    ("..\u29f8etc", ".._etc"),
    ("..\u00a5etc", ".._etc"),
    ("..\uffe5etc", ".._etc"),
    ("1\u00bd.txt", "11_2.txt"),
    ("\u2100.txt", "a_c.txt"),
    ("..\u2003.", "file"),
    ("a.\u3000.", "a"),
    ("\uff23\uff2f\uff2e", "_\uff23\uff2f\uff2e"),
    ("con\uff0etxt", "_con.txt"),
    ("Šimon ß é.txt", "Šimon ß é.txt"),
    ("a.Damaged", "a.Damaged_"),
    ("a\uff0e\uff24\uff21\uff2d\uff21\uff27\uff25\uff24", "a.ＤＡＭＡＧＥＤ_"),
]


def test_characters_that_some_system_converts_are_replaced() -> None:
    assert [clean(name, FILE_BYTES, "file") for name, _cleaned in CLEANED] == [
        cleaned for _name, cleaned in CLEANED
    ]


def test_no_hostile_character_is_left() -> None:
    """No system makes a separator, colon or parent folder of it."""
    for character in folding.HOSTILE + folding.LOOK_ALIKES:
        path = ArchivePaths([]).add_file([(1, f"..{character}x")], f"..{character}..{character}x")
        assert folding.leaves(path) == [], ascii(character)
        assert not set(path) & set(folding.LOOK_ALIKES)


def test_no_character_becomes_a_separator() -> None:
    """Of all that Unicode has."""
    found = []
    for code in range(0x110000):
        character = chr(code)
        folded = unicodedata.normalize("NFKC", character)
        if folded != character and set(folded) & set('./\\:;<>"|?*'):
            path = clean(f"a{character}b", FILE_BYTES, "file")
            if set(unicodedata.normalize("NFKC", path)) & set('/\\:;<>"|?*'):
                found.append(character)
    assert found == []


@given(folding.names, folding.names)
def test_paths_stay_in_their_folder_on_every_system(folder: str, name: str) -> None:
    """After Unicode's normal forms and the best-fit tables of Windows' code pages."""
    path = ArchivePaths([]).add_file([(1, folder), (2, "1")], name)
    assert len(path.split("/")) == 3
    assert folding.leaves(path) == []
