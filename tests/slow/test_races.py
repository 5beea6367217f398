"""Races on disk: no file is overwritten, and deletes and saves do not disturb each other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.core.files.uploadedfile import (
    InMemoryUploadedFile,
    TemporaryUploadedFile,
    UploadedFile,
)

from devilry_storage.layout import HierLayout
from tests.harness.proofs import count, report

from . import stores
from .locations import DiskLocation
from .racing import Act, Saved, acknowledged_names, broken, race, save_one_name

pytestmark = pytest.mark.slow

SIZE = 100_000

MakeUpload = Callable[[bytes], Any]


def in_memory(data: bytes) -> UploadedFile[Any]:
    """Return a small upload as Django's request parser makes it."""
    content = ContentFile(data)
    return InMemoryUploadedFile(content.file, "file", "essay.txt", "text/plain", len(data), None)


def in_temp_file(data: bytes) -> UploadedFile[Any]:
    """Return a large upload as Django's request parser makes it."""
    upload = TemporaryUploadedFile("essay.txt", "text/plain", len(data), None)
    upload.write(data)
    upload.seek(0)
    return upload


UPLOADS = pytest.mark.parametrize(
    ("kind", "make"), [("memory", in_memory), ("temp-file", in_temp_file)]
)


@UPLOADS
def test_concurrent_saves_under_one_name_keep_both_files(
    tmp_path: Path, kind: str, make: MakeUpload
) -> None:
    """300 races for one name: each acknowledged upload can be read under the returned name.

    A hit is a race in which the saves overlapped in time and one took an alternative name.
    """
    tried = count(300, ci=100)
    location = DiskLocation(tmp_path / "root", stores.hier)
    runs = race(location, save_one_name(make, SIZE), save_one_name(make, SIZE), tried)
    met = sum(
        left.overlaps(right) and len(acknowledged_names((left, right))) == 2
        for left, right in runs
    )
    bad = broken(location, chain(*runs))
    report(
        f"race-in-{kind}" if kind == "memory" else f"race-{kind}", tried=tried, hit=met, bad=bad
    )
    assert met >= 0.5 * tried


@UPLOADS
def test_harness_detects_a_store_that_checks_before_it_renames(
    tmp_path: Path, kind: str, make: MakeUpload
) -> None:
    """The same harness fails if the store checks for the name first and then renames."""
    location = DiskLocation(tmp_path / "root", stores.hier)
    with stores.link_by_check_then_act():
        runs = race(location, save_one_name(make, SIZE), save_one_name(make, SIZE), 60)
    assert broken(location, chain(*runs)) != []


def test_harness_detects_lost_uploads_of_django_storage(tmp_path: Path) -> None:
    """The same harness fails on FileSystemStorage with uploads in temporary files.

    The gap between its check and its act is a few microseconds, so a busy machine may need several
    series.
    """
    found: list[str] = []
    for series in range(5):
        location = DiskLocation(tmp_path / f"root{series}", stores.django)
        runs = race(
            location, save_one_name(in_temp_file, SIZE), save_one_name(in_temp_file, SIZE), 300
        )
        found += broken(location, chain(*runs))
        if found:
            break
    assert found != []


def key_of(store: Storage, delivery: int, file: int) -> str:
    layout = getattr(store, "layout", HierLayout())
    return str(layout.key(delivery, file))


def delete_the_last_file(store: Storage, number: int) -> Act:
    """Store the only file of a delivery; in the race, delete it and with it the folder."""
    name = store.save(key_of(store, number, 1), ContentFile(b"to be deleted"))
    return lambda: store.delete(name)


def save_another_file(store: Storage, number: int) -> Act:
    """Save another file into the delivery, whose last file is being deleted."""
    data = os.urandom(100)
    digest = hashlib.sha256(data).hexdigest()
    return lambda: Saved(store.save(key_of(store, number, 2), ContentFile(data)), digest)


# Seconds. About the time of the longer side, so that the sides overlap in every phase.
SPREAD = 0.002


@pytest.mark.parametrize("make", [stores.hier, stores.flat])
def test_save_succeeds_while_the_last_file_of_the_delivery_is_deleted(
    tmp_path: Path, make: Callable[[Path], Storage]
) -> None:
    """500 races of a delete, which removes the empty folder, and a save: no error, no loss.

    A hit is a race in which the two overlapped in time.
    """
    tried = count(500, ci=100)
    location = DiskLocation(tmp_path / "root", make)
    runs = race(location, delete_the_last_file, save_another_file, tried, spread=SPREAD)
    met = sum(left.overlaps(right) for left, right in runs)
    bad = broken(location, chain(*runs))
    bad += [name for name, _ in location.visible() if name.endswith("/1")]
    report("delete-against-save", tried=tried, hit=met, bad=bad)
    assert met >= 0.3 * tried


def test_harness_detects_a_store_that_assumes_its_folder_stays(tmp_path: Path) -> None:
    """The same harness fails on a store that creates the folder only once."""
    location = DiskLocation(tmp_path / "root", stores.assumes_folders)
    runs = race(location, delete_the_last_file, save_another_file, 100, spread=SPREAD)
    assert broken(location, chain(*runs)) != []
