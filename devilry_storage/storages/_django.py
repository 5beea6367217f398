"""Django's contract of a storage, kept whatever the backend makes of it."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage

from ..exceptions import InvalidName
from ..layout import Layout
from ..names import validate_storage_name
from .content import as_text, rereadable, seekable
from .free_names import first_free
from .protocols import hier_layout, stored_name
from .spool import MEMORY

# A store whose get_alternative_name() keeps naming the same taken name would loop forever.
ALTERNATIVE_NAMES = 100

_READ_MODES = {"rb", "r", "rt"}
_WRITE_MODES = {"wb", "w", "wt"}
_MODES = _READ_MODES | _WRITE_MODES


def _with_slashes(name: Any) -> Any:
    # What is no text stays what it is, to be refused: str(None) would be a name.
    if isinstance(name, os.PathLike):
        name = os.fspath(name)
    return name.replace("\\", "/") if isinstance(name, str) else name


class StorageContract(Storage):
    """Every name judged, every mode known, and the same answers from every backend.

    Its methods ask the storage that it is mixed into by ``super()``.
    """

    @property
    def layout(self) -> Layout:
        """The layout of the keys."""
        return hier_layout(None)

    def _create(self, name: str, content: File[Any]) -> str:
        """Create the file and return its name, or raise FileExistsError if the name is taken.

        Override it where the backend can do so atomically; this is check-then-act, as in Django.
        """
        if super().exists(name):
            raise FileExistsError(f"{name!r} is taken.")
        with seekable(content) as file:
            stored: str = self._save(name, file)  # type: ignore[attr-defined]  # the backend's
        return stored

    def _create_first(self, names: Iterable[str], content: File[Any]) -> str:
        """Create the file under the first free one of the names and return that name."""
        if type(self)._create is StorageContract._create:
            return first_free(names, lambda name: self._create(name, content))
        # A _create() of the store's own may have read the content when it finds a name taken.
        with rereadable(content, MEMORY) as source:

            def create(name: str) -> str:
                source.seek(0)
                return self._create(name, source)

            return first_free(names, create)

    def open(self, name: str, mode: str = "rb") -> Any:
        """Open a file: ``rb`` reads; ``wb`` replaces an ordinary name on a clean ``close()``.

        ``r``, ``rt``, ``w`` and ``wt`` do so as text, for ordinary names. Raises ValueError for
        other modes and for writing to a key, InvalidName, FileNotFoundError.
        """
        name = validate_storage_name(name)
        if mode not in _MODES:
            raise ValueError(f"Mode {mode!r} is not supported for {name!r}: use 'rb' or 'wb'.")
        if mode != "rb" and self.is_key(name):
            raise ValueError(
                f"{name!r} is a delivery key and cannot be opened with mode {mode!r}: read it "
                "with 'rb', write it with write_open() or save()."
            )
        if mode in _WRITE_MODES:
            return self._open_to_write(name, mode)
        with self._missing_is_told(name):
            file = super().open(name, mode)
            return file if mode == "rb" else as_text(file)

    def _open_to_write(self, name: str, mode: str) -> Any:
        return super().open(name, mode)

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        """Create a file and return its name: the given one, or if that is taken an alternative.

        At most ``max_length`` characters. ``content`` is read from its beginning and left open.
        Raises InvalidName, and whatever the content or the backend raises; then there is no file.
        """
        if name is None:
            name = content.name
        if not hasattr(content, "chunks"):
            content = File(content, name)
        # Judged before a byte is read or written: a refused name leaves no trace.
        name = validate_storage_name(_with_slashes(name))
        return validate_storage_name(
            self._create_first(self._candidates(name, max_length), content)
        )

    def _candidates(
        self, name: str, max_length: int | None = None, *, fresh: bool = False
    ) -> Iterator[str]:
        """Yield the name (unless a fresh one is wanted), then alternatives of it."""
        name = validate_storage_name(name)
        if not fresh and (max_length is None or len(name) <= max_length):
            yield name
        folder, leaf = posixpath.split(name)
        root, extension = posixpath.splitext(leaf)
        for _ in range(ALTERNATIVE_NAMES):
            # Overridable, so its result is as untrusted as the name itself.
            leaf = self.get_alternative_name(root, extension)
            excess = len(posixpath.join(folder, leaf)) - (max_length or 0)
            if max_length is not None and excess > 0:
                root = root[:-excess]
                if not root:
                    raise InvalidName(
                        f"{name!r} cannot be shortened to {max_length} characters: give the "
                        "field a larger max_length."
                    )
                leaf = self.get_alternative_name(root, extension)
            yield validate_storage_name(posixpath.join(folder, leaf))
        raise FileExistsError(f"{name!r} and {ALTERNATIVE_NAMES} alternative names are taken.")

    def exists(self, name: Any) -> bool:
        """Tell whether a file of that name is there; for a FileMeta: whether its bytes are."""
        if hasattr(name, "key_ids"):
            name = stored_name(name)
            if name is None:
                return False
        name = validate_storage_name(name)
        return super().exists(name) and not self._is_folder(name)

    def _is_folder(self, name: str) -> bool:
        """Tell whether what is there is a folder, which to some backends exists as a file does.

        Override it where the backend knows better; this may list the folder.
        """
        try:
            if os.path.isdir(self.path(name)):
                return True
        except NotImplementedError:
            pass
        try:
            if super().listdir(name) == ([], []):
                return False
            # To a store of objects a name may be both, and then it stands among the files.
            folder, leaf = posixpath.split(name)
            return leaf not in super().listdir(folder)[1]
        except OSError:
            return False

    def delete(self, name: str) -> None:
        """Remove the file at once; a missing one, or a folder, is none of our concern."""
        name = validate_storage_name(name)
        if not self._is_folder(name):
            super().delete(name)

    def size(self, name: str) -> int:
        """Return the size in bytes; FileNotFoundError where there is no file."""
        with self._missing_is_told(validate_storage_name(name)):
            return super().size(name)

    def url(self, name: str | None) -> str:
        """Return the file's URL; ValueError where it has none."""
        return super().url(name and validate_storage_name(name))

    def path(self, name: str) -> str:
        """Return the file's path where the store lies on a disk; ``""`` is the top."""
        # Django's InMemoryStorage, while it is made, asks for the place of its own location.
        own = getattr(self, "_location", None) or settings.MEDIA_ROOT
        if name and name != own:
            validate_storage_name(name)
        return super().path(name)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """Return (folders, files) of a folder, ``""`` being the top; of nothing ``([], [])``."""
        try:
            return super().listdir(validate_storage_name(path) if path else "")
        # The last is what InMemoryStorage says of a file where a folder should be.
        except (FileNotFoundError, NotADirectoryError, FileExistsError):
            return [], []

    def get_accessed_time(self, name: str) -> datetime:
        with self._missing_is_told(validate_storage_name(name)):
            return super().get_accessed_time(name)

    def get_created_time(self, name: str) -> datetime:
        with self._missing_is_told(validate_storage_name(name)):
            return super().get_created_time(name)

    def get_modified_time(self, name: str) -> datetime:
        with self._missing_is_told(validate_storage_name(name)):
            return super().get_modified_time(name)

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Return a free name; a backend's own may give a taken one, in order to overwrite."""
        return Storage.get_available_name(self, name, max_length)

    @contextmanager
    def _missing_is_told(self, name: str) -> Iterator[None]:
        """Make what the backend raises where there is no file a FileNotFoundError."""
        try:
            yield
        except (OSError, NotImplementedError):
            raise
        # Backends have errors of their own: whether the file is missing is asked, not guessed.
        except Exception as exception:
            if super().exists(name):
                raise
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from exception

    def is_key(self, name: str) -> bool:
        """Tell whether the name is one that the layout makes, alternatives included."""
        try:
            self.layout.parse(name)
        except ValueError:
            return False
        return True
