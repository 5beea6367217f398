"""Responses that S3 never sends, but proxies, captive portals and broken servers do."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import replace

from .http_faults import Answer, CutReply, DelayReply, Fault, LoseReply, Replace, Reply, StallReply

PAGE = b"<html><head><title>503</title></head><body>We are back at 10.</body></html>"
ERROR = b"<Error><Code>InternalError</Code><Message>planned</Message></Error>"

#: Headers of a body's length and encoding.
FRAMING = {"content-length", "transfer-encoding", "content-encoding", "connection"}


def wire(reply: Reply, *, chunked: bool = False, length: int | str | None = None) -> bytes:
    """Return the bytes of a reply; Content-Length is the body's length unless given."""
    headers = {name: value for name, value in reply.headers.items() if name not in FRAMING}
    body = reply.body
    if chunked:
        headers["transfer-encoding"] = "chunked"
        body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        body += b"0\r\n\r\n"
    elif length is not None:
        headers["content-length"] = str(length)
    elif reply.method == "HEAD" and "content-length" in reply.headers:
        headers["content-length"] = reply.headers["content-length"]
    else:
        headers["content-length"] = str(len(body))
    if "content-encoding" in reply.headers:
        headers["content-encoding"] = reply.headers["content-encoding"]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {reply.status} planned\r\n{lines}\r\n".encode("latin-1") + body


def with_headers(reply: Reply, **headers: str | None) -> Reply:
    """Return the reply with changed headers; None removes one, ``_`` stands for a hyphen."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    merged = {**reply.headers, **given}
    return replace(reply, headers={key: value for key, value in merged.items() if value})


def page(reply: Reply, status: int = 200, body: bytes = PAGE) -> bytes:
    return wire(Reply(reply.method, status, {"content-type": "text/html"}, body))


def with_body(change: Callable[[bytes], bytes]) -> Callable[[Reply], bytes]:
    return lambda reply: wire(replace(reply, body=change(reply.body)))


def _renamed(body: bytes) -> bytes:
    """Return XML with another root element."""
    root = re.search(rb"<(\w+Result)\b", body)
    return body.replace(root[1], b"OtherResult") if root else b"<OtherResult/>"


def _compressed(reply: Reply, *, chunked: bool = False) -> bytes:
    body = gzip.compress(reply.body)
    return wire(
        with_headers(replace(reply, body=body), content_encoding="gzip"),
        chunked=chunked,
        length=len(body),
    )


def _without_length(reply: Reply) -> bytes:
    return re.sub(rb"content-length: \d+\r\n", b"", wire(reply), count=1)


def _etag(reply: Reply, change: Callable[[str], str]) -> bytes:
    body = re.sub(
        rb"<ETag>(.*?)</ETag>", lambda found: change(found[0].decode()).encode(), reply.body
    )
    header = reply.headers.get("etag", "")
    etag = change(f"<ETag>{header}</ETag>").removeprefix("<ETag>").removesuffix("</ETag>")
    return wire(with_headers(replace(reply, body=body), etag=etag))


def _goes_on(token: bytes) -> Callable[[bytes], bytes]:
    """Return a function that marks a listing as truncated, with this token if it has one."""

    def change(body: bytes) -> bytes:
        body = re.sub(rb"<IsTruncated>\w+</IsTruncated>", b"<IsTruncated>true</IsTruncated>", body)
        body = re.sub(rb"<Next(\w+)>.*?</Next\1>", b"", body)
        names = (b"ContinuationToken", b"KeyMarker", b"UploadIdMarker") if token else ()
        markers = b"".join(b"<Next%b>%b</Next%b>" % (name, token, name) for name in names)
        return re.sub(rb"</(\w+Result)>\s*$", rb"%b</\1>" % markers, body)

    return change


def _unreadable(reply: Reply) -> bytes:
    """Return a reply with invalid numbers and times."""
    body = re.sub(rb"<(Size|LastModified|Initiated)>.*?</", rb"<\1>many</", reply.body)
    return wire(with_headers(replace(reply, body=body), last_modified="yesterday"))


def _shifted(reply: Reply) -> bytes:
    """Return a reply whose Content-Range is shifted."""
    moved = re.sub(
        r"(\d+)-(\d+)/",
        lambda found: f"{int(found[1]) + 1}-{int(found[2]) + 1}/",
        reply.headers.get("content-range", "bytes 0-9/100"),
    )
    return wire(with_headers(reply, content_range=moved))


#: The odd responses as faults of a proxy.
ODD: dict[str, Fault] = {
    # The server does not get the request.
    "page with 200": Replace(page, reaches=False),
    "page that is not XML": Replace(lambda reply: page(reply, 200, b"<p>Back<br>soon"), False),
    "page with 404": Replace(lambda reply: page(reply, 404), reaches=False),
    "page with 412": Replace(lambda reply: page(reply, 412), reaches=False),
    "page with 416": Replace(lambda reply: page(reply, 416), reaches=False),
    "page with 304": Replace(lambda reply: page(reply, 304, b""), reaches=False),
    "page of a file": Replace(
        lambda reply: wire(
            Reply(
                reply.method,
                headers={"etag": '"65a-4d"', "last-modified": "Sun, 29 Nov 2026 10:00:00 GMT"},
                body=PAGE,
            )
        ),
        reaches=False,
    ),
    "page of text": Replace(lambda reply: page(reply, 200, b"back soon"), reaches=False),
    "empty body with 200": Replace(wire, reaches=False),
    "empty body with 204": Replace(lambda reply: wire(replace(reply, status=204)), reaches=False),
    "error with 200": Replace(lambda reply: wire(replace(reply, body=ERROR)), reaches=False),
    "error that breaks off": Replace(
        lambda reply: wire(replace(reply, status=503, body=ERROR), chunked=True)[:-5],
        reaches=False,
        closes=True,
    ),
    "412": Answer(412, "PreconditionFailed"),
    "100 only": Replace(
        lambda reply: b"HTTP/1.1 100 Continue\r\n\r\n", reaches=False, closes=True
    ),
    "no HTTP": Replace(lambda reply: b"220 mail.example.com\r\n\r\n", reaches=False, closes=True),
    # The server executes the request.
    "reply lost": LoseReply(),
    "late": DelayReply(0.8),
    "stalled": StallReply(3),
    "cut off": CutReply(3),
    "status 200": Replace(lambda reply: wire(replace(reply, status=200))),
    "status 206": Replace(lambda reply: wire(replace(reply, status=206))),
    "412 to the repetition": Replace(lambda reply: page(reply, 412)),
    "404 page to the repetition": Replace(lambda reply: page(reply, 404)),
    "half of the body": Replace(with_body(lambda body: body[: len(body) // 2])),
    "another root element": Replace(with_body(_renamed)),
    "no body": Replace(with_body(lambda body: b"")),
    "no ETag": Replace(lambda reply: _etag(reply, lambda etag: "")),
    "weak ETag": Replace(lambda reply: _etag(reply, lambda etag: etag.replace(">", ">W/", 1))),
    "shorter length": Replace(lambda reply: wire(reply, length=len(reply.body) // 2), closes=True),
    "longer length": Replace(lambda reply: wire(reply, length=len(reply.body) + 9), closes=True),
    "length that is not a number": Replace(lambda reply: wire(reply, length="many"), closes=True),
    "no length": Replace(_without_length, closes=True),
    "chunked": Replace(lambda reply: wire(reply, chunked=True)),
    "chunked without an end": Replace(
        lambda reply: wire(reply, chunked=True)[: -len("0\r\n\r\n")], closes=True
    ),
    "chunked, with more": Replace(
        lambda reply: wire(replace(reply, body=reply.body + b"<more/>"), chunked=True)
    ),
    "gzipped": Replace(_compressed),
    "gzipped, no checksum": Replace(
        lambda reply: _compressed(with_headers(reply, x_amz_checksum_sha256=None))
    ),
    "gzipped and chunked": Replace(lambda reply: _compressed(reply, chunked=True)),
    "repeated": Replace(lambda reply: wire(reply) * 2),
    "another range": Replace(_shifted),
    "values that cannot be read": Replace(_unreadable),
    "listing that repeats its token": Replace(with_body(_goes_on(b"again"))),
    "listing of other keys": Replace(
        with_body(lambda body: re.sub(rb"<Key>[0-9a-f]{32}/", b"<Key>other/", body))
    ),
    "listing that leaves a key out": Replace(
        with_body(lambda body: re.sub(rb"<Contents>.*?</Contents>", b"", body, count=1))
    ),
    "listing that goes on nowhere": Replace(with_body(_goes_on(b""))),
}
