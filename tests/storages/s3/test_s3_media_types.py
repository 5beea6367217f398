"""The media types and dispositions with which objects are stored on S3."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from django.core.files.base import ContentFile
from storages.backends.s3 import S3Storage

from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3 import writing
from devilry_storage.testing import PlainFileMeta

from ...harness import s3servers

pytestmark = pytest.mark.servers

PART = 5 << 20
PAGE = b"<script>alert(1)</script>"

#: The types of delivered files, which are those of downloads: browsers never execute them.
TYPES = {
    "essay.html": "application/octet-stream",
    "essay.HTM": "application/octet-stream",
    "essay.xhtml": "application/octet-stream",
    "drawing.svg": "application/octet-stream",
    "feed.xml": "application/octet-stream",
    "essay.mht": "application/octet-stream",
    "essay.tar.gz": "application/octet-stream",
    "script.js": "text/plain; charset=utf-8",
    "style.css": "text/plain; charset=utf-8",
    "essay.txt": "text/plain; charset=utf-8",
    "essay.pdf": "application/pdf",
    "photo.PNG": "image/png",
    "essay": "application/octet-stream",
    "": "application/octet-stream",
}


class Named(PlainFileMeta):
    """A file with the filename of a student."""

    def __init__(self, store: S3DeliveryStore, delivery: int, file: int, filename: str) -> None:
        super().__init__(store, delivery, file)
        self.filename = filename


def new_store(**options: Any) -> S3DeliveryStore:
    server = s3servers.need("seaweedfs")
    parts = TransferConfig(multipart_threshold=100_000, multipart_chunksize=PART)
    return S3DeliveryStore(
        **server.options(server.bucket()),
        location=uuid.uuid4().hex,
        transfer_config=parts,
        **options,
    )


@pytest.fixture(scope="module")
def store() -> S3DeliveryStore:
    return new_store()


def headers(store: S3DeliveryStore, name: object) -> tuple[str, str | None]:
    """Return the type and the disposition with which S3 sends the object on its own."""
    found = store.remote.call("head_object", str(name))
    return found["ContentType"], found.get("ContentDisposition")


def stored(store: S3DeliveryStore, filename: str, file: int, data: bytes = PAGE) -> Named:
    row = Named(store, 1, file, filename)
    with store.write_open(row) as writer:
        writer.write(data)
    return row


def ways(store: S3DeliveryStore, filename: str) -> Iterator[tuple[str, str | None]]:
    """Yield the names of keys that were stored in every way."""
    row = stored(store, filename, 1)
    yield "write_open", row.content
    yield "write_open in parts", stored(store, filename, 2, PAGE * 5000).content
    with store.write_open(row) as writer:
        writer.write(PAGE)
    yield "write_open again", row.content
    copy = Named(store, 2, 1, filename)
    store.copy(row, copy)
    yield "copy", copy.content
    assert row.content is not None
    key, sha256 = store.layout.key(3, 1), hashlib.sha256(PAGE).hexdigest()
    yield "save", store.save(key, ContentFile(PAGE, name=filename))
    for known in ({"size": len(PAGE), "sha256": sha256}, {}):
        name = store.duplicate(row.content, key, filename=filename, **known)  # type: ignore[arg-type]
        yield f"duplicate {len(known)}", name


@pytest.mark.parametrize("options", [{}, {"server_side_copy": False}], ids=["within", "through"])
def test_key_has_a_safe_type_and_is_an_attachment(
    subtests: pytest.Subtests, options: dict[str, Any]
) -> None:
    """A cache that drops the query of a signed URL does not show it in the browser."""
    given = new_store(**options)._given
    for filename, expected in TYPES.items():
        store = S3DeliveryStore(**{**given, "location": uuid.uuid4().hex})
        for way, name in ways(store, filename):
            with subtests.test(filename, way=way):
                assert headers(store, name) == (expected, "attachment")


def test_copy_in_parts_has_the_same_headers(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LARGEST_COPY", 10)
    row, copy = stored(store, "essay.html", 5), Named(store, 2, 5, "essay.html")
    store.copy(row, copy)
    assert headers(store, copy.content) == ("application/octet-stream", "attachment")


def test_object_parameters_do_not_make_keys_unsafe() -> None:
    """They apply to ordinary names, as in S3Storage."""
    given = {
        "ContentType": "text/html",
        "ContentDisposition": "inline",
        "CacheControl": "no-store",
    }
    store = new_store(object_parameters=given)
    row = stored(store, "essay.html", 1)
    assert headers(store, row.content) == ("application/octet-stream", "attachment")
    name = store.save("page.html", ContentFile(PAGE))
    assert headers(store, name) == ("text/html", "inline")


@pytest.mark.parametrize("name", ["page.html", "avatars/me.png", "data", "essay.tar.gz"])
def test_ordinary_name_has_the_type_of_django_storages(store: S3DeliveryStore, name: str) -> None:
    """Its files are the site's own. They have no disposition."""
    theirs = S3Storage(
        **{key: value for key, value in store._given.items() if key in THEIR_OPTIONS},
        location=f"{store.location}/theirs",
    )
    theirs.save(name, ContentFile(PAGE))
    found = store.remote.call("head_object", f"theirs/{name}")
    expected = found["ContentType"]
    if "ContentEncoding" in found:  # the store sets none, because browsers would unpack the file
        expected = "application/gzip"
    assert headers(store, store.save(name, ContentFile(PAGE))) == (expected, None)


THEIR_OPTIONS = {
    *("bucket_name", "endpoint_url", "access_key", "secret_key", "region_name"),
    "addressing_style",
}
