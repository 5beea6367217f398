"""Promise 2: stored files are never overwritten; a taken name leads to an alternative name."""

from __future__ import annotations

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile

from .._support.case import DeliveryStoreCase
from ..filemeta import PlainFileMeta

REJECTED_MODES = (
    *("a", "ab", "at", "x", "xb", "r+", "rb+", "r+b", "w+", "wb+", "w+b", "a+", "bw", "br"),
    *("", "b", "t", "rw", "U", "rU", "R", "W", "wbt"),
)


class NeverOverwrittenCases(DeliveryStoreCase):
    """Writers of one name, one after the other."""

    def test_taken_name_leads_to_an_alternative_name(self) -> None:
        """Promise 2: saving under a taken name stores under an alternative name and returns it."""
        first = self.save("folder/name.txt", b"first")
        second = self.save("folder/name.txt", b"second")
        self.assertNotEqual(first, second)
        self.assert_stored(first, b"first")
        self.assert_stored(second, b"second")

    def test_alternative_name_stays_in_the_folder(self) -> None:
        """Promise 2: an alternative name keeps the folder, the beginning and the extension."""
        self.save("folder/name.txt")
        alternative = self.save("folder/name.txt")
        self.assertTrue(alternative.startswith("folder/name"), alternative)
        self.assertTrue(alternative.endswith(".txt"), alternative)

    def test_alternative_name_of_a_key_is_a_key(self) -> None:
        """Promise 2: the layout parses an alternative name of a key as that key."""
        self.save(self.key(1005, 17), b"first")
        alternative = self.save(self.key(1005, 17), b"second")
        self.assertNotEqual(alternative, self.key(1005, 17))
        self.assertEqual(self.store.layout.parse(alternative), (1005, 17))
        self.assert_stored(self.key(1005, 17), b"first")

    def test_twenty_saves_of_one_name(self) -> None:
        """Promise 2: twenty files that are saved under one name get twenty names."""
        names = [self.save("name.txt", b"%d" % number) for number in range(20)]
        self.assertEqual(len(set(names)), 20)
        for number, name in enumerate(names):
            self.assert_stored(name, b"%d" % number)

    def test_empty_file_keeps_its_name(self) -> None:
        """Promise 2: an empty file is not overwritten either."""
        first = self.save("empty.txt", b"")
        self.assertNotEqual(self.save("empty.txt", b"not empty"), first)
        self.assert_stored(first, b"")

    def test_alternative_name_respects_max_length(self) -> None:
        """Promise 2: an alternative name is at most max_length characters long."""
        name = "folder/" + "n" * 50 + ".txt"
        self.assertEqual(self.save(name, b"first"), name)
        alternative = self.store.save(name, ContentFile(b"second"), max_length=len(name))
        self.assertLessEqual(len(alternative), len(name))
        self.assert_stored(name, b"first")
        self.assert_stored(alternative, b"second")

    def test_too_long_name_is_shortened(self) -> None:
        """Promise 2: a free name longer than max_length is shortened and keeps its extension."""
        name = self.store.save("n" * 120 + ".txt", ContentFile(b"data"), max_length=100)
        self.assertLessEqual(len(name), 100)
        self.assertTrue(name.endswith(".txt"), name)
        self.assert_stored(name, b"data")

    def test_names_one_character_too_long_are_shortened(self) -> None:
        """Promise 2: names and alternative names one character over max_length are shortened."""
        name = "folder/" + "n" * 50 + ".txt"
        shortened = self.store.save(name, ContentFile(b"first"), max_length=len(name) - 1)
        self.assertLessEqual(len(shortened), len(name) - 1)
        self.assert_stored(shortened, b"first")
        taken = self.save("folder/name.txt", b"second")
        room = len(self.store.get_alternative_name("folder/name", ".txt")) - 1
        alternative = self.store.save(taken, ContentFile(b"third"), max_length=room)
        self.assertLessEqual(len(alternative), room)
        self.assert_stored(taken, b"second")
        self.assert_stored(alternative, b"third")

    def test_name_that_cannot_be_shortened_is_rejected(self) -> None:
        """Promise 2: a max_length that leaves no room for a name is an error."""
        with self.assert_unchanged(), self.assertRaises(SuspiciousFileOperation):
            self.store.save("folder/name.txt", ContentFile(b"data"), max_length=10)

    def test_name_of_exactly_max_length_is_kept(self) -> None:
        """Promise 2: a free name of exactly max_length characters is used unchanged."""
        name = self.store.save("folder/name.txt", ContentFile(b"data"), max_length=15)
        self.assertEqual(name, "folder/name.txt")

    def test_taken_alternative_names_are_skipped(self) -> None:
        """Promise 2: an alternative name that is taken is not overwritten either."""
        taken = [self.save(f"name{number}.txt", b"taken") for number in ("", 1, 2)]
        alternatives = iter(["name1.txt", "name2.txt", "name3.txt"])
        self.store.get_alternative_name = (  # type: ignore[method-assign]
            lambda file_root, file_ext: next(alternatives)
        )
        name = self.save("name.txt", b"new")
        self.assertEqual(name, "name3.txt")
        for old in taken:
            self.assert_stored(old, b"taken")

    def test_save_gives_up_if_every_alternative_is_taken(self) -> None:
        """Promise 2: a get_alternative_name() that always returns a taken name is an error."""
        calls = []

        def stubborn(file_root: str, file_ext: str) -> str:
            calls.append(file_root)
            if len(calls) > 10_000:
                self.fail("get_alternative_name() was called 10,000 times")
            return "name.txt"

        self.save("name.txt", b"first")
        self.store.get_alternative_name = stubborn  # type: ignore[method-assign]
        with self.assert_unchanged(), self.assertRaises((FileExistsError, ValueError)):
            self.save("name.txt", b"second")

    def test_available_name_that_is_taken_overwrites_nothing(self) -> None:
        """Promise 2: a get_available_name() that returns a taken name overwrites nothing."""
        calls = []

        def careless(name: str, max_length: int | None = None) -> str:
            calls.append(name)
            if len(calls) > 10_000:
                self.fail("get_available_name() was called 10,000 times")
            return name

        first = self.save("name.txt", b"first")
        self.store.get_available_name = careless  # type: ignore[method-assign]
        try:
            second = self.save("name.txt", b"second")
        except FileExistsError:
            second = None
        self.assertNotEqual(first, second)
        self.assert_stored(first, b"first")

    def test_available_name_is_asked(self) -> None:
        """Promise 2: save() uses the name from an overridden get_available_name()."""
        numbers = iter(range(10))
        self.store.get_available_name = (  # type: ignore[method-assign]
            lambda name, max_length=None: f"folder/{next(numbers)}.txt"
        )
        taken = [self.save("name.txt", b"%d" % number) for number in range(3)]
        self.assertEqual(taken, ["folder/0.txt", "folder/1.txt", "folder/2.txt"])
        numbers = iter((1, 2, 3))
        self.assertEqual(self.save("name.txt", b"new"), "folder/3.txt")
        for number, name in enumerate(taken):
            self.assert_stored(name, b"%d" % number)

    def test_open_rejects_writing_to_keys(self) -> None:
        """Promise 2: open() rejects writing to a key, taken or free."""
        filemeta = self.stored(b"delivered")
        with self.assert_unchanged():
            for name in (str(filemeta.content), self.key(2, 2), self.key(1, 1) + "_abcDEF7"):
                for mode in ("wb", "w", "wt"):
                    with self.assertRaises(ValueError):
                        self.store.open(name, mode)

    def test_open_rejects_other_modes(self) -> None:
        """Promise 2: open() rejects modes that append, update or create, for every name."""
        taken = self.save("name.txt", b"data")
        key = str(self.stored(b"delivered").content)
        with self.assert_unchanged():
            for mode in REJECTED_MODES:
                for name in (taken, key, "free.txt"):
                    with self.assertRaises(ValueError, msg=f"mode {mode!r} of {name!r}"):
                        self.store.open(name, mode)

    def test_new_content_gets_a_new_name(self) -> None:
        """Promise 2: writing a stored FileMeta again never reuses the name of its old bytes."""
        filemeta = self.stored(b"old")
        names = {filemeta.content}
        for number in range(5):
            with self.store.write_open(filemeta) as writer:
                writer.write(b"new %d" % number)
            self.assertNotIn(filemeta.content, names)
            names.add(filemeta.content)
            self.assert_stored(str(filemeta.content), b"new %d" % number)

    def test_old_content_is_readable_until_new_is_recorded(self) -> None:
        """Promise 2: the old bytes can be read until the new ones are recorded."""
        seen = []

        class Watching(PlainFileMeta):
            def record_stored(self, name: str, size: int, sha256: str) -> None:
                with self.store.read_open(self) as file:
                    seen.append(file.read())
                super().record_stored(name, size, sha256)

        filemeta = Watching(self.store, 1, 1, self.stored(b"old").content)
        with self.store.write_open(filemeta) as writer:
            writer.write(b"new")
        self.assertEqual(seen, [b"old"])

    def test_write_does_not_overwrite_an_orphan(self) -> None:
        """Promise 2: write_open() does not overwrite an orphan; it stores under another name."""
        orphan = self.save(self.key(3, 3), b"orphan")
        filemeta = self.stored(b"new", 3, 3)
        self.assert_stored(orphan, b"orphan")
        self.assertNotEqual(filemeta.content, orphan)
        self.assertEqual(self.store.layout.parse(str(filemeta.content)), (3, 3))

    def test_copy_does_not_overwrite_an_orphan(self) -> None:
        """Promise 2: copy() does not overwrite an orphan; it stores under another name."""
        orphan = self.save(self.key(3, 3), b"orphan")
        target = self.filemeta(3, 3)
        self.store.copy(self.stored(b"copied"), target)
        self.assert_stored(orphan, b"orphan")
        self.assert_stored(str(target.content), b"copied")

    def test_name_of_a_tombstone_is_not_used(self) -> None:
        """Promise 2: a name that record_stored() rejects, such as a tombstone's, is not used."""
        reserved = self.key(4, 4)

        class Reserved(PlainFileMeta):
            def record_stored(self, name: str, size: int, sha256: str) -> None:
                if name == reserved:
                    raise FileExistsError(f"{name!r} belongs to a deleted file.")
                super().record_stored(name, size, sha256)

        filemeta = Reserved(self.store, 4, 4)
        with self.store.write_open(filemeta) as writer:
            writer.write(b"new")
        self.assertNotEqual(filemeta.content, reserved)
        self.assert_stored(str(filemeta.content), b"new")
