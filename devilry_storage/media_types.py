"""Media types safe to send: browsers never execute them."""

import mimetypes
import posixpath

_TEXT = "text/plain"

# The table of mimetypes differs between machines. It also has types of scripts and style sheets:
# pages could load those from here, under a Content Security Policy that allows the site itself,
# even if they are sent as attachments.
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

# Extensions of text files, mostly source code.
_TEXTS = """
    adb ads asm awk bash bat bib c cc cfg clj cmake conf cpp cs css csv cxx dart diff erl ex f90 go
    gradle groovy h hh hpp hs hxx ini ipynb java jl js json jsx kt less lisp log lua m4 md mjs ml
    mli nim patch php pl pm properties ps1 py pyi r rb rs rst s sass scala scm scss sh sql st swift
    tex text toml ts tsv tsx txt v vb vhd vhdl vue yaml yml zig
"""
_TYPES |= dict.fromkeys(_TEXTS.split(), _TEXT)


def sent_type(filename: str) -> str:
    """Return the media type to send a file with, by the extension of its name.

    It is one of ``conf.SAFE_TYPES``, or OCTETS for every type that is not known to be harmless.
    Text of every kind is sent as plain text.
    """
    extension = posixpath.splitext(filename)[1].removeprefix(".").lower()
    return _TYPES.get(extension, OCTETS)


def content_type(media_type: str) -> str:
    """Return the Content-Type header. Text gets a charset, so that browsers do not guess it."""
    return f"{media_type}; charset=utf-8" if media_type == _TEXT else media_type


#: The media type of unknown content.
OCTETS = "application/octet-stream"


# Media types of compressed files, by the encoding that mimetypes reports. They are not served with
# a Content-Encoding: browsers would decompress the file and save it with a different size.
_COMPRESSED = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}


def media_type(*names: str) -> str:
    """Return the media type by the first name that has a known extension."""
    # mimetypes distinguishes .Z from .z, so it does not know .GZ.
    for spelling in (spelling for name in names for spelling in (name, name.lower())):
        guessed, encoding = mimetypes.guess_type(posixpath.basename(spelling))
        if encoding is not None:
            return _COMPRESSED.get(encoding, OCTETS)
        if guessed is not None:
            return guessed
    return OCTETS
