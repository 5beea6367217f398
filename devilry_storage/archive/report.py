"""The text in an archive that names its missing and damaged files."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils.translation import gettext as _

REPORT = "REPORT.txt"


def report(missing: Iterable[str], damaged: Iterable[str], *, is_verified: bool) -> bytes:
    """Return the text about these paths, in the active language.

    ``is_verified`` is true if all files in the archive were compared with their checksums.
    """
    lines = []
    for sentence, paths in (
        (_("These files could not be read, so they are missing from this archive:"), missing),
        (_("These files are damaged: their contents are not what was stored:"), damaged),
    ):
        if listed := [f"  {path}" for path in paths]:
            lines += [sentence, *listed, ""]
    if lines:
        lines.append(_("Please send this report to the administrators of the site."))
    elif is_verified:
        lines.append(_("All files were verified: their contents are what was stored."))
    if not is_verified:
        lines.append(_("Files without a recorded checksum were not verified."))
    return "\n".join([*lines, ""]).encode()
