"""What of a file can be shown to look at: text in lines, a raster image, or nothing.

Nothing is ever run: a page of HTML, a drawing in SVG and a script are text.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import Any, NamedTuple

from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from ..conf import PDF, SAFE_TYPES
from ..media_types import media_type
from ..resolving import store_for
from ..serving import sent_type

#: So many bytes of a text are shown.
TEXT_BYTES = 64 * 1024

#: Larger images are not shown: they are of no use in a page, and of some harm to a browser.
IMAGE_BYTES = 20 * 1024**2

RASTER_TYPES = frozenset(each for each in SAFE_TYPES if each.startswith("image/"))

# Media types of texts, also of those that are sent as no text, lest they are run.
_TEXTS = re.compile(r"text/.*|application/(json|javascript|sql|x-sh|x-tex|xml)|.*\+(json|xml)")

# Rare in a text that is one: control characters other than white space, escape and form feed.
_BINARY = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f]")

_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})


class Text(NamedTuple):
    """The beginning of a text.

    ``lines`` are safe HTML; ``encoding`` is what it was read as; ``is_whole`` tells whether there
    is no more of it.
    """

    lines: list[SafeString]
    encoding: str
    is_whole: bool


def kind_of(filemeta: Any) -> str:
    """Return by name and size what a file may be shown as: image, pdf, text, or "" for nothing.

    Whether a text is one is only seen in its bytes.
    """
    if not filemeta.content:
        return ""
    sent_as = sent_type(filemeta.filename)
    if sent_as in RASTER_TYPES:
        return "image" if (filemeta.size or 0) <= IMAGE_BYTES else ""
    return "pdf" if sent_as == PDF else "text"


def text_of(filemeta: Any) -> Text | None:
    """Read the beginning of a file; None if it is no text. Raises what the store raises."""
    name = filemeta.content.name
    # One byte more tells whether that is all.
    data = b"".join(store_for(filemeta).stream(name, 0, TEXT_BYTES + 1))
    is_whole = len(data) <= TEXT_BYTES
    decoded = _decoded(data[:TEXT_BYTES], is_whole, _is_called_text(filemeta.filename))
    if decoded is None:
        return None
    text, encoding = decoded
    lines = re.split(r"\r\n|\r|\n", text)
    if not lines[-1]:
        del lines[-1]
    return Text([visible(line) for line in lines], encoding, is_whole)


def _is_called_text(filename: str) -> bool:
    guessed = media_type(filename)
    return sent_type(filename) == "text/plain" or _TEXTS.fullmatch(guessed) is not None


def _decoded(data: bytes, is_whole: bool, called_text: bool) -> tuple[str, str] | None:
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=is_whole)
    except UnicodeDecodeError:
        return (data.decode("latin-1"), "ISO 8859-1 (Latin-1)") if called_text else None
    if _BINARY.search(text) and not called_text:
        return None
    return text, "UTF-8"


def visible(line: str) -> SafeString:
    """Return HTML of a line of text in which every character can be seen.

    Control characters, and those that turn, join or hide what is around them, stand as marks.
    """
    # Plain lines, nearly all of them, are escaped at once.
    if line.isprintable() or not any(map(_is_invisible, line)):
        return escape(line)
    parts = (_mark(each) if _is_invisible(each) else escape(each) for each in line)
    return mark_safe("".join(parts))  # noqa: S308  # each part is escaped


def _is_invisible(character: str) -> bool:
    return character != "\t" and unicodedata.category(character) in _INVISIBLE


def _mark(character: str) -> SafeString:
    code = ord(character)
    # The pictures of control characters, Unicode's block from U+2400 on.
    picture = chr(0x2400 + code) if code < 0x20 else chr(0x2421) if code == 0x7F else ""
    shown = picture or f"U+{code:04X}"
    name = unicodedata.name(character, f"U+{code:04X}")
    return format_html('<mark title="{}">{}</mark>', name, shown)
