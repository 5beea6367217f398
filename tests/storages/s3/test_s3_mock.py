"""The store works with moto's ``mock_aws()``, which sites use in their own tests."""

from __future__ import annotations

import pytest

pytest.importorskip("moto")

import boto3
from boto3.s3.transfer import TransferConfig
from django.core.files.base import ContentFile
from moto import mock_aws

from devilry_storage.storages import S3DeliveryStore
from devilry_storage.testing import PlainFileMeta

MIB = 1 << 20
BLOCK = 64 * 1024


def test_bodies_of_all_lengths_are_accepted(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """Bodies are sent in one piece or in blocks; the last part of an upload may be short."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mocked")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mocked")
    for _ in range(2):  # the client of the first mock is used in the second
        with mock_aws():
            boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="mocked")
            store = S3DeliveryStore(
                bucket_name="mocked",
                region_name="us-east-1",
                server_side_copy=False,  # moto's copies of files in parts have a wrong checksum
                attempts=1,
                transfer_config=TransferConfig(multipart_threshold=5 * MIB),
            )
            for length in (0, 1, BLOCK, BLOCK + 1, 5 * MIB, 8 * MIB + 1, 8 * MIB + BLOCK + 1):
                with subtests.test(length=length):
                    name, data = str(length), bytes(range(256)) * (length // 256 + 1)
                    data = data[:length]
                    row, copy = (PlainFileMeta(store, length, number) for number in (1, 2))
                    first, second = (store.save(name, ContentFile(data)) for _ in range(2))
                    assert first != second
                    assert (first == name) is (length <= 5 * MIB)
                    with store.write_open(row) as writer, store.open(f"{name}.w", "wb") as other:
                        writer.write(data)
                        other.write(data)
                    store.copy(row, copy)
                    for stored in (first, second, f"{name}.w", row.content, copy.content):
                        assert b"".join(store.stream(str(stored))) == data
                    assert store.delete_many([first]) == {}
            assert store.own_objects is not None
            assert store.own_objects.create("note", b"data")
    with mock_aws():
        pass  # moto closes the files of the last mock when it starts another one
