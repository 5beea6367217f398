"""Detect forked children, which must not use their parent's writers."""

import os

_pid = os.getpid()


def _look_again() -> None:
    global _pid  # noqa: PLW0603  # one for each process
    _pid = os.getpid()


# Read at each chunk of a writer, so without a system call.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_look_again)


class Owner:
    """The process that created this object."""

    def __init__(self) -> None:
        self._pid = _pid

    def is_this_process(self) -> bool:
        """Return False in a forked child."""
        return self._pid == _pid

    def require(self, name: str | None) -> None:
        """Raise RuntimeError in a forked child; ``name`` is the name of the file."""
        if not self.is_this_process():
            raise RuntimeError(
                f"The writer of {name!r} belongs to process {self._pid}, but process {_pid} was "
                "forked from it. Nothing is written. Open a writer in the process that uses it."
            )
