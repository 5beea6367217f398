"""Promise 2 while others write: of any number of writers of one name exactly one gets it.

A source that waits in the middle stands for the slow writer: by then every store that looks
first whether a name is free has looked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.uploadedfile import TemporaryUploadedFile

from .._support.case import needs, on_disk
from .._support.disk import DiskCase, Meeting, in_processes
from .._support.rivals import Rival, all_at_once
from .._support.sources import scripted
from ..filemeta import PlainFileMeta


class ConcurrentWriterCases(DiskCase):
    """Writers at the same time."""

    #: Rounds of two processes that save under one name.
    rounds = 25

    def assert_all_there(self, told: dict[bytes, str]) -> None:
        """Every writer was told a name of its own, and its bytes lie there."""
        self.assertEqual(len(set(told.values())), len(told), told)
        for data, name in told.items():
            self.assert_holds(name, data)

    def overtaken(self, name: str) -> None:
        rival = Rival(lambda: self.save(name, b"fast"))
        slow = self.store.save(name, scripted(b"sl", rival.go, b"ow"))
        self.assert_all_there({b"slow": slow, b"fast": rival.result()})

    @needs("atomic_create")
    def test_name_taken_during_a_save(self) -> None:
        """Promise 2: a name that another writer takes during a save is not overwritten."""
        self.overtaken("folder/name.txt")

    @needs("atomic_create")
    def test_key_taken_during_a_save(self) -> None:
        """Promise 2: a key that another writer takes during a save is not overwritten."""
        self.overtaken(self.key(5, 5))

    @needs("atomic_create")
    def test_name_taken_during_a_temporary_upload(self) -> None:
        """Promise 2: a name that is taken while a temporary upload is saved is not overwritten."""
        rival = Rival(lambda: self.save("name.bin", b"fast"))

        upload = self.temporary_upload(b"slow")
        upload.flush()
        path, chunks = upload.temporary_file_path, upload.chunks

        def overtaken_path() -> str:
            rival.go()
            return path()

        def overtaken_chunks(chunk_size: int | None = None) -> Iterator[bytes]:
            rival.go()
            return chunks(chunk_size)

        upload.temporary_file_path = overtaken_path  # type: ignore[method-assign]
        upload.chunks = overtaken_chunks  # type: ignore[method-assign]
        slow = self.store.save("name.bin", upload)
        self.assert_all_there({b"slow": slow, b"fast": rival.result()})

    @needs("atomic_create")
    def test_eight_nested_saves_of_one_name(self) -> None:
        """Promise 2: eight nested saves of one name are all kept."""
        told: dict[bytes, str] = {}

        def save(number: int) -> None:
            data = b"writer %d" % number
            rival = Rival(partial(save, number + 1)) if number < 8 else None
            parts = (data[:4], rival.go, data[4:]) if rival else (data,)
            told[data] = self.store.save("folder/name.txt", scripted(*parts))
            if rival:
                rival.result()

        save(1)
        self.assert_all_there(told)

    @needs("atomic_create")
    def test_key_taken_while_a_writer_is_open(self) -> None:
        """Promise 2: a key that is taken while a writer is open is not overwritten."""
        filemeta = self.filemeta(6, 6)
        with self.store.write_open(filemeta) as writer:
            writer.write(b"slow")
            fast = self.save(self.key(6, 6), b"fast")
        self.assert_all_there({b"slow": str(filemeta.content), b"fast": fast})

    @needs("atomic_create")
    def test_two_open_writers_of_one_key(self) -> None:
        """Promise 2: two open writers of one FileMeta store under two names."""
        one, other = self.filemeta(6, 6), self.filemeta(6, 6)
        with self.store.write_open(one) as first, self.store.write_open(other) as second:
            first.write(b"one")
            second.write(b"other")
        self.assert_all_there({b"one": str(one.content), b"other": str(other.content)})

    @needs("atomic_copy")
    def test_key_taken_during_a_copy(self) -> None:
        """Promise 2: a key that is taken during a copy is not overwritten."""
        key = self.key(7, 7)
        rival = Rival(lambda: self.save(key, b"fast"))

        class Overtaken(PlainFileMeta):
            def key_ids(self) -> tuple[int | None, int | None]:
                ids = super().key_ids()
                rival.go()
                return ids

        target = Overtaken(self.store, 7, 7)
        self.store.copy(self.stored(b"copied"), target)
        self.assert_all_there({b"copied": str(target.content), b"fast": rival.result()})

    def test_saves_into_one_new_folder(self) -> None:
        """Promise 2: eight threads can save the first files of one folder at the same time."""

        def save(number: int) -> str:
            return self.save(self.key(9, number), b"file %d" % number)

        names = all_at_once([partial(save, number) for number in range(8)])
        self.assertEqual(set(names), {self.key(9, number) for number in range(8)})
        for number, name in enumerate(names):
            self.assert_holds(name, b"file %d" % number)

    def test_folder_emptied_during_a_save(self) -> None:
        """Promise 2: deleting the only other file of a folder does not break a save into it."""
        other = self.save(self.key(9, 1), b"other")
        content = scripted(b"sa", lambda: self.store.delete(other), b"ved")
        self.assert_holds(self.store.save(self.key(9, 2), content), b"saved")

    @needs("whole_or_absent")
    def test_name_deleted_during_its_save(self) -> None:
        """Promise 2: deleting a name during its save loses no acknowledged bytes."""
        name = "folder/name.txt"
        content = scripted(b"sa", lambda: self.store.delete(name), b"ved")
        self.assert_holds(self.store.save(name, content), b"saved")

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
        meeting = Meeting()

        def save_all(me: int) -> list[str]:
            meeting.join(me)
            told = []
            for number in range(1, self.rounds + 1):
                content = make(b"writer %d, round %d" % (me, number))
                meeting.begin(number)
                told.append(self.store.save(f"races/{number}.bin", content))
            return told

        told = in_processes(partial(save_all, 0), partial(save_all, 1))
        for answer in told:
            self.assertIsInstance(answer, list, answer)
        lost = 0
        for number, names in enumerate(zip(*told, strict=True), start=1):
            for me, name in enumerate(names):
                data = b"writer %d, round %d" % (me, number)
                lost += not self.store.exists(name) or self.read(name) != data
        self.assertEqual(lost, 0, f"acknowledged uploads lost in {self.rounds} races")
