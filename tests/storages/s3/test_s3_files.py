"""Reading and writing whole files and archives on S3 takes few requests."""

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
from devilry_storage.storages.s3.writing import require_conditions
from devilry_storage.testing import PlainFileMeta

from ...harness import s3servers
from ...harness.http_proxy import HttpProxy

pytestmark = pytest.mark.servers

MIB = 1 << 20
PART = 5 * MIB


@pytest.fixture(scope="module")
def store(proxy: HttpProxy) -> S3DeliveryStore:
    """A store with the shortest parts that S3 allows, whose server has been tested."""
    server = s3servers.get("seaweedfs")
    options = {**server.options(server.bucket()), "endpoint_url": proxy.endpoint_url}
    parts = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    store = S3DeliveryStore(transfer_config=parts, **options)
    require_conditions(store.remote)
    return store


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    """Nine incompressible files of 1 MB."""
    return {f"{number}.bin": os.urandom(1_000_000) for number in range(9)}


def write_zip(file: Any, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_reading_20_mib_takes_at_most_three_requests(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """One request is sent by open(), and one for the rest."""
    data = os.urandom(20 * MIB)
    name = store.save("large.bin", ContentFile(data))
    proxy.forget()
    with store.open(name) as file:
        assert file.read() == data
    assert set(proxy.operations()) == {"GetObject"}
    assert len(proxy.requests) <= 3


def test_reading_a_zip_member_takes_at_most_six_requests(
    store: S3DeliveryStore, proxy: HttpProxy, members: dict[str, bytes]
) -> None:
    """Only the directory at the end and the member in the middle are read."""
    archive = BytesIO()
    write_zip(archive, members)
    name = store.save("archive.zip", ContentFile(archive.getvalue()))
    proxy.forget()
    with store.open(name) as file, zipfile.ZipFile(file) as stored:
        assert stored.read("4.bin") == members["4.bin"]
    assert set(proxy.operations()) == {"GetObject"}
    assert len(proxy.requests) <= 6


def test_zip_written_in_parts_can_be_read(
    store: S3DeliveryStore, proxy: HttpProxy, members: dict[str, bytes]
) -> None:
    """ZipFile writes sequentially with ``write_open``, and seeks with ``read_open``."""
    row = PlainFileMeta(store, 1005, 17)
    proxy.forget()
    with store.write_open(row) as writer:
        write_zip(writer, members)
    assert proxy.operations().count("UploadPart") == 2
    with store.read_open(row) as file, zipfile.ZipFile(file) as stored:
        assert stored.testzip() is None
        assert {name: stored.read(name) for name in stored.namelist()} == members


@pytest.mark.parametrize("mode", ["w", "w|", "w:gz"])
def test_tar_written_in_parts_can_be_read(
    store: S3DeliveryStore, proxy: HttpProxy, members: dict[str, bytes], mode: Any
) -> None:
    """Plain, streamed and compressed archives work."""
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
