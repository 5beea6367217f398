"""The order of a folder's pages, and the tokens by which they go on."""

from __future__ import annotations

from django.core.files.base import ContentFile

from devilry_storage.storages import MemoryDeliveryStore
from devilry_storage.storages.paging import page_of, position


def test_numbers_come_by_value_and_before_names() -> None:
    """Only what a layout writes is a number: no other spelling, no other script."""
    expected = ["0", "2", "10", "200", "017", "1a", "a", "٣"]
    positions = [position(leaf, is_file=True) for leaf in reversed(expected)]
    shown, following = page_of(positions, lambda each: each, "", 100)
    assert [each.leaf for each in shown] == expected
    assert following == ""


def test_file_named_as_a_folder_is_on_a_page_of_its_own() -> None:
    """A store of objects may have both; the token of the one is not that of the other."""
    store = MemoryDeliveryStore()
    for name in ("a/b", "a/b/c"):
        store.save(name, ContentFile(b"data"))
    first = store.page("a", limit=1)
    second = store.page("a", after=first.next_token, limit=1)
    assert (first.folders, first.files) == (["a/b"], [])
    assert (second.folders, [file.name for file in second.files]) == ([], ["a/b"])
    assert second.next_token == ""


def test_token_of_any_name_goes_on_after_it() -> None:
    """Names on a disk need not be Unicode, and may look like tokens."""
    leaves = sorted(["%41", "a b", "a+", "é", "\udcff"])
    positions = [position(leaf, is_file=True) for leaf in leaves]
    seen, after = [], ""
    for _ in leaves:
        shown, after = page_of(positions, lambda each: each, after, 1)
        after.encode("ascii")
        seen += [each.leaf for each in shown]
    assert seen == leaves
    assert after == ""
