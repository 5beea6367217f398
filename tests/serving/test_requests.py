"""The table of requests on real servers, with files in each kind of store."""

from __future__ import annotations

import hashlib
import http.client
import random
from typing import Any

import pytest
from django.utils.http import http_date

from ..harness.http_requests import CASES, HUGE, SIZES, Case
from ..harness.http_servers import Reply, Site
from .conftest import deliver

pytestmark = pytest.mark.usefixtures("store")

DATA = {
    "ten": b"0123456789",
    "empty": b"",
    # Large and compressible, so that GZipMiddleware would compress it.
    "big": b"".join(b"%07d\n" % number for number in range(37_500)),
}
COMMON = {
    "Cache-Control": "private, no-cache",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Accept-Ranges": "bytes",
}


@pytest.fixture
def rows(group: Any) -> dict[str, Any]:
    assert {name: len(data) for name, data in DATA.items()} == SIZES
    return deliver(group, **DATA)


def values(row: Any) -> dict[str, str]:
    """Return the validators of a row's file."""
    modified = int(row.delivery.time_of_delivery.timestamp())
    return {
        "etag": f'"{row.sha256}"',
        "date": http_date(modified),
        "later": http_date(modified + 1),
        "earlier": http_date(modified - 1),
    }


def problems(case: Case, reply: Reply, row: Any) -> list[str]:
    """Return the differences between a response and the expected one."""
    validators = values(row)
    data = DATA[case.file]
    expected: dict[str, str | None] = {**COMMON, "ETag": validators["etag"]}
    expected["Last-Modified"] = validators["date"]
    expected["Content-Range"] = None
    expected["Content-Encoding"] = None
    if case.status in {200, 206}:
        expected["Content-Encoding"] = "identity"
        expected["Content-Length"] = str(case.stop - case.start)
        expected["Content-Type"] = "text/plain; charset=utf-8"
        expected["Content-Disposition"] = f'attachment; filename="{case.file}.txt"'
    if case.status == 206:
        expected["Content-Range"] = f"bytes {case.start}-{case.stop - 1}/{len(data)}"
    elif case.status == 416:
        expected["Content-Range"] = f"bytes */{len(data)}"
    body = b"" if case.method == "HEAD" else data[case.start : case.stop]
    found = [
        f"{name} is {reply.headers[name]!r}, not {value!r}"
        for name, value in expected.items()
        if reply.headers[name] != value
    ]
    if reply.status != case.status:
        found.append(f"status {reply.status}, not {case.status}")
    if reply.body != body or not reply.is_whole:
        found.append(f"{len(reply.body)} bytes, not {len(body)}")
    if "sandbox" not in reply.headers["Content-Security-Policy"]:
        found.append("no sandbox")
    vary = {name.strip() for name in reply.headers["Vary"].split(",")}
    if not {"Cookie", "Accept-Language"} <= vary:
        found.append(f"Vary is {vary}")
    return [f"{case}: {problem}" for problem in found]


def test_responses_match_the_table(site: Site, rows: dict[str, Any]) -> None:
    """For disk, memory and S3, under WSGI and ASGI, with all of Django's middleware."""
    wrong = []
    for case in CASES:
        row = rows[case.file]
        reply = site.ask(row.content.url, case.filled(**values(row)), case.method)
        wrong += problems(case, reply, row)
    assert wrong == []
    assert len(CASES) >= 80


def test_hostile_ranges_never_return_more_than_the_file(site: Site, rows: dict[str, Any]) -> None:
    """2,000 overlapping ranges, huge numbers and garbage never cause a status of 500."""
    chance = random.Random(9110)
    pieces = ["0", "1", "9", "300000", HUGE, "-", "-", ",", " ", "=", "bytes", "x", "*", "/", '"']
    values = [
        f"bytes={','.join(f'{start}-' for start in range(2000))}",
        f"bytes={','.join(['0-'] * 2000)}",
        f"bytes={','.join(['0-299999'] * 2000)}",
        f"bytes={','.join([f'-{HUGE}'] * 1000)}",
        f"bytes={','.join([f'{HUGE}-'] * 1000)}",
        *(
            f"{chance.choice(['bytes=', 'bytes=', ''])}"
            f"{''.join(chance.choices(pieces, k=chance.randint(1, 9)))}"
            for _ in range(40)
        ),
    ]
    data = DATA["big"]
    path = rows["big"].content.url
    for value in values:
        reply = site.ask(path, {"Range": value})
        assert reply.status in {200, 206, 416}, value
        assert reply.is_whole
        assert len(reply.body) <= len(data)
        assert reply.body in data
        if reply.status == 200:
            assert hashlib.sha256(reply.body).hexdigest() == rows["big"].sha256


def test_keep_alive_connection_serves_the_next_request(site: Site, rows: dict[str, Any]) -> None:
    """Content-Length is exact, so the next response starts where the previous one ends."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    for headers, length in (({}, 10), ({"Range": "bytes=2-4"}, 3), ({"Range": "bytes=99-"}, 0)):
        connection.request(
            "GET", rows["ten"].content.url, headers={"Cookie": site.cookies, **headers}
        )
        assert len(connection.getresponse().read()) == length
    connection.close()
