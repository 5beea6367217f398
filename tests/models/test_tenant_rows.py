"""Rows whose store follows the tenant: threads and later steps use the tenant of the call."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import transaction
from django.test import override_settings

from devilry_storage.archive import of_deliveries, of_folder
from devilry_storage.deliveries.models import Delivery, FileMeta
from devilry_storage.testing import override_deliverystore

from ..harness.tenants import LocatedStore, tenant

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with override_deliverystore(LocatedStore(location=str(tmp_path))) as store:
        yield store


def names(store: Any, name: str) -> set[str]:
    with tenant(name):
        return {entry.name for entry in store.scan()}


def test_threads_of_add_files_use_the_tenant_of_the_call(store: Any, group: Any) -> None:
    """A file that is stored already is read there, too."""
    delivery = Delivery.begin(group)
    with tenant("alpha"):
        earlier = delivery.add_file("earlier.txt", b"earlier")
        content = FileMeta.objects.get(pk=earlier.pk).content
        added = delivery.add_files({"a.txt": b"a", "b.txt": [b"b"], "copy.txt": content})
        assert added[2].content.read() == b"earlier"
        added[2].content.close()
    assert names(store, "alpha") == {row.content.name for row in (earlier, *added)}
    assert names(store, "public") == set()


def test_archive_reads_at_the_location_of_the_call(store: Any, group: Any) -> None:
    """A response is sent after the request, when there may be another tenant."""
    delivery = Delivery.begin(group)
    with tenant("alpha"):
        delivery.add_files({f"{number}.txt": b"alpha" for number in range(5)})
        archives = [
            of_deliveries(Delivery.objects.filter(pk=delivery.pk)),
            of_folder(store, store.layout.folder(delivery.pk)),
        ]
    with tenant("beta"):
        for archive in archives:
            zipped = zipfile.ZipFile(io.BytesIO(b"".join(archive)))
            data = [zipped.read(name) for name in zipped.namelist()]
            assert data.count(b"alpha") == 5
            assert archive.missing == []


@override_settings(DELIVERY_STORE_RETENTION_DAYS=0)
def test_commit_at_another_location_removes_nothing_there(store: Any, group: Any) -> None:
    """The file is left to a purge of its tenant."""
    with tenant("alpha"):
        row, kept = (Delivery.begin(group).add_file("a.txt", b"alpha") for _ in range(2))
        name = row.content.name
    with tenant("beta"):
        for other in (name, kept.content.name):
            store.save(other, ContentFile(b"alpha"))
        with transaction.atomic(), tenant("alpha"):
            row.delete()
    assert name in names(store, "alpha")
    assert name in names(store, "beta")
    with tenant("alpha"):
        kept.delete()
    assert kept.content.name not in names(store, "alpha")
