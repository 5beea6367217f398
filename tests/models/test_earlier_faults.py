"""What made others vulnerable in this very place does not happen here; see also the names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.storages import FsHierDeliveryStore

LEADING_OUT = ["../outside", "a/../../outside", "/outside", "..", "a/..", "a\0b"]


def naming(name: str, root: Path) -> FsHierDeliveryStore:
    """Return a store of a site whose own method names files again, and looks at nothing."""

    def careless(*args: Any, **kwargs: Any) -> str:
        return name

    own = type("Own", (FsHierDeliveryStore,), {"get_alternative_name": careless})
    store: FsHierDeliveryStore = own(location=root, durable=False)
    return store


@pytest.mark.parametrize("name", LEADING_OUT)
def test_a_method_of_a_site_that_names_files_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    """CVE-2024-39330: what an overridden method gives is looked at once more."""
    root = tmp_path / "root"
    FsHierDeliveryStore(location=root, durable=False).save("a.txt", ContentFile(b"mine"))
    with pytest.raises(SuspiciousFileOperation):  # for "a.txt" is taken
        naming(name, root).save("a.txt", ContentFile(b"x"))
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    assert (root / "a.txt").read_bytes() == b"mine"


@pytest.mark.parametrize("name", LEADING_OUT)
def test_a_name_that_nobody_has_looked_at_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    """CVE-2021-45452: save() itself refuses, whoever calls it."""
    store = FsHierDeliveryStore(location=tmp_path / "root", durable=False)
    with pytest.raises(SuspiciousFileOperation):
        store.save(name, ContentFile(b"x"))
    assert list(tmp_path.rglob("*outside*")) == []


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["../../outside", "/etc/outside", r"..\..\outside", "%2e%2e%2fx"])
@pytest.mark.parametrize(
    "sent",
    [
        lambda name: SimpleUploadedFile(name, b"x"),
        lambda name: RequestFactory().post("/", {"file": named(name)}).FILES["file"],
    ],
    ids=["by itself", "in a request"],
)
def test_the_name_of_an_upload_is_no_path(name: str, sent: Callable[[str], Any]) -> None:
    """CVE-2021-31542: bytes lie at the key, which is made of ids, whatever their name is."""
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
    row = FileMeta(delivery=delivery, filename="a.txt", content=sent(name))
    row.save()
    assert str(row.content.name).endswith(f"/{delivery.pk}/{row.pk}")
    assert row.filename == "a.txt"


def named(name: str) -> ContentFile[bytes]:
    file = ContentFile(b"x")
    file.name = name
    return file
