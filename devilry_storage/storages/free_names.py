"""Finding a free name for a new file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


def first_free(names: Iterable[str], create: Callable[[str], str]) -> str:
    """Call ``create`` with one name after another, and return what it returns.

    ``create`` raises FileExistsError where a name is taken. Raises FileExistsError if all are.
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
    """Let a FileExistsError of the block end :func:`first_free`, which would try another name.

    It comes from code of the site: a source that is read, a receiver of a signal.
    """
    try:
        yield
    except FileExistsError as exception:
        exception.not_about_names = True  # type: ignore[attr-defined]  # read above
        raise
