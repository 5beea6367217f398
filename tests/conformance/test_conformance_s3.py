"""S3DeliveryStore passes the conformance suite on SeaweedFS and on moto's server."""

from __future__ import annotations

import functools
import uuid
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from django.test import SimpleTestCase

from devilry_storage.storages import DeliveryStoreMixin, S3DeliveryStore
from devilry_storage.testing import TestDeliveryStoreMixin
from devilry_storage.testing.conformance.bounded_memory import BoundedMemoryCases

from ..harness import s3servers

pytestmark = pytest.mark.servers

# The fastest: the size of the suite's large files depends on the parts.
SMALL_PARTS = TransferConfig(multipart_chunksize=5 << 20, max_concurrency=1)


class S3Cases(TestDeliveryStoreMixin, SimpleTestCase):
    __test__ = False

    server: str
    options: dict[str, Any] = {}

    def make_store(self) -> DeliveryStoreMixin:
        server = s3servers.need(self.server)
        given = server.options(self.bucket(server))
        return S3DeliveryStore(**{**given, "transfer_config": SMALL_PARTS, **self.options})

    def bucket(self, server: s3servers.Server) -> str:
        return server.bucket()


class TestS3DeliveryStoreOnSeaweedFS(S3Cases):
    __test__ = True
    server = "seaweedfs"

    def bucket(self, server: s3servers.Server) -> str:
        # The first file of a bucket takes 0.2 seconds: share a bucket, with a prefix per case.
        self.options = {"location": f"cases/{uuid.uuid4().hex}"}
        return _shared_bucket(server)


class TestS3DeliveryStoreOnMoto(S3Cases):
    __test__ = True
    server = "moto"


class TestMemoryWithDefaultOptions(BoundedMemoryCases, SimpleTestCase):
    """The bound follows the parts: of 8 MiB, three at a time."""

    __test__ = True

    def make_store(self) -> DeliveryStoreMixin:
        server = s3servers.need("moto")
        return S3DeliveryStore(**server.options(server.bucket()))


@functools.cache
def _shared_bucket(server: s3servers.Server) -> str:
    return server.bucket()
