"""The media types with which files are sent: only such that no browser runs anything of."""

from __future__ import annotations

import mimetypes
import posixpath

_TEXT = "text/plain"

# A table of our own. That of mimetypes differs from machine to machine; and it knows scripts and
# styles, which a page could then load from here past a policy that allows what the site itself
# sends: an attachment keeps nobody from that.
_TYPES = {
    "avif": "image/avif",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "pdf": "application/pdf",
    "png": "image/png",
    "webp": "image/webp",
}

# What is read as text, source code above all.
_TEXTS = """
    adb ads asm awk bash bat bib c cc cfg clj cmake conf cpp cs css csv cxx dart diff erl ex f90 go
    gradle groovy h hh hpp hs hxx ini ipynb java jl js json jsx kt less lisp log lua m4 md mjs ml
    mli nim patch php pl pm properties ps1 py pyi r rb rs rst s sass scala scm scss sh sql st swift
    tex text toml ts tsv tsx txt v vb vhd vhdl vue yaml yml zig
"""
_TYPES |= dict.fromkeys(_TEXTS.split(), _TEXT)


def sent_type(filename: str) -> str:
    """Return the media type of a file by the extension of its name: one of ``conf.SAFE_TYPES``.

    Texts of every kind are plain text; what is not known to be harmless is OCTETS.
    """
    extension = posixpath.splitext(filename)[1].removeprefix(".").lower()
    return _TYPES.get(extension, OCTETS)


def content_type(media_type: str) -> str:
    """Return the value of ``Content-Type``: text without a charset would be guessed at."""
    return f"{media_type}; charset=utf-8" if media_type == _TEXT else media_type


#: The media type of what has no known one.
OCTETS = "application/octet-stream"


# What the bytes are that mimetypes calls an encoding of something else. They are served as they
# are: as a Content-Encoding a browser would undo it, and the file arrive with another size.
_COMPRESSED = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}


def media_type(*names: str) -> str:
    """Return the media type by the extension of the first name that has a known one."""
    # mimetypes tells .Z from .z, and so does not know .GZ.
    for spelling in (spelling for name in names for spelling in (name, name.lower())):
        guessed, encoding = mimetypes.guess_type(posixpath.basename(spelling))
        if encoding is not None:
            return _COMPRESSED.get(encoding, OCTETS)
        if guessed is not None:
            return guessed
    return OCTETS
