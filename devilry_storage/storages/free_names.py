"""Find a free name for a new file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


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
