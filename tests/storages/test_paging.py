"""The order and the tokens of a folder's pages."""

from __future__ import annotations

from django.core.files.base import ContentFile

from devilry_storage.storages.paging import page_of, position
from devilry_storage.testing import MemoryDeliveryStore


def test_numbers_are_sorted_by_value_before_names() -> None:
    """Only numbers as a layout writes them: "017" and other scripts are names."""
    expected = ["0", "2", "10", "200", "017", "1a", "a", "٣"]
    positions = [position(leaf, is_file=True) for leaf in reversed(expected)]
    shown, following = page_of(positions, lambda item: item, "", 100)
    assert [item.leaf for item in shown] == expected
    assert following == ""


def test_file_and_folder_of_one_name_are_two_entries() -> None:
    """A store of objects may have both, so their tokens differ."""
    store = MemoryDeliveryStore()
    for name in ("a/b", "a/b/c"):
        store.save(name, ContentFile(b"data"))
    first = store.page("a", limit=1)
    second = store.page("a", after=first.next_token, limit=1)
    assert (first.folders, first.files) == (["a/b"], [])
    assert (second.folders, [file.name for file in second.files]) == ([], ["a/b"])
    assert second.next_token == ""


def test_token_of_any_name_is_ascii_and_continues_after_it() -> None:
    """Names on a disk need not be Unicode, and may look like tokens."""
    leaves = sorted(["%41", "a b", "a+", "é", "\udcff"])
    positions = [position(leaf, is_file=True) for leaf in leaves]
    seen, after = [], ""
    for _ in leaves:
        shown, after = page_of(positions, lambda item: item, after, 1)
        after.encode("ascii")
        seen += [item.leaf for item in shown]
    assert seen == leaves
    assert after == ""
