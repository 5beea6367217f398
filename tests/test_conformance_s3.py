"""The conformance suite on S3: a real server with every flag True, and moto's."""

from __future__ import annotations

from typing import Any

from boto3.s3.transfer import TransferConfig
from django.test import SimpleTestCase

from devilry_storage.storages import DeliveryStoreMixin, S3DeliveryStore
from devilry_storage.testing import TestDeliveryStoreMixin

from . import s3servers

# The suite allows half of its large file in memory: parts as short as S3 allows, one at a time.
SMALL_PARTS = TransferConfig(multipart_chunksize=5 << 20, max_concurrency=1)


class S3Cases(TestDeliveryStoreMixin, SimpleTestCase):
    __test__ = False

    server: str
    options: dict[str, Any] = {}

    def make_store(self) -> DeliveryStoreMixin:
        server = s3servers.need(self.server)
        options = server.options(server.bucket())
        return S3DeliveryStore(transfer_config=SMALL_PARTS, **{**options, **self.options})


class TestS3DeliveryStoreOnSeaweedFS(S3Cases):
    __test__ = True
    server = "seaweedfs"


class TestS3DeliveryStoreOnMoto(S3Cases):
    __test__ = True
    server = "moto"
    options = {"server_side_copy": False, "location": "below/a/prefix"}
