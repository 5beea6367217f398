"""What one upload may have: how many files, how large, of which names."""

from __future__ import annotations

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
    """The most that an upload may have; what is None is what the settings say when it is used.

    ``max_files`` is how many, ``max_bytes`` the size of each, ``max_total_bytes`` that of all
    together. ``extensions``, such as ``["pdf", "tar.gz"]``, are those that names may have, in
    small letters or capitals; None allows any name. ``allow_empty`` allows files of no bytes.
    """

    max_files: int | None = None
    max_bytes: int | None = None
    max_total_bytes: int | None = None
    extensions: Iterable[str] | None = None
    allow_empty: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.extensions, str):
            raise TypeError(
                f"extensions {self.extensions!r} is one text: give a list, such as ['pdf', 'txt']."
            )
        if self.extensions is not None:  # an iterator would be used up at the first upload
            object.__setattr__(self, "extensions", tuple(self.extensions))

    @property
    def most_files(self) -> int:
        """The most files that are allowed now."""
        return conf.upload_max_files if self.max_files is None else self.max_files

    @property
    def most_bytes(self) -> int:
        """The most bytes that each file may have now."""
        return conf.upload_max_bytes if self.max_bytes is None else self.max_bytes

    @property
    def most_total_bytes(self) -> int:
        """The most bytes that all files together may have now."""
        if self.max_total_bytes is None:
            return conf.upload_max_total_bytes
        return self.max_total_bytes

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The extensions, in small letters with their dot; none where any name is allowed."""
        return tuple(f".{each.lstrip('.').lower()}" for each in self.extensions or ())

    def describe(self) -> str:
        """Return the limits for whoever is about to choose files."""
        size, total = filesizeformat(self.most_bytes), filesizeformat(self.most_total_bytes)
        told = ngettext(
            "At most %(count)d file of %(size)s.",
            "At most %(count)d files of %(size)s each, %(total)s together.",
            self.most_files,
        )
        words = told % {"count": self.most_files, "size": size, "total": total}
        if suffixes := self.suffixes:
            words += " " + _("Their names end with %(ends)s.") % {"ends": ", ".join(suffixes)}
        return words

    def errors_for(self, name: str, size: int) -> Iterator[ValidationError]:
        """Yield what is wrong with one file; the errors do not name it."""
        if not size and not self.allow_empty:
            yield ValidationError(_("it is empty."), code="empty")
        if size > self.most_bytes:
            has, allowed = _sizes(size, self.most_bytes)
            text = _("it has %(size)s, at most %(most)s are allowed.")
            yield ValidationError(text % {"size": has, "most": allowed}, code="max_bytes")
        if self.suffixes and not _ends_with(name, self.suffixes):
            text = _("its name may end only with %(ends)s.")
            yield ValidationError(text % {"ends": ", ".join(self.suffixes)}, code="extension")

    def faults_of_all(self, sizes: Sequence[int]) -> Iterator[ValidationError]:
        """Yield what is wrong with files of these sizes (bytes) together."""
        if len(sizes) > self.most_files:
            text = ngettext(
                "You chose %(count)d files, at most %(most)d is allowed.",
                "You chose %(count)d files, at most %(most)d are allowed.",
                self.most_files,
            )
            params: dict[str, Any] = {"count": len(sizes), "most": self.most_files}
            yield ValidationError(text % params, code="max_files")
        if sum(sizes) > self.most_total_bytes:
            has, allowed = _sizes(sum(sizes), self.most_total_bytes)
            text = _("The files have %(size)s together, at most %(most)s are allowed.")
            yield ValidationError(text % {"size": has, "most": allowed}, code="max_total_bytes")


def _ends_with(name: str, suffixes: tuple[str, ...]) -> bool:
    # Something comes before it: ".pdf" is a hidden file without an extension.
    return any(name.lower().endswith(each) and len(name) > len(each) for each in suffixes)


def _sizes(size: int, most: int) -> tuple[str, str]:
    """Return two sizes (bytes) in words that differ."""
    has, allowed = filesizeformat(size), filesizeformat(most)
    if has != allowed:
        return has, allowed
    exact = ngettext("%(size)d byte", "%(size)d bytes", 2)
    return exact % {"size": size}, exact % {"size": most}
