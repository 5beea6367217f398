"""Find a free name for a new file."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.core.files.storage import Storage

from ..names import validate_storage_name

# Bounds the loop if get_alternative_name() keeps returning names that are taken.
ALTERNATIVE_NAMES = 100


class _Namer(Storage):
    """Makes alternative names as the installed Django does, without asking a backend."""

    def __init__(self, taken: str, alternative: Callable[[str, str], str]) -> None:
        self.taken = {taken}
        self._alternative = alternative
        self._calls = 0

    def exists(self, name: str) -> bool:
        return name in self.taken

    def get_alternative_name(self, file_root: str, file_ext: str) -> str:
        self._calls += 1
        if self._calls > 2 * ALTERNATIVE_NAMES:  # shortening calls it twice
            raise FileExistsError(f"All alternative names of {file_root + file_ext!r} are taken.")
        return self._alternative(file_root, file_ext)


#: The ``max_length`` of the current ``save()``, which ``_save()`` and ``_create()`` do not get.
_max_length: ContextVar[int | None] = ContextVar("max_length", default=None)


@contextmanager
def at_most(max_length: int | None) -> Iterator[None]:
    """Limit the names that :func:`unshared` makes in the block to ``max_length`` characters."""
    token = _max_length.set(max_length)
    try:
        yield
    finally:
        _max_length.reset(token)


def unshared(name: str) -> str:
    """Return a random alternative of the name, at which no other writer can aim.

    It is made as Django does, even if the store overrides ``get_alternative_name()``, which may
    return the same name for two writers. Raises SuspiciousFileOperation as `alternative_names`.
    """
    return next(alternative_names(name, _max_length.get(), Storage().get_alternative_name))


def alternative_names(
    name: str, max_length: int | None, alternative: Callable[[str, str], str]
) -> Iterator[str]:
    """Yield alternatives of a valid name, as Django makes them.

    ``alternative`` is the store's ``get_alternative_name()``. Raises SuspiciousFileOperation if
    ``max_length`` leaves no room, and FileExistsError after many names.
    """
    namer = _Namer(name, alternative)
    for _ in range(ALTERNATIVE_NAMES):
        found = validate_storage_name(namer.get_available_name(name, max_length))
        namer.taken.add(found)
        yield found
    raise FileExistsError(f"{name!r} and {ALTERNATIVE_NAMES} alternative names are taken.")


def first_free(names: Iterable[str], create: Callable[[str], str]) -> str:
    """Create a file under the first name that is free, and return the name.

    ``create`` creates the file and returns its name, or raises FileExistsError if the name is
    taken. Raises FileExistsError if all names are taken.
    """
    for name in names:
        try:
            return create(name)
        except FileExistsError as exception:
            if getattr(exception, "not_about_names", False):
                raise
    raise FileExistsError("No name was free.")


@contextmanager
def not_about_names() -> Iterator[None]:
    """Make a FileExistsError of the block end :func:`first_free` instead of trying the next name.

    For blocks that run code of the site, such as a source of bytes or a signal receiver.
    """
    try:
        yield
    except FileExistsError as exception:
        exception.not_about_names = True  # type: ignore[attr-defined]  # read above
        raise
