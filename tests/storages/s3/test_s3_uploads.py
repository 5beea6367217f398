"""Aborting uploads in parts: those that failed, those that nobody ended, those that are gone."""

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
from devilry_storage.storages.s3 import conditions

from ...harness import s3servers
from ...harness.http_faults import Answer, LoseReply
from ...harness.http_proxy import HttpProxy

pytestmark = pytest.mark.servers

KEYS = ["0/0/1/1", "0/0/1/2", "0/0/1/3"]
IN_PARTS = TransferConfig(multipart_threshold=100_000, multipart_chunksize=5 << 20)
LATER = timedelta(minutes=1)


@pytest.fixture(params=["seaweedfs", "moto"])
def server(request: pytest.FixtureRequest) -> s3servers.Server:
    """SeaweedFS answers 204 where there is no such upload, moto 404 as S3 does."""
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
    return [each["Key"] for each in found.get("Uploads", ())]


@pytest.mark.parametrize("fault", [LoseReply(), Answer(404, "NoSuchUpload")])
def test_already_aborted_upload_does_not_stop_the_rest(
    server: s3servers.Server,
    store: S3DeliveryStore,
    proxy: HttpProxy,
    fault: LoseReply | Answer,
) -> None:
    """The reply was lost, or another purge or a lifecycle rule was there before."""
    _begun(server, store)
    proxy.fault("AbortMultipartUpload", fault)
    assert sorted(store.remove_stale_uploads(timezone.now() + LATER)) == KEYS
    assert proxy.fired == 1
    assert len(_uploads(server, store)) == isinstance(fault, Answer)


def test_uploads_aborted_before_a_failure_are_yielded(
    server: s3servers.Server, store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """One name after the other, as it is done."""
    _begun(server, store)
    found = store.remove_stale_uploads(timezone.now() + LATER)
    told = next(found)
    proxy.fault("AbortMultipartUpload", Answer(403, "AccessDenied"))
    with pytest.raises(StoreDenied, match="s3:AbortMultipartUpload"):
        next(found)
    assert sorted([told, *_uploads(server, store)]) == KEYS


def test_foreign_uploads_are_kept_without_a_location(
    server: s3servers.Server, store: S3DeliveryStore
) -> None:
    """Only keys of the layout and the store's own marker are ours in such a bucket."""
    others = ["0/0/1", "0/0/1/01", "0/1/1/1", "backup.tar", "media/0/0/1/1"]
    ours = [conditions.MARKER, *KEYS]
    _begun(server, store, [*others, *ours])
    assert sorted(store.remove_stale_uploads(timezone.now() + LATER)) == ours
    assert sorted(_uploads(server, store)) == others


def test_failed_upload_is_aborted_by_one_request(
    server: s3servers.Server, store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """Where nobody answers, the caller need not wait for it as well; its own error is told."""
    store.save("warm", ContentFile(bytes(100_001)))
    proxy.forget()
    proxy.fault("UploadPart", Answer(403, "AccessDenied"))
    proxy.fault("AbortMultipartUpload", Answer(503, "SlowDown"), 9)
    with pytest.raises(StoreDenied, match="upload_part"):
        store.save("a.bin", ContentFile(bytes(100_001)))
    assert proxy.operations().count("AbortMultipartUpload") == 1
    assert _uploads(server, store) == ["a.bin"]


def test_failed_trial_raises_its_own_error(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The first error matters, and the abort is one request."""
    proxy.fault("CompleteMultipartUpload", Answer(403, "AccessDenied"))
    proxy.fault("AbortMultipartUpload", Answer(503, "SlowDown"), 9)
    with pytest.raises(StoreDenied, match="complete_multipart_upload"):
        list(conditions.findings(store.remote))
    assert proxy.operations().count("AbortMultipartUpload") == 1
