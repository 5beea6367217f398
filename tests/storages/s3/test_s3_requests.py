"""The number of requests of each operation of the store on S3, counted by a proxy."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from django.core.files.base import ContentFile

from devilry_storage.exceptions import StoreFailure
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3 import writing
from devilry_storage.testing import PlainFileMeta

from ...harness import s3servers
from ...harness.http_faults import Replace
from ...harness.http_proxy import HttpProxy
from ...harness.odd_responses import wire, with_headers

pytestmark = pytest.mark.servers

MIB = 1 << 20
PART = 5 * MIB


@pytest.fixture
def store(proxy: HttpProxy, bucket: str) -> S3DeliveryStore:
    """A store whose server has been tested for conditional writes."""
    options = s3servers.get("seaweedfs").options(bucket)
    store = S3DeliveryStore(
        **{**options, "endpoint_url": proxy.endpoint_url, "location": uuid.uuid4().hex},
        transfer_config=TransferConfig(multipart_threshold=PART, multipart_chunksize=PART),
    )
    list(store.probe())
    store.save("warm", ContentFile(b""))
    large(store)
    warm = stored(store, 1, 1)
    store.copy(warm, PlainFileMeta(store, 1, 2))
    proxy.forget()
    return store


def large(store: S3DeliveryStore, parts: int = 2) -> tuple[str, bytes]:
    data = os.urandom((parts - 1) * PART + 1000)
    return store.save("large.bin", ContentFile(data)), data


def stored(store: S3DeliveryStore, delivery: int, file: int, data: bytes = b"data") -> Any:
    filemeta = PlainFileMeta(store, delivery, file)
    with store.write_open(filemeta) as writer:
        writer.write(data)
    return filemeta


@contextmanager
def sends(proxy: HttpProxy, *operations: str) -> Iterator[None]:
    """Check that the block sends exactly these requests."""
    proxy.forget()
    yield
    assert proxy.operations() == list(operations)


def test_first_write_of_a_process_tests_conditions(proxy: HttpProxy, bucket: str) -> None:
    """The test creates a new marker twice. Later stores do not repeat it."""
    options = s3servers.get("seaweedfs").options(bucket)
    endpoint = {"endpoint_url": proxy.endpoint_url, "location": uuid.uuid4().hex}
    store = S3DeliveryStore(**{**options, **endpoint})
    with sends(proxy, "PutObject", "PutObject", "PutObject"):
        store.save("a.txt", ContentFile(b"data"))
    with sends(proxy, "PutObject"):
        S3DeliveryStore(**{**options, **endpoint}).save("b.txt", ContentFile(b"data"))


def test_small_save_is_one_request(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """Promise 6: nothing is checked before or after it."""
    with sends(proxy, "PutObject"):
        store.save("a.txt", ContentFile(b"data"))
    with sends(proxy, "PutObject"):
        stored(store, 1005, 17)


def test_alternative_name_costs_two_more_requests(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """The server rejects the first request; the second checks whose object has the name."""
    store.save("a.txt", ContentFile(b"data"))
    with sends(proxy, "PutObject", "HeadObject", "PutObject"):
        assert store.save("a.txt", ContentFile(b"more")) != "a.txt"
    assert [request.status for request in proxy.requests] == [412, 200, 200]


def test_open_and_read_is_one_request(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """Promise 6: for a file of up to 1 MiB, empty ones included."""
    for size in (0, 1, 10_000, MIB):
        name = store.save(f"{size}.bin", ContentFile(bytes(size)))
        with sends(proxy, "GetObject"), store.open(name) as file:
            assert len(file.read()) == size


def test_range_is_one_request_for_its_bytes(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """Promise 6: only the bytes of the range are requested."""
    name = store.save("a.bin", ContentFile(bytes(range(256)) * 1000))
    with sends(proxy, "GetObject"):
        assert b"".join(store.stream(name, 1000, 1010)) == (bytes(range(256)) * 5)[1000:1010]
    assert proxy.requests[0].headers["range"] == "bytes=1000-1009"


def test_stream_is_one_request(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """This applies to files of any size, and to verified streams."""
    name, data = large(store)
    with sends(proxy, "GetObject"):
        assert b"".join(store.stream(name)) == data
    with sends(proxy, "GetObject"):
        digest = hashlib.sha256(data).hexdigest()
        assert b"".join(store.stream(name, sha256=digest)) == data


def test_exists_size_and_time_are_one_request_each(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """Promise 6: the same applies to a missing file."""
    store.save("a.txt", ContentFile(b"data"))
    with sends(proxy, "HeadObject"):
        assert store.exists("a.txt")
    with sends(proxy, "HeadObject"):
        assert not store.exists("b.txt")
    with sends(proxy, "HeadObject"):
        store.size("a.txt")
    with sends(proxy, "HeadObject"):
        store.get_modified_time("a.txt")


def test_url_sends_no_request(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """Promise 6: the URL is computed."""
    with sends(proxy):
        store.url("a.txt", filename="essay.txt")


def test_files_of_a_delivery_are_one_listing(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """Promise 6: finishing a delivery lists its files."""
    for number in range(20):
        stored(store, 1005, number)
    with sends(proxy, "ListObjectsV2"):
        assert len(list(store.scan(store.layout.folder(1005)))) == 20


def test_large_save_is_its_parts_and_three_requests(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """The other requests check the name, and create and complete the upload."""
    with sends(
        proxy,
        "HeadObject",
        "CreateMultipartUpload",
        *["UploadPart"] * 3,
        "CompleteMultipartUpload",
    ):
        large(store, parts=3)


def test_large_save_under_a_used_name_uploads_once(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """It costs no more than under a free name, because its name is an alternative one anyway."""
    store.save("large.bin", ContentFile(b"small"))
    with sends(
        proxy,
        *("HeadObject", "CreateMultipartUpload", "UploadPart", "UploadPart"),
        "CompleteMultipartUpload",
    ):
        large(store)


def test_copy_is_two_requests_without_transfer(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """Promise 6: the server copies the bytes. The name is checked before."""
    source, target = stored(store, 1005, 17, b"x" * 10_000), PlainFileMeta(store, 1006, 18)
    with sends(proxy, "HeadObject", "CopyObject"):
        store.copy(source, target)
    assert (target.size, target.sha256) == (source.size, source.sha256)
    assert store.read_open(target).read() == b"x" * 10_000


def test_duplicate_is_two_requests_without_transfer(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """Restoring a large file is fast."""
    name = store.save("a.bin", ContentFile(b"data"))
    sha256 = hashlib.sha256(b"data").hexdigest()
    with sends(proxy, "HeadObject", "CopyObject"):
        other = store.duplicate(name, store.layout.key(1, 9), size=4, sha256=sha256)
    assert store.layout.parse(other) == (1, 9)
    assert other != store.layout.key(1, 9)
    assert b"".join(store.stream(other)) == b"data"


@pytest.mark.parametrize("known", [{"size": 4}, {"sha256": "0" * 64}], ids=["size", "sha256"])
def test_duplicate_without_checksum_is_read_and_written(
    store: S3DeliveryStore, proxy: HttpProxy, known: dict[str, Any]
) -> None:
    """Without size and SHA-256, a server-side copy could not be verified."""
    name = store.save("a.bin", ContentFile(b"data"))
    with sends(proxy, "GetObject", "PutObject"):
        other = store.duplicate(name, store.layout.key(1, 9), **known)
    assert b"".join(store.stream(other)) == b"data"


def test_current_time_is_that_of_the_server(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The clock of this machine does not count, because the server dates the objects."""
    then = "Sun, 29 Nov 2020 10:00:00 GMT"
    proxy.fault("ListObjectsV2", Replace(lambda reply: wire(with_headers(reply, date=then))), 1)
    assert store.current_time() == datetime(2020, 11, 29, 10, tzinfo=timezone.utc)
    assert proxy.operations() == ["ListObjectsV2"]


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_response_without_a_date_is_an_error(
    store: S3DeliveryStore, proxy: HttpProxy, date: str | None
) -> None:
    """The ages of files are unknown then, so nothing may be removed."""
    proxy.fault("ListObjectsV2", Replace(lambda reply: wire(with_headers(reply, date=date))), 1)
    with pytest.raises(StoreFailure, match="the Date header of the response is .* not a time"):
        store.current_time()


def test_large_copy_is_sent_in_parts(
    store: S3DeliveryStore, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above 5 GiB, here 5 MiB, the server still copies the bytes."""
    monkeypatch.setattr(writing, "LARGEST_COPY", PART)
    monkeypatch.setattr(writing, "COPIED_PART", PART)
    data = os.urandom(2 * PART + 1)
    source, target = stored(store, 1005, 17, data), PlainFileMeta(store, 1006, 18)
    with sends(
        proxy,
        *("HeadObject", "CreateMultipartUpload", *["UploadPartCopy"] * 3),
        "CompleteMultipartUpload",
    ):
        store.copy(source, target)
    assert target.content is not None
    assert b"".join(store.stream(target.content, sha256=source.sha256)) == data


def test_delete_is_one_request(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """Deleting a missing file is one request, too."""
    name = store.save("a.txt", ContentFile(b"data"))
    for _ in range(2):
        with sends(proxy, "DeleteObject"):
            store.delete(name)


def test_deleting_2500_files_is_three_requests(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """Each request has a thousand names. Missing files are not errors."""
    names = [f"many/{number}" for number in range(50)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.save(name, ContentFile(b"x")), names))
    with sends(proxy, *["DeleteObjects"] * 3):
        assert store.delete_many([f"many/{number}" for number in range(2500)]) == {}
    assert list(store.scan("many")) == []


def test_rewrite_is_one_request(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The request is sent when the writer of an ordinary name is closed."""
    store.save("notes.txt", ContentFile(b"old"))
    with sends(proxy, "PutObject"), store.open("notes.txt", "wb") as writer:
        writer.write(b"new")


def test_purge_lists_and_aborts_uploads(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """A purge sends one listing of the uploads, and one request for each upload."""
    store.remote.call("create_multipart_upload", "0/1/1005/17")
    with sends(proxy, "ListMultipartUploads", "AbortMultipartUpload"):
        found = list(store.remove_stale_uploads(datetime.now(timezone.utc) + timedelta(minutes=1)))
    assert found == ["0/1/1005/17"]


def test_page_of_a_folder_is_one_listing(proxy: HttpProxy, store: S3DeliveryStore) -> None:
    """The listing is limited to the page. The next page is one listing, too."""
    for number in range(5):
        store.save(f"0/0/{number}/1", ContentFile(b"1"))
    with sends(proxy, "ListObjectsV2"):
        page = store.page("0/0", limit=3)
    assert (page.folders, page.files) == (["0/0/0", "0/0/1", "0/0/2"], [])
    assert proxy.requests[-1].query["max-keys"] == ["3"]
    with sends(proxy, "ListObjectsV2"):
        rest = store.page("0/0", after=page.next_token, limit=3)
    assert rest == (["0/0/3", "0/0/4"], [], "")
