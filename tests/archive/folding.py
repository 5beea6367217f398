"""Systems that convert characters of a name, and what becomes of a path there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from hypothesis import strategies as st

# Best-fit tables of Windows' ANSI and OEM code pages of all locales (unicode.org, Public/MAPPINGS/
# VENDORS/MICSFT/WindowsBestFit; 437, 720, 737, 775, 850 to 866, 874, 932, 936, 949, 950, 1250 to
# 1258): all characters above U+007F that one of them converts to a separator, a colon or a dot.
_FULL_WIDTH = {"\uff0e": ".", "\uff0f": "/", "\uff1a": ":", "\uff3c": "\\"}
_WESTERN = _FULL_WIDTH | {"\u0589": ":", "\u2044": "/", "\u2215": "/", "\u2236": ":"}
BEST_FIT = {
    "1252": _WESTERN | {"\u2216": "\\"},
    "850": _WESTERN | {"\u2216": "/", "\u2026": "."},
    "866": _FULL_WIDTH | {"\u2026": ":"},
    "932": {"\u00a5": "\\"},
    "949": {"\u20a9": "\\"},
    "1253": _FULL_WIDTH | {"\u00b4": "/"},
}

#: Characters that only look like a separator, a colon or a dot.
LOOK_ALIKES = "\u27cb\u27cd\u29f5\u29f8\u29f9\ua789"

HOSTILE = (
    "".join(sorted({character for table in BEST_FIT.values() for character in table}))
    + "./\\: \u2024\u2025\ufe19\ufe30\ufe52\ufe55\ufe68\uffe5\uffe6\u2100\u2488\u00bd\u3000\u2003"
)

names = st.text(
    st.one_of(
        st.sampled_from(HOSTILE + LOOK_ALIKES),
        st.sampled_from("ac\u0301\u0338\u200b\u202e\uff23CONcon"),
        st.characters(),
    ),
    max_size=12,
)


def converted(name: str) -> Iterator[str]:
    """Yield what different systems make of a name."""
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        yield unicodedata.normalize(form, name)
    for table in BEST_FIT.values():
        for text in (name, unicodedata.normalize("NFKC", name)):
            yield text.translate({ord(old): new for old, new in table.items()})


def leaves(path: str) -> list[str]:
    """Return what becomes of a path on systems on which it has other parts than here."""
    found = []
    for there in converted(path):
        # Windows removes dots and spaces at the end of a part.
        parts = [part.rstrip(". ") for part in re.split(r"[/\\]", there)]
        if len(parts) != len(path.split("/")) or "" in parts or ":" in there:
            found.append(there)
    return found
