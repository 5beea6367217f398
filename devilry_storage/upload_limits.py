"""Limits of uploads: number, size and names of files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .conf import conf


@dataclass(frozen=True)
class Limits:
    """The limits of an upload. For None, the settings are read when the limit is used.

    - ``max_files`` is the maximum number of files.
    - ``max_bytes`` is the maximum size of each file.
    - ``max_total_bytes`` is the maximum size of all files together.
    - ``extensions`` lists the allowed extensions, such as ``["pdf", "tar.gz"]``, in upper or lower
      case. None allows all names.
    - ``allow_empty`` allows empty files.
    """

    max_files: int | None = None
    max_bytes: int | None = None
    max_total_bytes: int | None = None
    extensions: Iterable[str] | None = None
    allow_empty: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.extensions, str):
            raise TypeError(
                f"extensions {self.extensions!r} is a string: pass a list such as ['pdf', 'txt']."
            )
        if self.extensions is not None:  # an iterator would be exhausted after the first upload
            object.__setattr__(self, "extensions", tuple(self.extensions))

    @property
    def most_files(self) -> int:
        """The current maximum number of files."""
        return conf.upload_max_files if self.max_files is None else self.max_files

    @property
    def most_bytes(self) -> int:
        """The current maximum size of each file, in bytes."""
        return conf.upload_max_bytes if self.max_bytes is None else self.max_bytes

    @property
    def most_total_bytes(self) -> int:
        """The current maximum size of all files together, in bytes."""
        if self.max_total_bytes is None:
            return conf.upload_max_total_bytes
        return self.max_total_bytes

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The extensions in lower case, with a leading dot; empty if all names are allowed."""
        return tuple(f".{name.lstrip('.').lower()}" for name in self.extensions or ())

    def describe(self) -> str:
        """Return the limits as text, for users who choose files."""
        size, total = (filesizeformat(self.most_bytes), filesizeformat(self.most_total_bytes))
        text = ngettext(
            "At most %(count)d file of %(size)s.",
            "At most %(count)d files of %(size)s each, %(total)s together.",
            self.most_files,
        )
        description = text % {"count": self.most_files, "size": size, "total": total}
        if suffixes := self.suffixes:
            text = _("Allowed file types: %(types)s.")
            description += " " + text % {"types": ", ".join(suffixes)}
        return description

    def errors_for(self, name: str, size: int) -> Iterator[ValidationError]:
        """Yield the errors of one file, without its name."""
        if not size and not self.allow_empty:
            yield ValidationError(_("the file is empty."), code="empty")
        if size > self.most_bytes:
            actual, allowed = _sizes(size, self.most_bytes)
            text = _("the file is too large: it is %(size)s, the maximum is %(max)s.")
            yield ValidationError(text % {"size": actual, "max": allowed}, code="max_bytes")
        if self.suffixes and not _ends_with(name, self.suffixes):
            text = _("this file type is not allowed; allowed file types: %(types)s.")
            yield ValidationError(text % {"types": ", ".join(self.suffixes)}, code="extension")

    def errors_for_all(self, sizes: Sequence[int]) -> Iterator[ValidationError]:
        """Yield the errors of all files together, given their sizes in bytes."""
        if len(sizes) > self.most_files:
            text = ngettext(
                "You chose %(count)d files. At most %(max)d file is allowed.",
                "You chose %(count)d files. At most %(max)d files are allowed.",
                self.most_files,
            )
            params: dict[str, Any] = {"count": len(sizes), "max": self.most_files}
            yield ValidationError(text % params, code="max_files")
        if sum(sizes) > self.most_total_bytes:
            actual, allowed = _sizes(sum(sizes), self.most_total_bytes)
            text = _(
                "The files are too large: together they are %(size)s, the maximum is %(max)s."
            )
            yield ValidationError(text % {"size": actual, "max": allowed}, code="max_total_bytes")


def _ends_with(name: str, suffixes: tuple[str, ...]) -> bool:
    # The name must be longer than the suffix: ".pdf" is a hidden file without an extension.
    return any(name.lower().endswith(suffix) and len(name) > len(suffix) for suffix in suffixes)


def _sizes(size: int, limit: int) -> tuple[str, str]:
    """Format two different sizes (bytes), in single bytes if they would look the same."""
    actual, allowed = filesizeformat(size), filesizeformat(limit)
    if actual != allowed:
        return actual, allowed
    exact = ngettext("%(size)d byte", "%(size)d bytes", 2)
    return exact % {"size": size}, exact % {"size": limit}
