"""A process that forks while it writes: the child's copy of the writer is not the child's file."""

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


def test_a_child_that_ends_leaves_its_parents_unpublished_bytes_alone(tmp_path: Path) -> None:
    """It drops its copy of the writer, as at exit; the parent still publishes."""
    store = store_at(tmp_path / "root")
    writer = store.open(NAME, "wb")
    writer.write(DATA)
    with warnings.catch_warnings():
        # CPython warns of fork() beside threads; this child touches none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        writer.discard()
        os._exit(0)
    os.waitpid(child, 0)
    writer.close()
    assert read(store, NAME) == DATA


Open = Callable[[FsHierDeliveryStore], Any]


def open_row(store: FsHierDeliveryStore) -> Any:
    return store.write_open(PlainFileMeta(store, 1005, 17))


def open_name(store: FsHierDeliveryStore) -> Any:
    return store.open(NAME, "wb")


OPEN = pytest.mark.parametrize(("open_writer", "name"), [(open_row, KEY), (open_name, NAME)])


@OPEN
def test_child_that_uses_its_parents_writer_gets_the_remedy(
    tmp_path: Path, open_writer: Open, name: str
) -> None:
    """The error names both processes; nothing of the child's is in the parent's file."""
    store = store_at(tmp_path / "root")
    writer = open_writer(store)
    writer.write(DATA)

    def use() -> list[str]:
        said = []
        for act in (lambda: writer.write(b"of the child"), writer.close):
            with pytest.raises(RuntimeError) as caught:
                act()
            said.append(str(caught.value))
        return said

    (said,) = in_processes(use)
    for text in said:
        assert f"The writer of {name!r} belongs to process {os.getpid()}" in text
        assert "Open a writer in the process that uses it" in text
    assert visible(store_root(store)) == []
    writer.write(DATA)
    writer.close()
    assert read(store, name) == DATA * 2


def store_root(store: FsHierDeliveryStore) -> Path:
    return Path(store.location)


@OPEN
def test_child_that_leaves_with_publishes_nothing(
    tmp_path: Path, open_writer: Open, name: str
) -> None:
    """By its end or by an error, as if the writer were its own."""
    store = store_at(tmp_path / "root")
    with open_writer(store) as writer:
        writer.write(DATA)

        def leave(error: type[BaseException] | None) -> bool:
            try:
                writer.__exit__(error, error and error(), None)
            except RuntimeError:
                return False
            return True

        found = in_processes(lambda: leave(None), lambda: leave(SystemExit))
        assert found == [False, True]
        assert visible(store_root(store)) == []
    assert read(store, name) == DATA


class Forking(ContentFile):  # type: ignore[type-arg]  # not generic at run time
    """A content that forks while it is read; the child goes on reading some bytes of its own."""

    def __init__(self, root: Path, of_child: list[bytes]) -> None:
        super().__init__(b"")
        self.root = root
        self.of_child = of_child
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
            yield from self.of_child


@pytest.mark.parametrize("of_child", [[b"of the child"], []])
def test_child_that_goes_on_with_a_save_stores_nothing(
    tmp_path: Path, of_child: list[bytes]
) -> None:
    """The source forked, and the child returned from it into the save."""
    store = store_at(tmp_path / "root")
    content = Forking(store_root(store), of_child)
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


def test_interpreter_of_a_child_that_shuts_down_removes_nothing(tmp_path: Path) -> None:
    """Its copy of the writer is dropped then, without a warning; the parent still publishes."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "root")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "root/a.txt").read_bytes() == b"of the parent"
