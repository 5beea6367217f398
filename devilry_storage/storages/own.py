"""A store's own objects on disk: its mark and those of its sites."""

import os
from collections.abc import Callable, Hashable

from ..names import RESERVED
from .protocols import LONGEST_OWN
from .staged import Staged
from .tree import TEMP_FOLDER, Tree

# Folders of stores whose mark this process has seen.
_expected: set[str] = set()


def is_expected(root: str) -> bool:
    """Return whether this process has seen the store's mark, so that its folder must exist."""
    return root in _expected


class TreeObjects:
    """A store's own objects on disk; see `OwnObjects`."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    @property
    def location(self) -> Hashable:
        return self._tree.root

    def read(self, path: str) -> bytes | None:
        try:
            with self._tree.open(self._name(path)) as file:
                return file.read(LONGEST_OWN + 1)
        except FileNotFoundError:
            return None

    def create(self, path: str, data: bytes) -> bool:
        try:
            self._publish(data, lambda staged: staged.create(self._name(path)))
        except FileExistsError:
            return False
        return True

    def replace(self, path: str, data: bytes) -> None:
        self._publish(data, lambda staged: staged.replace(self._name(path)))

    def _publish(self, data: bytes, publish: Callable[[Staged], object]) -> None:
        staged = Staged(self._tree)
        try:
            staged.write(data)
            publish(staged)
        finally:
            staged.discard()

    def names(self, folder: str) -> list[str]:
        _folders, files = self._tree.listdir([RESERVED, folder])
        return sorted(files)

    def volume(self) -> Hashable:
        try:
            status = os.stat(os.path.join(self._tree.root, *TEMP_FOLDER), follow_symlinks=False)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def expect(self, *, known: bool) -> None:
        if known:
            # A copy of the store may lack the empty folder.
            os.close(self._tree.enter_temps(create=True))
            _expected.add(self._tree.root)
        else:
            _expected.discard(self._tree.root)

    def _name(self, path: str) -> str:
        return f"{RESERVED}/{path}"
