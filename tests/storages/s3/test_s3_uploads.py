"""Aborting multipart uploads that failed, were left unfinished, or no longer exist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from django.core.files.base import ContentFile
from django.utils import timezone

from devilry_storage.exceptions import StoreDenied
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.testing import PlainFileMeta

from ...harness import s3servers
from ...harness.http_faults import Answer, LoseReply
from ...harness.http_proxy import HttpProxy

pytestmark = pytest.mark.servers

KEYS = ["0/0/1/1", "0/0/1/2", "0/0/1/3"]
IN_PARTS = TransferConfig(multipart_threshold=100_000, multipart_chunksize=5 << 20)
LATER = timedelta(minutes=1)


@pytest.fixture(params=["seaweedfs", "moto"])
def server(request: pytest.FixtureRequest) -> s3servers.Server:
    """For a missing upload, SeaweedFS responds with 204, and moto with 404, like S3."""
    return s3servers.need(request.param)


@pytest.fixture
def proxy(server: s3servers.Server) -> Iterator[HttpProxy]:
    with HttpProxy(server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def options(server: s3servers.Server, proxy: HttpProxy) -> dict[str, Any]:
    options = {**server.options(server.bucket()), "endpoint_url": proxy.endpoint_url}
    return {**options, "transfer_config": IN_PARTS}


@pytest.fixture
def store(options: dict[str, Any]) -> S3DeliveryStore:
    return S3DeliveryStore(**options)


def _begun(server: s3servers.Server, store: S3DeliveryStore, keys: Iterable[str] = KEYS) -> None:
    for key in keys:
        server.client().create_multipart_upload(Bucket=store.bucket_name, Key=key)


def _uploads(server: s3servers.Server, store: S3DeliveryStore) -> list[str]:
    found = server.client().list_multipart_uploads(Bucket=store.bucket_name)
    return [upload["Key"] for upload in found.get("Uploads", ())]


@pytest.mark.parametrize("fault", [LoseReply(), Answer(404, "NoSuchUpload")])
def test_already_aborted_upload_does_not_stop_the_rest(
    server: s3servers.Server, store: S3DeliveryStore, proxy: HttpProxy, fault: LoseReply | Answer
) -> None:
    """The response was lost, or another purge or a lifecycle rule has aborted the upload."""
    _begun(server, store)
    proxy.fault("AbortMultipartUpload", fault)
    assert sorted(store.remove_stale_uploads(timezone.now() + LATER)) == KEYS
    assert proxy.fired == 1
    assert len(_uploads(server, store)) == isinstance(fault, Answer)


def test_uploads_aborted_before_a_failure_are_yielded(
    server: s3servers.Server, store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """Each name is yielded as soon as its upload is aborted."""
    _begun(server, store)
    found = store.remove_stale_uploads(timezone.now() + LATER)
    aborted = next(found)
    proxy.fault("AbortMultipartUpload", Answer(403, "AccessDenied"))
    with pytest.raises(StoreDenied, match="s3:AbortMultipartUpload"):
        next(found)
    assert sorted([aborted, *_uploads(server, store)]) == KEYS


def test_foreign_uploads_are_kept_without_a_location(
    server: s3servers.Server, store: S3DeliveryStore
) -> None:
    """In such a bucket, only keys of the layout and those of a probe belong to the store."""
    foreign = ["0/0/1", "0/0/1/01", "0/1/1/1", "backup.tar", "media/0/0/1/1"]
    ours = [".devilry-storage/probe/0/1", *KEYS]
    _begun(server, store, [*foreign, *ours])
    assert sorted(store.remove_stale_uploads(timezone.now() + LATER)) == ours
    assert sorted(_uploads(server, store)) == foreign


def test_failed_upload_is_aborted_by_one_request(
    server: s3servers.Server, store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """The caller gets the error of the upload, without waiting for retries of the abort."""
    store.save("warm", ContentFile(bytes(100_001)))
    proxy.forget()
    proxy.fault("UploadPart", Answer(403, "AccessDenied"))
    proxy.fault("AbortMultipartUpload", Answer(503, "SlowDown"), 9)
    with pytest.raises(StoreDenied, match="upload_part"):
        store.save("a.bin", ContentFile(bytes(100_001)))
    assert proxy.operations().count("AbortMultipartUpload") == 1
    (left,) = _uploads(server, store)
    assert left.startswith("a_")


class _Scanning(S3DeliveryStore):
    """Sees every file that is created, as a virus scanner does."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.scanned: list[bytes] = []

    def _create(self, name: str, content: Any) -> str:
        self.scanned.append(b"".join(content.chunks()))
        return super()._create(name, content)


def test_overridden_create_sees_all_files(server: s3servers.Server) -> None:
    """Those of save() and those of writers."""
    store = _Scanning(**server.options(server.bucket()))
    store.save("a.txt", ContentFile(b"saved"))
    with store.write_open(PlainFileMeta(store, 1, 1)) as writer:
        writer.write(b"written")
    assert store.scanned == [b"saved", b"written"]
