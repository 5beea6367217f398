"""Files on S3 as other code reads and writes them: whole, as archives, in few requests."""

from __future__ import annotations

import os
import tarfile
import zipfile
from io import BytesIO
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from django.core.files.base import ContentFile

from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3.conditions import require
from devilry_storage.testing import PlainFileMeta

from ...harness import s3servers
from ...harness.http_proxy import HttpProxy

pytestmark = pytest.mark.servers

MIB = 1 << 20
PART = 5 * MIB


@pytest.fixture(scope="module")
def store(proxy: HttpProxy) -> S3DeliveryStore:
    """A store with parts as short as S3 allows, which has asked for conditional writes already."""
    server = s3servers.get("seaweedfs")
    options = {**server.options(server.bucket()), "endpoint_url": proxy.endpoint_url}
    parts = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    store = S3DeliveryStore(transfer_config=parts, **options)
    for operation in ("put_object", "complete_multipart_upload"):
        require(store.remote, operation)
    return store


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    """Nine files of 1 MB which cannot be compressed."""
    return {f"{number}.bin": os.urandom(1_000_000) for number in range(9)}


def write_zip(file: Any, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_20_mib_are_read_whole_in_at_most_three_requests(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """What open() has fetched, and the rest at once."""
    data = os.urandom(20 * MIB)
    store.save("large.bin", ContentFile(data))
    proxy.forget()
    with store.open("large.bin") as file:
        assert file.read() == data
    assert set(proxy.operations()) == {"GetObject"}
    assert len(proxy.requests) <= 3


def test_a_member_of_a_9_mb_zip_is_read_in_at_most_six_requests(
    store: S3DeliveryStore, proxy: HttpProxy, members: dict[str, bytes]
) -> None:
    """Its directory at the end and the member in the middle, not the whole."""
    archive = BytesIO()
    write_zip(archive, members)
    store.save("archive.zip", ContentFile(archive.getvalue()))
    proxy.forget()
    with store.open("archive.zip") as file, zipfile.ZipFile(file) as stored:
        assert stored.read("4.bin") == members["4.bin"]
    assert set(proxy.operations()) == {"GetObject"}
    assert len(proxy.requests) <= 6


def test_a_zip_that_is_written_in_parts_is_read_member_by_member(
    store: S3DeliveryStore, proxy: HttpProxy, members: dict[str, bytes]
) -> None:
    """ZipFile writes to ``write_open`` in sequence, and seeks in what ``read_open`` gives."""
    row = PlainFileMeta(store, 1005, 17)
    proxy.forget()
    with store.write_open(row) as writer:
        write_zip(writer, members)
    assert proxy.operations().count("UploadPart") == 2
    with store.read_open(row) as file, zipfile.ZipFile(file) as stored:
        assert stored.testzip() is None
        assert {name: stored.read(name) for name in stored.namelist()} == members


@pytest.mark.parametrize("mode", ["w", "w|", "w:gz"])
def test_a_tar_that_is_written_in_parts_is_read_member_by_member(
    store: S3DeliveryStore, proxy: HttpProxy, members: dict[str, bytes], mode: Any
) -> None:
    """Plain, as a stream, and compressed."""
    row = PlainFileMeta(store, 1006, 18)
    proxy.forget()
    with store.write_open(row) as writer, tarfile.open(fileobj=writer, mode=mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    assert proxy.operations().count("UploadPart") == 2
    found = {}
    with store.read_open(row) as file, tarfile.open(fileobj=file) as stored:
        for member in stored:
            content = stored.extractfile(member)
            assert content is not None
            found[member.name] = content.read()
    assert found == members
