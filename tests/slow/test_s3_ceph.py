"""The conformance suite on Ceph, which ignores conditions in requests other than PutObject."""

from __future__ import annotations

import pytest

from ..conformance.test_conformance_s3 import S3Cases

pytestmark = [pytest.mark.slow, pytest.mark.only_full]  # needs Ceph


class TestS3DeliveryStoreOnCeph(S3Cases):
    """With the default options."""

    __test__ = True
    server = "ceph"
    options = {"transfer_config": None}
