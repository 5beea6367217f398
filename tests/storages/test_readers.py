"""Stored files that are opened again, in the same mode or in the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from devilry_storage.storages import DeliveryStoreMixin, FsHierDeliveryStore, S3DeliveryStore
from devilry_storage.testing import MemoryDeliveryStore

from ..harness import s3servers


@pytest.fixture(params=["memory", "disk", pytest.param("s3", marks=pytest.mark.servers)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DeliveryStoreMixin:
    """An empty store of each kind."""
    if request.param == "memory":
        return MemoryDeliveryStore()
    if request.param == "disk":
        return FsHierDeliveryStore(location=str(tmp_path))
    server = s3servers.get("seaweedfs")
    return S3DeliveryStore(**server.options(server.bucket()))


@pytest.mark.parametrize("name", ["avatars/me.csv", "0/1/1005/17"])
def test_mode_of_the_last_open_counts(store: DeliveryStoreMixin, name: str) -> None:
    """The file is read from its beginning, whether it was closed or not."""
    data = "Åse;5\r\nBo;4\n".encode()
    text = "Åse;5\nBo;4\n"
    store.save(name, ContentFile(data))
    with store.open(name, "r") as file:
        for mode in ("rt", "rb", "rb", "r", None):
            for close in (False, True):
                assert file.open(mode).read() == (data if mode == "rb" else text)
                assert file.size == len(data)
                if close:
                    file.close()
        for mode in ("wb", "w", "r+", "a"):
            with pytest.raises(ValueError, match=f"with mode '{re.escape(mode)}'"):
                file.open(mode)
            file.close()
