"""The HTTP proxy injects the planned faults and records requests."""

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
    """Return a client that uses the proxy and never retries."""
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


def test_bytes_pass_unchanged_over_one_connection(
    server: Server, proxy: HttpProxy, bucket: str
) -> None:
    """Sends and reads 16 MiB, from bytes and (with 100-continue) from a file."""
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


def test_operations_are_classified(server: Server, proxy: HttpProxy, bucket: str) -> None:
    """Method, query and headers identify the operation."""
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


def test_requests_of_eight_threads_are_recorded(
    server: Server, proxy: HttpProxy, bucket: str
) -> None:
    """Each request is recorded once, on at most eight connections."""
    client = through(server, proxy)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: client.put_object(Bucket=bucket, Key=f"{n}", Body=b""), range(80)))
    assert proxy.operations() == ["PutObject"] * 80
    assert proxy.connections <= 8


def test_lost_reply_closes_the_connection_after_the_work(
    server: Server, proxy: HttpProxy, bucket: str
) -> None:
    """The object exists, and the next request passes."""
    client = through(server, proxy)
    proxy.fault("PutObject", LoseReply())
    with pytest.raises(ConnectionClosedError):
        client.put_object(Bucket=bucket, Key="lost", Body=b"data")
    assert client.get_object(Bucket=bucket, Key="lost")["Body"].read() == b"data"
    assert proxy.fired == 1


def test_cut_request_makes_no_object(server: Server, proxy: HttpProxy, bucket: str) -> None:
    """The server gets only a part of the body."""
    client = through(server, proxy)
    proxy.fault("PutObject", CutRequest(1000))
    with pytest.raises(HTTPClientError):
        client.put_object(Bucket=bucket, Key="cut", Body=bytes(5_000_000))
    with pytest.raises(ClientError, match="404"):
        client.head_object(Bucket=bucket, Key="cut")


def test_cut_reply_ends_early(server: Server, proxy: HttpProxy, bucket: str) -> None:
    """The client gets the planned number of bytes and then an error."""
    client = through(server, proxy)
    client.put_object(Bucket=bucket, Key="down", Body=bytes(100_000))
    proxy.fault("GetObject", CutReply(70_000))
    received = 0
    with pytest.raises(Exception, match=r"Incomplete|incomplete|bytes expected"):
        for chunk in client.get_object(Bucket=bucket, Key="down")["Body"].iter_chunks(10_000):
            received += len(chunk)
    assert received == 70_000


def test_error_reply_of_the_proxy_does_not_reach_the_server(
    server: Server, proxy: HttpProxy, bucket: str
) -> None:
    """Two errors of S3 and the server's own reply come on one connection."""
    client = through(server, proxy)
    proxy.fault("PutObject", Answer(503, "SlowDown"), times=2)
    for _ in range(2):
        with pytest.raises(ClientError, match="SlowDown"):
            client.put_object(Bucket=bucket, Key="slow", Body=b"data")
    with pytest.raises(ClientError, match="404"):
        client.head_object(Bucket=bucket, Key="slow")
    client.put_object(Bucket=bucket, Key="slow", Body=b"data")
    assert [request.status for request in proxy.requests] == [503, 503, 404, 200]


def test_delay_affects_only_its_operation(server: Server, proxy: HttpProxy, bucket: str) -> None:
    """One request of the operation takes at least the delay."""
    client = through(server, proxy)
    client.put_object(Bucket=bucket, Key="late", Body=b"data")
    proxy.fault("HeadObject", Delay(0.5))
    client.get_object(Bucket=bucket, Key="late")["Body"].read()
    began = time.monotonic()
    client.head_object(Bucket=bucket, Key="late")
    assert time.monotonic() - began >= 0.5


def test_black_hole_never_replies(server: Server, proxy: HttpProxy, bucket: str) -> None:
    """The client times out; the server does not get the request."""
    client = through(server, proxy, read_timeout=1)
    proxy.fault("PutObject", BlackHole())
    with pytest.raises(HTTPClientError):
        client.put_object(Bucket=bucket, Key="swallowed", Body=b"data")
    with pytest.raises(ClientError, match="404"):
        client.head_object(Bucket=bucket, Key="swallowed")


def test_flipped_bit_is_the_only_change(server: Server, proxy: HttpProxy, bucket: str) -> None:
    """Status, length and all other bytes are unchanged."""
    client, data = through(server, proxy), os.urandom(200_000)
    client.put_object(Bucket=bucket, Key="flipped", Body=data)
    proxy.fault("GetObject", FlipBit(150_000, bit=3))
    # The reply to a range has no checksum, so boto3 does not notice.
    answer = client.get_object(Bucket=bucket, Key="flipped", Range="bytes=0-")
    received = bytearray(answer["Body"].read())
    assert received[150_000] == data[150_000] ^ 8
    received[150_000] ^= 8
    assert received == data


def test_flipped_request_bit_is_stored_without_checksums(
    server: Server, proxy: HttpProxy, bucket: str
) -> None:
    """It is the only change; neither a checksum nor the signature covers the body."""
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


def test_stalled_reply_stops_early(server: Server, proxy: HttpProxy, bucket: str) -> None:
    """The client gets the planned number of bytes and times out."""
    client = through(server, proxy, read_timeout=1)
    client.put_object(Bucket=bucket, Key="stalled", Body=bytes(100_000))
    proxy.fault("GetObject", StallReply(70_000))
    received = 0
    with pytest.raises(Exception, match="Read timeout"):
        for chunk in client.get_object(Bucket=bucket, Key="stalled")["Body"].iter_chunks(10_000):
            received += len(chunk)
    assert received == 70_000


def test_delayed_reply_comes_after_the_work(server: Server, proxy: HttpProxy, bucket: str) -> None:
    """A client that does not wait finds the object."""
    client = through(server, proxy, read_timeout=0.3)
    proxy.fault("PutObject", DelayReply(0.8))
    with pytest.raises(HTTPClientError):
        client.put_object(Bucket=bucket, Key="late-reply", Body=b"data")
    assert client.get_object(Bucket=bucket, Key="late-reply")["Body"].read() == b"data"


@pytest.mark.parametrize("reaches", [True, False])
def test_reply_is_replaced(server: Server, bucket: str, proxy: HttpProxy, reaches: bool) -> None:
    """The function gets an empty reply if the server does not get the request."""
    key = f"replaced-{reaches}"
    proxy.fault("PutObject", Replace(lambda reply: b"HTTP/1.1 500 planned\r\n\r\n", reaches, True))
    with pytest.raises(ClientError, match="500"):
        through(server, proxy).put_object(Bucket=bucket, Key=key, Body=b"data")
    found = server.client().list_objects_v2(Bucket=bucket, Prefix=key)
    assert found["KeyCount"] == reaches
