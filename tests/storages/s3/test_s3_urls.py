"""URLs of files on S3: they expire, give access to one file, and set its filename."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from email.message import Message
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import pytest
from cryptography.exceptions import InvalidSignature
from django.core.files.base import ContentFile
from werkzeug.http import parse_options_header as parsed

from devilry_storage.exceptions import InvalidName
from devilry_storage.media_types import media_type
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3.bucket import LONGEST_URL
from devilry_storage.testing import PlainFileMeta

from ...harness import cloudfront, s3servers
from ...harness.http_proxy import HttpProxy

pytestmark = pytest.mark.servers

DATA = b"some bytes"

HOSTILE = {
    "a quote": 'a".txt',
    "a second name": 'a"; filename="b.exe',
    "a semicolon": "a; filename=b.exe",
    "a backslash at the end": "a.txt\\",
    "a line": "a.txt\r\nSet-Cookie: sessionid=1",
    "a body": "a.txt\r\n\r\n<script>",
    "a newline": "a\nb.txt",
    "a NUL": "a\0b.txt",
    "a tab": "a\tb.txt",
    "a query": "a&response-content-type=text/html#b?c=d.txt",
    "a plus": "a+b c.txt",
    "percent signs": "a%22%0D%0A.txt",
    "another charset": "utf-8''b.exe",
    "an apostrophe": "o'neill.txt",
    "Norwegian": "Øving «én».txt",
    "Chinese": "作业.pdf",
    "beyond the BMP": "😀.txt",
    "reversed": "a\u202etxt.exe",
    "long": "n" * 3000 + ".txt",
    "long and not ASCII": "ø" * 1000 + ".txt",
}


class Named(PlainFileMeta):
    """A file with the filename of a student."""

    filename = "essay.tar.gz"


@pytest.fixture(scope="module")
def seaweedfs() -> S3DeliveryStore:
    return new_store("seaweedfs")


@pytest.fixture(scope="module", params=["seaweedfs", "moto"])
def store(request: pytest.FixtureRequest) -> S3DeliveryStore:
    return new_store(request.param)


@pytest.fixture(scope="module")
def name(store: S3DeliveryStore) -> str:
    """The name of an existing file."""
    return store.save(f"{uuid.uuid4().hex}.txt", ContentFile(DATA))


def new_store(server: str, **options: Any) -> S3DeliveryStore:
    needed = s3servers.need(server)
    return S3DeliveryStore(**{**needed.options(needed.bucket()), "location": "files", **options})


def fetched(url: str, method: str = "GET") -> tuple[bytes, Message]:
    """Request the URL without credentials; return the body and the headers."""
    with urlopen(Request(url, method=method), timeout=10) as response:
        return response.read(), response.headers


def status(url: str, method: str = "GET") -> int:
    try:
        fetched(url, method)
    except HTTPError as error:
        with error:
            return error.code
    return 200


def query(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)


# -- Responses --


def test_url_returns_the_bytes(store: S3DeliveryStore, name: str) -> None:
    """The response has the type of the stored file, and no disposition."""
    body, headers = fetched(store.url(name))
    assert body == DATA
    assert headers.get_content_type() == "text/plain"
    assert headers["Content-Disposition"] is None


def test_url_sets_the_requested_filename_and_type(store: S3DeliveryStore, name: str) -> None:
    """The key of the file does not matter."""
    body, headers = fetched(store.url(name, filename="essay.md", content_type="text/markdown"))
    assert body == DATA
    assert headers["Content-Disposition"] == 'attachment; filename="essay.md"'
    assert headers["Content-Type"] == "text/markdown"


def test_file_can_be_displayed_inline(store: S3DeliveryStore, name: str) -> None:
    """An inline file has a filename, too, also if it is not ASCII."""
    for filename in ("essay.pdf", "Øving.pdf"):
        _, headers = fetched(store.url(name, filename=filename, as_attachment=False))
        assert parsed(headers["Content-Disposition"]) == ("inline", {"filename": filename})


def test_hostile_filename_adds_no_header(
    store: S3DeliveryStore, name: str, subtests: pytest.Subtests
) -> None:
    """RFC 6266: the filename adds no parameter, header or body, and does not change others."""
    _, plain = fetched(store.url(name, filename="plain", content_type="text/x-mine"))
    for label, filename in HOSTILE.items():
        with subtests.test(label):
            body, headers = fetched(store.url(name, filename=filename, content_type="text/x-mine"))
            assert parsed(headers["Content-Disposition"]) == ("attachment", {"filename": filename})
            assert sorted(headers) == sorted(plain)
            assert headers["Content-Type"] == "text/x-mine"
            assert body == DATA


def test_parameters_take_precedence(store: S3DeliveryStore, name: str) -> None:
    """``parameters`` is S3Storage's argument. The caller's dictionary is not changed."""
    parameters = {"ResponseContentDisposition": "inline", "ResponseCacheControl": "no-store"}
    _, headers = fetched(store.url(name, parameters, filename="essay.txt"))
    assert headers["Content-Disposition"] == "inline"
    assert headers["Cache-Control"] == "no-store"
    assert len(parameters) == 2


def test_file_of_a_delivery_has_a_url(store: S3DeliveryStore) -> None:
    """A key is stored with a safe type, and as an attachment."""
    filemeta = Named(store, 1005, 17)
    with store.write_open(filemeta) as writer:
        writer.write(DATA)
    body, headers = fetched(store.url(filemeta.content))
    assert body == DATA
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == "attachment"
    assert headers["Content-Encoding"] is None


# -- Expiry and signatures --


def test_expired_url_is_rejected(seaweedfs: S3DeliveryStore) -> None:
    """A URL expires after the seconds of the argument, or of the option."""
    name = seaweedfs.save("short.txt", ContentFile(DATA))
    options = {**seaweedfs._given, "querystring_expire": 1}
    by_argument, by_option, valid = (
        seaweedfs.url(name, expire=1),
        S3DeliveryStore(**options).url(name),
        seaweedfs.url(name, expire=600),
    )
    time.sleep(2.1)  # S3 counts whole seconds
    assert [status(by_argument), status(by_option), status(valid)] == [403, 403, 200]


def test_url_is_valid_for_an_hour_by_default(seaweedfs: S3DeliveryStore) -> None:
    assert query(seaweedfs.url("a.txt"))["X-Amz-Expires"] == ["3600"]
    assert query(seaweedfs.url("a.txt", expire=60))["X-Amz-Expires"] == ["60"]


def test_url_is_valid_for_a_week_at_most(seaweedfs: S3DeliveryStore) -> None:
    """S3 would reject a longer URL only when it is used."""
    name = seaweedfs.save("week.txt", ContentFile(DATA))
    url = seaweedfs.url(name, expire=LONGEST_URL)
    assert status(url) == 200
    # The server rejects a URL that is signed for longer.
    presign = seaweedfs.remote.client.generate_presigned_url
    parameters = {"Bucket": seaweedfs.bucket_name, "Key": f"files/{name}"}
    assert status(presign("get_object", parameters, ExpiresIn=LONGEST_URL + 1)) == 400
    for seconds in (LONGEST_URL + 1, 0, -1, 1.5):
        message = f"cannot be valid for {seconds!r} seconds: .* from 1 to 604800"
        with pytest.raises(ValueError, match=message):
            seaweedfs.url(name, expire=seconds)
    ten_years = S3DeliveryStore(**{**seaweedfs._given, "querystring_expire": 10 * 365 * 86400})
    with pytest.raises(ValueError, match="querystring_expire"):
        ten_years.url(name)


def test_older_signatures_may_be_valid_for_longer(seaweedfs: S3DeliveryStore) -> None:
    store = S3DeliveryStore(**{**seaweedfs._given, "signature_version": "s3"})
    assert "Expires" in query(store.url("a.txt", expire=2 * LONGEST_URL))


def test_tampered_url_is_rejected(seaweedfs: S3DeliveryStore, subtests: pytest.Subtests) -> None:
    """The signature covers the file, the lifetime, the filename and the type."""
    changes = [
        ("/mine.txt", "/yours.txt"),
        ("X-Amz-Expires=60", "X-Amz-Expires=600"),
        ("essay.txt", "essay.exe"),
        ("attachment", "inline"),
        ("text%2Fplain", "text%2Fhtml"),
        ("&response-content-type=text%2Fplain", ""),
        ("X-Amz-Signature=", "X-Amz-Signature=0"),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders="),
        ("X-Amz-Signature", "X-Amz-Nothing"),
    ]
    for name in ("mine.txt", "yours.txt"):
        if not seaweedfs.exists(name):
            seaweedfs.save(name, ContentFile(DATA))
    for old, new in changes:
        with subtests.test(old=old, new=new):
            url = seaweedfs.url(
                "mine.txt", None, 60, filename="essay.txt", content_type="text/plain"
            )
            assert status(url) == 200
            assert url.count(old) == 1
            assert status(url.replace(old, new)) in {400, 403}


def test_url_permits_only_reading(seaweedfs: S3DeliveryStore) -> None:
    """It does not permit writing or deleting. With ``http_method`` it permits only that method."""
    name = seaweedfs.save("read.txt", ContentFile(DATA))
    assert [status(seaweedfs.url(name), method) for method in ("PUT", "DELETE")] == [403, 403]
    head = seaweedfs.url(name, http_method="HEAD")
    assert [status(head, method) for method in ("HEAD", "GET")] == [200, 403]
    assert seaweedfs.exists(name)


def test_url_without_a_signature_is_rejected(seaweedfs: S3DeliveryStore) -> None:
    name = seaweedfs.save("mine.txt", ContentFile(DATA))
    assert status(seaweedfs.url(name).partition("?")[0]) == 403


# -- Requests --


@pytest.fixture
def proxy() -> Iterator[HttpProxy]:
    with HttpProxy(s3servers.need("seaweedfs").endpoint_url) as proxy:
        yield proxy


def test_first_url_of_a_process_sends_no_request(proxy: HttpProxy) -> None:
    """Creating a URL sends no request, so a missing file has a URL, too."""
    store = new_store("seaweedfs", endpoint_url=proxy.endpoint_url)
    url = store.url("missing.txt", None, 60, "GET", filename="essay.txt", content_type="text/html")
    assert (proxy.connections, proxy.requests) == (0, [])
    assert status(url) == 404


def test_url_for_the_public_endpoint_is_valid_there() -> None:
    """The signature covers the host. The store itself sends no request to the public endpoint."""
    address = s3servers.need("seaweedfs").endpoint_url
    with HttpProxy(address) as inside, HttpProxy(address) as outside:
        store = new_store(
            "seaweedfs", endpoint_url=inside.endpoint_url, public_endpoint_url=outside.endpoint_url
        )
        name = store.save("a.txt", ContentFile(DATA))
        url = store.signed_url(name, expires_in=60, filename="b.txt", content_type="text/plain")
        assert outside.requests == []
        body, headers = fetched(url)
        assert body == DATA
        assert headers["Content-Disposition"] == 'attachment; filename="b.txt"'
        assert status(store.url(name, http_method="HEAD"), "HEAD") == 200
        assert outside.operations() == ["GetObject", "HeadObject"]
        wrong = url.replace(outside.endpoint_url, inside.endpoint_url)
        assert status(wrong) == 403


def test_invalid_name_has_no_url(store: S3DeliveryStore) -> None:
    for empty in ("", None):
        with pytest.raises(ValueError, match="has no URL"):
            store.url(empty)
    with pytest.raises(InvalidName):
        store.url("../outside.txt")


# -- Types --


def test_type_comes_from_the_filename() -> None:
    """A compressed file has the type of its compression, so that browsers do not unpack it."""
    types = {
        "essay.pdf": "application/pdf",
        "ESSAY.PDF": "application/pdf",
        "essay.tar.gz": "application/gzip",
        "ESSAY.TAR.GZ": "application/gzip",
        "essay.tgz": "application/gzip",
        "essay.txt.bz2": "application/x-bzip2",
        "ESSAY.TXT.BZ2": "application/x-bzip2",
        "essay.tar.xz": "application/x-xz",
        "essay.txt.Z": "application/x-compress",
        "drawing.svg": "image/svg+xml",
        "drawing.svgz": "application/gzip",
        "essay.unheard-of": "application/octet-stream",
        "essay": "application/octet-stream",
        ".pdf": "application/octet-stream",
        "": "application/octet-stream",
        "Øving.txt": "text/plain",
    }
    assert {filename: media_type(filename) for filename in types} == types
    assert {filename: media_type("0/1/1005/17", filename) for filename in types} == types


def test_filename_like_a_url_has_a_type() -> None:
    """Python 3.13 parses filenames as URLs, and would raise for this one."""
    assert media_type("http://[x.pdf") == "application/pdf"


def test_type_of_the_stored_name_takes_precedence() -> None:
    assert media_type("avatars/me.png", "photo.jpg") == "image/png"
    assert media_type("avatars/me", "photo.jpg") == "image/jpeg"


def test_compressed_file_is_returned_as_stored(store: S3DeliveryStore) -> None:
    """With a Content-Encoding, browsers would unpack it, and the size would differ."""
    name = store.save("drawing.svgz", ContentFile(DATA))
    body, headers = fetched(store.url(name))
    assert (body, headers["Content-Encoding"]) == (DATA, None)
    assert headers["Content-Type"] == "application/gzip"


# -- CloudFront --


@pytest.fixture
def distributed() -> S3DeliveryStore:
    """A store whose URLs lead to CloudFront."""
    return S3DeliveryStore(
        bucket_name="deliveries",
        location="files",
        custom_domain="files.example.com",
        cloudfront_key_id=cloudfront.KEY_ID,
        cloudfront_key=cloudfront.pem(),
    )


def test_cloudfront_url_is_signed_with_the_key_of_the_site(distributed: S3DeliveryStore) -> None:
    """The public key verifies the URL and its expiry."""
    url = distributed.url("Øving 1.txt", expire=60)
    assert url.startswith("https://files.example.com/files/%C3%98ving%201.txt?Expires=")
    assert query(url)["Key-Pair-Id"] == [cloudfront.KEY_ID]
    assert 50 < cloudfront.verify(url) - time.time() <= 61
    assert 3590 < cloudfront.verify(distributed.url("a.txt")) - time.time() <= 3601
    for tampered in (url.replace("ving", "ver"), url.replace("Expires=", "Expires=1")):
        with pytest.raises(InvalidSignature):
            cloudfront.verify(tampered)


def test_cloudfront_url_passes_filename_and_type_to_s3(
    distributed: S3DeliveryStore, subtests: pytest.Subtests
) -> None:
    """They are sent in the query parameters of S3, which are signed as well."""
    for label, filename in HOSTILE.items():
        with subtests.test(label):
            url = distributed.url("a.txt", filename=filename, content_type="text/x-mine")
            cloudfront.verify(url)
            assert set(query(url)) == {
                *("response-content-disposition", "response-content-type"),
                *("Expires", "Signature", "Key-Pair-Id"),
            }
            (header,) = query(url)["response-content-disposition"]
            assert parsed(header) == ("attachment", {"filename": filename})
            assert query(url)["response-content-type"] == ["text/x-mine"]
