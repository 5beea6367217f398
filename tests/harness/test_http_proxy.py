"""The proxy breaks what it is told to break, counts what comes by, and nothing else."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError

from . import s3servers
from .http_faults import (
    Answer,
    BlackHole,
    CutReply,
    CutRequest,
    Delay,
    DelayReply,
    FlipBit,
    FlipRequestBit,
    LoseReply,
    Replace,
    StallReply,
)
from .http_proxy import HttpProxy
from .s3servers import Server

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server() -> Server:
    return s3servers.need("seaweedfs")


@pytest.fixture
def proxy(server: Server) -> Iterator[HttpProxy]:
    with HttpProxy(server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def bucket(server: Server) -> str:
    return server.bucket()


def through(server: Server, proxy: HttpProxy, **config: Any) -> Any:
    """Return a client of the server through the proxy that tries everything once."""
    import boto3
    from botocore.config import Config

    config.setdefault("read_timeout", 10)
    return boto3.session.Session().client(
        "s3",
        endpoint_url=proxy.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
        config=Config(
            retries={"total_max_attempts": 1},
            max_pool_connections=20,
            **{"s3": {"addressing_style": "path"}, **config},
        ),
    )


def test_bytes_pass_as_they_are_over_one_connection(
    server: Server, proxy: HttpProxy, bucket: str
) -> None:
    """16 MiB up and down, from bytes and (with 100-continue) from a file, in four requests."""
    client, data = through(server, proxy), os.urandom(16 << 20)
    client.put_object(Bucket=bucket, Key="a", Body=data)
    client.put_object(Bucket=bucket, Key="b", Body=io.BytesIO(data))
    for key in "ab":
        received = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()
    assert proxy.operations() == ["PutObject", "PutObject", "GetObject", "GetObject"]
    assert proxy.connections == 1
    assert "100-continue" in proxy.requests[1].headers["expect"]
    assert [request.status for request in proxy.requests] == [200] * 4


def test_operations_are_told_apart(server: Server, proxy: HttpProxy, bucket: str) -> None:
    """By method, query and headers."""
    client, where = through(server, proxy), {"Bucket": bucket, "Key": "some/key"}
    client.put_object(**where, Body=b"data")
    client.head_object(**where)
    client.copy_object(Bucket=bucket, Key="copy", CopySource=where)
    upload = client.create_multipart_upload(**where)["UploadId"]
    part = client.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"x")
    client.upload_part_copy(**where, UploadId=upload, PartNumber=2, CopySource=where)
    client.list_multipart_uploads(Bucket=bucket)
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    aborted = client.create_multipart_upload(**where)["UploadId"]
    client.abort_multipart_upload(**where, UploadId=aborted)
    client.list_objects_v2(Bucket=bucket, Prefix="some/")
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "copy"}]})
    client.delete_object(**where)
    client.head_bucket(Bucket=bucket)
    assert proxy.operations() == [
        *("PutObject", "HeadObject", "CopyObject", "CreateMultipartUpload", "UploadPart"),
        *("UploadPartCopy", "ListMultipartUploads", "CompleteMultipartUpload"),
        *("CreateMultipartUpload", "AbortMultipartUpload", "ListObjectsV2", "DeleteObjects"),
        *("DeleteObject", "HeadBucket"),
    ]


def test_eight_threads_are_counted(server: Server, proxy: HttpProxy, bucket: str) -> None:
    """Each request once, on at most eight connections."""
    client = through(server, proxy)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: client.put_object(Bucket=bucket, Key=f"{n}", Body=b""), range(80)))
    assert proxy.operations() == ["PutObject"] * 80
    assert proxy.connections <= 8


def test_a_lost_reply_is_a_closed_connection_to_work_that_was_done(
    server: Server, proxy: HttpProxy, bucket: str
) -> None:
    """The object is there; the next request passes."""
    client = through(server, proxy)
    proxy.fault("PutObject", LoseReply())
    with pytest.raises(ConnectionClosedError):
        client.put_object(Bucket=bucket, Key="lost", Body=b"data")
    assert client.get_object(Bucket=bucket, Key="lost")["Body"].read() == b"data"
    assert proxy.fired == 1


def test_a_cut_request_never_becomes_an_object(
    server: Server, proxy: HttpProxy, bucket: str
) -> None:
    """A part of the body reaches the server."""
    client = through(server, proxy)
    proxy.fault("PutObject", CutRequest(1000))
    with pytest.raises(HTTPClientError):
        client.put_object(Bucket=bucket, Key="cut", Body=bytes(5_000_000))
    with pytest.raises(ClientError, match="404"):
        client.head_object(Bucket=bucket, Key="cut")


def test_a_cut_reply_ends_in_the_middle(server: Server, proxy: HttpProxy, bucket: str) -> None:
    """So many bytes arrive, and then an error."""
    client = through(server, proxy)
    client.put_object(Bucket=bucket, Key="down", Body=bytes(100_000))
    proxy.fault("GetObject", CutReply(70_000))
    received = 0
    with pytest.raises(Exception, match=r"Incomplete|incomplete|bytes expected"):
        for chunk in client.get_object(Bucket=bucket, Key="down")["Body"].iter_chunks(10_000):
            received += len(chunk)
    assert received == 70_000


def test_an_answer_of_the_proxy_keeps_the_request_from_the_server(
    server: Server, proxy: HttpProxy, bucket: str
) -> None:
    """Twice an error of S3, then the server's own answer, on one connection."""
    client = through(server, proxy)
    proxy.fault("PutObject", Answer(503, "SlowDown"), times=2)
    for _ in range(2):
        with pytest.raises(ClientError, match="SlowDown"):
            client.put_object(Bucket=bucket, Key="slow", Body=b"data")
    with pytest.raises(ClientError, match="404"):
        client.head_object(Bucket=bucket, Key="slow")
    client.put_object(Bucket=bucket, Key="slow", Body=b"data")
    assert [request.status for request in proxy.requests] == [503, 503, 404, 200]


def test_a_delay_holds_up_only_what_it_is_meant_for(
    server: Server, proxy: HttpProxy, bucket: str
) -> None:
    """One request of the operation, for at least so long."""
    client = through(server, proxy)
    client.put_object(Bucket=bucket, Key="late", Body=b"data")
    proxy.fault("HeadObject", Delay(0.5))
    client.get_object(Bucket=bucket, Key="late")["Body"].read()
    began = time.monotonic()
    client.head_object(Bucket=bucket, Key="late")
    assert time.monotonic() - began >= 0.5


def test_a_black_hole_never_answers(server: Server, proxy: HttpProxy, bucket: str) -> None:
    """The client's own patience ends it; the server never saw the request."""
    client = through(server, proxy, read_timeout=1)
    proxy.fault("PutObject", BlackHole())
    with pytest.raises(HTTPClientError):
        client.put_object(Bucket=bucket, Key="swallowed", Body=b"data")
    with pytest.raises(ClientError, match="404"):
        client.head_object(Bucket=bucket, Key="swallowed")


def test_a_flipped_bit_is_the_only_change(server: Server, proxy: HttpProxy, bucket: str) -> None:
    """Status, length and every other byte are the server's."""
    client, data = through(server, proxy), os.urandom(200_000)
    client.put_object(Bucket=bucket, Key="flipped", Body=data)
    proxy.fault("GetObject", FlipBit(150_000, bit=3))
    # A range is answered without a checksum, by which boto3 would notice.
    answer = client.get_object(Bucket=bucket, Key="flipped", Range="bytes=0-")
    received = bytearray(answer["Body"].read())
    assert received[150_000] == data[150_000] ^ 8
    received[150_000] ^= 8
    assert received == data


def test_a_bit_flipped_on_the_way_up_is_stored_where_nothing_checks_it(
    server: Server, proxy: HttpProxy, bucket: str
) -> None:
    """It is the only change; a request without checksums and a signed body lets it through."""
    client = through(
        server,
        proxy,
        request_checksum_calculation="when_required",
        s3={"addressing_style": "path", "payload_signing_enabled": False},
    )
    data = bytearray(os.urandom(200_000))
    proxy.fault("PutObject", FlipRequestBit(150_000, bit=3))
    client.put_object(Bucket=bucket, Key="flipped-up", Body=bytes(data))
    data[150_000] ^= 8
    assert server.client().get_object(Bucket=bucket, Key="flipped-up")["Body"].read() == data


def test_a_stalled_reply_stops_in_the_middle(
    server: Server, proxy: HttpProxy, bucket: str
) -> None:
    """So many bytes arrive, and then nothing, until the client's patience ends."""
    client = through(server, proxy, read_timeout=1)
    client.put_object(Bucket=bucket, Key="stalled", Body=bytes(100_000))
    proxy.fault("GetObject", StallReply(70_000))
    received = 0
    with pytest.raises(Exception, match="Read timeout"):
        for chunk in client.get_object(Bucket=bucket, Key="stalled")["Body"].iter_chunks(10_000):
            received += len(chunk)
    assert received == 70_000


def test_a_delayed_reply_is_late_though_the_work_is_done(
    server: Server, proxy: HttpProxy, bucket: str
) -> None:
    """Who does not wait for it finds the object there."""
    client = through(server, proxy, read_timeout=0.3)
    proxy.fault("PutObject", DelayReply(0.8))
    with pytest.raises(HTTPClientError):
        client.put_object(Bucket=bucket, Key="late-reply", Body=b"data")
    assert client.get_object(Bucket=bucket, Key="late-reply")["Body"].read() == b"data"


@pytest.mark.parametrize("reaches", [True, False])
def test_reply_is_replaced(server: Server, bucket: str, proxy: HttpProxy, reaches: bool) -> None:
    """With what a function makes of the server's reply, which is empty if it has no request."""
    key = f"replaced-{reaches}"
    proxy.fault("PutObject", Replace(lambda reply: b"HTTP/1.1 500 planned\r\n\r\n", reaches, True))
    with pytest.raises(ClientError, match="500"):
        through(server, proxy).put_object(Bucket=bucket, Key=key, Body=b"data")
    found = server.client().list_objects_v2(Bucket=bucket, Prefix=key)
    assert found["KeyCount"] == reaches
