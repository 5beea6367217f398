"""Promise 2 with concurrent writers: exactly one writer gets a name, the others alternative names.

The slow writer's content starts the fast writer halfway. By then a store that checks first whether
a name is free has made its check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.uploadedfile import TemporaryUploadedFile

from .._support.case import needs, on_disk
from .._support.disk import DiskCase, Meeting, in_processes
from .._support.rivals import Rival, in_threads
from .._support.sources import scripted
from ..filemeta import PlainFileMeta


class ConcurrentWriterCases(DiskCase):
    """Concurrent writers of one name, or in one folder."""

    #: How often two processes save under the same name.
    rounds = 25

    def assert_all_stored(self, names: dict[bytes, str]) -> None:
        """Assert that all names differ and that each file has its writer's bytes."""
        self.assertEqual(len(set(names.values())), len(names), names)
        for data, name in names.items():
            self.assert_stored(name, data)

    def assert_not_overwritten(self, name: str) -> None:
        """Save under a name that another writer takes during the save."""
        rival = Rival(lambda: self.save(name, b"fast"))
        slow = self.store.save(name, scripted(b"sl", rival.run, b"ow"))
        self.assert_all_stored({b"slow": slow, b"fast": rival.result()})

    @needs("atomic_create")
    def test_name_taken_during_a_save(self) -> None:
        """Promise 2: a name that another writer takes during a save is not overwritten."""
        self.assert_not_overwritten("folder/name.txt")

    @needs("atomic_create")
    def test_key_taken_during_a_save(self) -> None:
        """Promise 2: a key that another writer takes during a save is not overwritten."""
        self.assert_not_overwritten(self.key(5, 5))

    @needs("atomic_create")
    def test_name_taken_during_a_temporary_upload(self) -> None:
        """Promise 2: a name that is taken while a temporary upload is saved is not overwritten."""
        rival = Rival(lambda: self.save("name.bin", b"fast"))

        upload = self.temporary_upload(b"slow")
        upload.flush()
        path, chunks = upload.temporary_file_path, upload.chunks

        def overtaken_path() -> str:
            rival.run()
            return path()

        def overtaken_chunks(chunk_size: int | None = None) -> Iterator[bytes]:
            rival.run()
            return chunks(chunk_size)

        upload.temporary_file_path = overtaken_path  # type: ignore[method-assign]
        upload.chunks = overtaken_chunks  # type: ignore[method-assign]
        slow = self.store.save("name.bin", upload)
        self.assert_all_stored({b"slow": slow, b"fast": rival.result()})

    @needs("atomic_create")
    def test_eight_nested_saves_of_one_name(self) -> None:
        """Promise 2: eight nested saves of one name are all kept."""
        names: dict[bytes, str] = {}

        def save(number: int) -> None:
            data = b"writer %d" % number
            rival = Rival(partial(save, number + 1)) if number < 8 else None
            parts = (data[:4], rival.run, data[4:]) if rival else (data,)
            names[data] = self.store.save("folder/name.txt", scripted(*parts))
            if rival:
                rival.result()

        save(1)
        self.assert_all_stored(names)

    @needs("atomic_create")
    def test_key_taken_while_a_writer_is_open(self) -> None:
        """Promise 2: a key that is taken while a writer is open is not overwritten."""
        filemeta = self.filemeta(6, 6)
        with self.store.write_open(filemeta) as writer:
            writer.write(b"slow")
            fast = self.save(self.key(6, 6), b"fast")
        self.assert_all_stored({b"slow": str(filemeta.content), b"fast": fast})

    @needs("atomic_create")
    def test_two_open_writers_of_one_key(self) -> None:
        """Promise 2: two open writers of one FileMeta store under two names."""
        one, other = self.filemeta(6, 6), self.filemeta(6, 6)
        with self.store.write_open(one) as first, self.store.write_open(other) as second:
            first.write(b"one")
            second.write(b"other")
        self.assert_all_stored({b"one": str(one.content), b"other": str(other.content)})

    @needs("atomic_copy")
    def test_key_taken_during_a_copy(self) -> None:
        """Promise 2: a key that is taken during a copy is not overwritten."""
        key = self.key(7, 7)
        rival = Rival(lambda: self.save(key, b"fast"))

        class Overtaken(PlainFileMeta):
            def key_ids(self) -> tuple[int | None, int | None]:
                ids = super().key_ids()
                rival.run()
                return ids

        target = Overtaken(self.store, 7, 7)
        self.store.copy(self.stored(b"copied"), target)
        self.assert_all_stored({b"copied": str(target.content), b"fast": rival.result()})

    def test_saves_into_one_new_folder(self) -> None:
        """Promise 2: eight threads can save the first files of one folder at the same time."""

        def save(number: int) -> str:
            return self.save(self.key(9, number), b"file %d" % number)

        names = in_threads([partial(save, number) for number in range(8)])
        self.assertEqual(set(names), {self.key(9, number) for number in range(8)})
        for number, name in enumerate(names):
            self.assert_stored(name, b"file %d" % number)

    def test_folder_emptied_during_a_save(self) -> None:
        """Promise 2: deleting the only other file of a folder does not break a save into it."""
        other = self.save(self.key(9, 1), b"other")
        content = scripted(b"sa", lambda: self.store.delete(other), b"ved")
        self.assert_stored(self.store.save(self.key(9, 2), content), b"saved")

    @needs("whole_or_absent")
    def test_name_deleted_during_its_save(self) -> None:
        """Promise 2: deleting a name during its save loses no acknowledged bytes."""
        name = "folder/name.txt"
        content = scripted(b"sa", lambda: self.store.delete(name), b"ved")
        self.assert_stored(self.store.save(name, content), b"saved")

    @on_disk
    @needs("atomic_create")
    def test_two_processes_with_temporary_uploads(self) -> None:
        """Promise 2: two processes save temporary uploads under one name; both are kept."""

        def make(data: bytes) -> TemporaryUploadedFile:
            upload = self.temporary_upload(data)
            upload.flush()
            return upload

        self.race_processes(make)

    @on_disk
    @needs("atomic_create")
    def test_two_processes_with_uploads_in_memory(self) -> None:
        """Promise 2: two processes save uploads in memory under one name; both are kept."""
        self.race_processes(ContentFile)

    def race_processes(self, make: Callable[[bytes], Any]) -> None:
        """Let two processes save content from ``make()`` under the same names."""
        meeting = Meeting()

        def save_all(index: int) -> list[str]:
            meeting.join(index)
            names = []
            for number in range(1, self.rounds + 1):
                content = make(b"writer %d, round %d" % (index, number))
                meeting.begin(number)
                names.append(self.store.save(f"races/{number}.bin", content))
            return names

        results = in_processes(partial(save_all, 0), partial(save_all, 1))
        for result in results:
            self.assertIsInstance(result, list, result)
        lost = 0
        for number, names in enumerate(zip(*results, strict=True), start=1):
            for index, name in enumerate(names):
                data = b"writer %d, round %d" % (index, number)
                lost += not self.store.exists(name) or self.read(name) != data
        self.assertEqual(lost, 0, f"acknowledged uploads lost in {self.rounds} races")
