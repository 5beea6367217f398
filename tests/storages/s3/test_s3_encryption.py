"""Encryption, ACLs and other object parameters are sent with every request that needs them."""

from __future__ import annotations

import os
import uuid
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from django.core.files.base import ContentFile

from devilry_storage.exceptions import StoreDenied, StoreFailure
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3 import writing
from devilry_storage.storages.s3.writing import _MARKER
from devilry_storage.testing import PlainFileMeta

from ...harness import s3servers
from ...harness.http_proxy import HttpProxy

pytestmark = pytest.mark.servers

MIB = 1 << 20
PART = 5 * MIB
SSE_C = "x-amz-server-side-encryption-customer-algorithm"
SSE_C_SOURCE = "x-amz-copy-source-server-side-encryption-customer-algorithm"
SSE = "x-amz-server-side-encryption"

WRITES = {"PutObject", "CopyObject", "CreateMultipartUpload"}


@pytest.fixture
def options(proxy: HttpProxy, bucket: str) -> dict[str, Any]:
    proxy.forget()
    return {
        **s3servers.get("seaweedfs").options(bucket),
        "endpoint_url": proxy.endpoint_url,
        "location": uuid.uuid4().hex,
        "transfer_config": TransferConfig(multipart_threshold=PART, multipart_chunksize=PART),
    }


def customer_key() -> dict[str, Any]:
    return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": os.urandom(32)}


def use(store: S3DeliveryStore) -> PlainFileMeta:
    """Write, copy, read, list and delete small and large files; return a large one."""
    copies = []
    for number, data in enumerate((os.urandom(1000), os.urandom(PART + 1000)), 1):
        row, copy = PlainFileMeta(store, 1, number), PlainFileMeta(store, 2, number)
        with store.write_open(row) as writer:
            writer.write(data)
        store.copy(row, copy)
        copies.append(copy)
        assert store.read_open(copy).read() == data
        assert store.size(str(copy.content)) == len(data)
        assert b"".join(store.stream(str(row.content), 10, 20)) == data[10:20]
    assert len(list(store.scan())) == 4
    store.delete("0/0/1/1")
    assert not store.delete_many([str(copies[0].content)])
    return row


def copy_in_parts(row: PlainFileMeta, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "LARGEST_COPY", PART)
    copy = PlainFileMeta(row.store, 3, 1)
    row.store.copy(row, copy)
    assert b"".join(row.store.stream(str(copy.content), sha256=row.sha256))


def test_sse_c_key_is_sent_with_requests_that_need_it(
    options: dict[str, Any], proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes, reads and parts send the key; copies send that of the source, too."""
    row = use(S3DeliveryStore(**options, object_parameters=customer_key()))
    # SeaweedFS does not support it. Only the request is tested.
    with pytest.raises(StoreFailure, match="upload_part_copy.*NotImplemented"):
        copy_in_parts(row, monkeypatch)
    needing = WRITES | {
        *("UploadPart", "UploadPartCopy", "CompleteMultipartUpload", "GetObject", "HeadObject")
    }
    assert needing < set(proxy.operations())
    for request in proxy.requests:
        assert (SSE_C in request.headers) is (request.operation in needing), request.target
        copies = request.operation in {"CopyObject", "UploadPartCopy"}
        assert (SSE_C_SOURCE in request.headers) is copies, request.target


def test_reading_without_the_sse_c_key_fails(options: dict[str, Any]) -> None:
    """Reading fails without a key and with another key."""
    S3DeliveryStore(**options, object_parameters=customer_key()).save("a", ContentFile(b"data"))
    for parameters in ({}, customer_key()):
        with pytest.raises((StoreDenied, StoreFailure)):
            S3DeliveryStore(**options, object_parameters=parameters).open("a")


def test_every_write_requests_the_configured_encryption(
    options: dict[str, Any], proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's own marker is encrypted, too, because a policy may require encryption."""
    parameters = {"ServerSideEncryption": "AES256"}
    copy_in_parts(use(S3DeliveryStore(**options, object_parameters=parameters)), monkeypatch)
    assert any(request.path.endswith(_MARKER) for request in proxy.requests)
    for request in proxy.requests:
        assert (SSE in request.headers) is (request.operation in WRITES), request.target


def test_object_parameters_apply_to_every_object(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They apply to single requests, parts and copies; the store's metadata takes precedence."""
    metadata = {"course": "inf1000", "sha256": "theirs", "devilry-token": "theirs"}
    parameters = {"CacheControl": "no-store", "Metadata": metadata}
    store = S3DeliveryStore(**options, object_parameters=parameters)
    copy_in_parts(use(store), monkeypatch)
    store.save("small", ContentFile(b"data"))
    names = [entry.name for entry in store.scan()]
    assert len(names) == 4
    for name in names:
        found = store.remote.call("head_object", name)
        assert found["CacheControl"] == "no-store"
        assert found["Metadata"]["course"] == "inf1000"
        assert found["Metadata"].get("sha256") != "theirs"
        assert len(found["Metadata"]["devilry-token"]) == 32
    assert metadata["sha256"] == "theirs"


def test_object_parameters_override_type_and_acl(
    options: dict[str, Any], proxy: HttpProxy
) -> None:
    """As in S3Storage, they override the type by filename and the option default_acl."""
    parameters = {"ContentType": "application/x-mine", "ACL": "bucket-owner-full-control"}
    S3DeliveryStore(**options, default_acl="private", object_parameters=parameters).save(
        "a.txt", ContentFile(b"data")
    )
    (request,) = (request for request in proxy.requests if request.path.endswith("/a.txt"))
    assert request.headers["content-type"] == "application/x-mine"
    assert request.headers["x-amz-acl"] == "bucket-owner-full-control"


@pytest.mark.parametrize(
    "given",
    [
        {"default_acl": "bucket-owner-full-control"},
        {"object_parameters": {"ACL": "bucket-owner-full-control"}},
    ],
    ids=["default_acl", "object_parameters"],
)
def test_acl_is_sent_with_every_object_and_marker(
    options: dict[str, Any],
    proxy: HttpProxy,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
) -> None:
    """The bucket of another account may require that it becomes the owner of all objects."""
    copy_in_parts(use(S3DeliveryStore(**options, **given)), monkeypatch)
    assert any(request.path.endswith(_MARKER) for request in proxy.requests)
    for request in proxy.requests:
        has_acl = request.headers.get("x-amz-acl") == "bucket-owner-full-control"
        assert has_acl is (request.operation in WRITES), request.target


class ByName(S3DeliveryStore):
    """A store with parameters for each object, as in S3Storage's documentation."""

    def get_object_parameters(self, name: str) -> dict[str, Any]:
        return {"CacheControl": f"max-age={len(name)}"}


def test_subclass_sets_parameters_for_each_object(options: dict[str, Any]) -> None:
    store = ByName(**options)
    for name in ("a", "abc"):
        store.save(name, ContentFile(b"data"))
        found = store.remote.call("head_object", name)
        assert found["CacheControl"] == f"max-age={len(name)}"


@pytest.mark.parametrize("calculation", ["when_supported", "when_required"])
def test_bucket_with_object_lock_accepts_uploads(calculation: Any) -> None:
    """Such a bucket requires a checksum and its algorithm in requests that store an object."""
    server = s3servers.need("moto")
    bucket = f"deliveries-{uuid.uuid4().hex}"
    server.client().create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    retention = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    server.client().put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention}
    )
    store = S3DeliveryStore(
        **server.options(bucket),
        transfer_config=TransferConfig(multipart_threshold=PART, multipart_chunksize=PART),
        client_config=Config(request_checksum_calculation=calculation),
    )
    for name, data in {"small.txt": b"data", "large.bin": bytes(PART + 1)}.items():
        assert b"".join(store.stream(store.save(name, ContentFile(data)))) == data
