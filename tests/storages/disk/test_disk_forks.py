"""Processes that fork while they write: the child cannot use its copy of the writer."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile

from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.testing import PlainFileMeta
from devilry_storage.testing._support.disk import in_processes

from ...harness.disk import DATA, KEY, NAME, read, store_at, visible

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")


Open = Callable[[FsHierDeliveryStore], Any]


def open_row(store: FsHierDeliveryStore) -> Any:
    return store.write_open(PlainFileMeta(store, 1005, 17))


def open_name(store: FsHierDeliveryStore) -> Any:
    return store.open(NAME, "wb")


OPEN = pytest.mark.parametrize(("open_writer", "name"), [(open_row, KEY), (open_name, NAME)])


@OPEN
def test_child_cannot_use_the_writer_of_its_parent(
    tmp_path: Path, open_writer: Open, name: str
) -> None:
    """The error names the parent. The child may discard its copy; nothing of it is stored."""
    store = store_at(tmp_path / "root")
    writer = open_writer(store)
    writer.write(DATA)

    def use() -> list[str]:
        messages = []
        for operate in (lambda: writer.write(b"of the child"), writer.close):
            with pytest.raises(RuntimeError) as caught:
                operate()
            messages.append(str(caught.value))
        return messages

    messages, discarded = in_processes(use, writer.discard)
    assert discarded is None
    for message in messages:
        assert f"The writer of {name!r} belongs to process {os.getpid()}" in message
        assert "Open a writer in the process that uses it" in message
    assert visible(store_root(store)) == []
    writer.write(DATA)
    writer.close()
    assert read(store, name) == DATA * 2


def store_root(store: FsHierDeliveryStore) -> Path:
    return Path(store.location)


@OPEN
def test_child_that_leaves_the_with_block_publishes_nothing(
    tmp_path: Path, open_writer: Open, name: str
) -> None:
    """Neither normally nor by an error."""
    store = store_at(tmp_path / "root")
    with open_writer(store) as writer:
        writer.write(DATA)

        def leave(error: type[BaseException] | None) -> bool:
            try:
                writer.__exit__(error, error and error(), None)
            except RuntimeError:
                return False
            return True

        assert in_processes(lambda: leave(None), lambda: leave(SystemExit)) == [False, True]
        assert visible(store_root(store)) == []
    assert read(store, name) == DATA


class Forking(ContentFile):  # type: ignore[type-arg]  # not generic at run time
    """Content that forks while it is read. The child continues with its own chunks."""

    def __init__(self, root: Path, child_chunks: list[bytes]) -> None:
        super().__init__(b"")
        self.root = root
        self.child_chunks = child_chunks
        self.child = -1

    def chunks(self, chunk_size: int | None = None) -> Iterator[Any]:
        yield DATA
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.child = os.fork()
        if self.child:
            os.waitpid(self.child, 0)
            assert visible(self.root) == []
            yield DATA
        else:
            yield from self.child_chunks


@pytest.mark.parametrize("child_chunks", [[b"of the child"], []])
def test_child_that_continues_a_save_stores_nothing(
    tmp_path: Path, child_chunks: list[bytes]
) -> None:
    """The source forked, and the child returned from it into save()."""
    store = store_at(tmp_path / "root")
    content = Forking(store_root(store), child_chunks)
    try:
        store.save(KEY, content)
    finally:
        if not content.child:
            os._exit(0)
    assert visible(store_root(store)) == [KEY]
    assert read(store, KEY) == DATA * 2


SCRIPT = """
import os, sys, warnings
from django.conf import settings
settings.configure()
from devilry_storage.storages import FsHierDeliveryStore
warnings.simplefilter("error")
writer = FsHierDeliveryStore(location=sys.argv[1], durable=False).open("a.txt", "wb")
writer.write(b"of the parent")
if os.fork() == 0:
    sys.exit(0)
os.wait()
writer.close()
"""


def test_child_that_exits_leaves_the_writer_alone(tmp_path: Path) -> None:
    """Its copy is dropped without a warning, and the parent can still publish."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "root")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "root/a.txt").read_bytes() == b"of the parent"
