"""The kind of store that the run is about, and stores of that kind for whoever needs one.

``DEVILRY_STORAGE_TEST_STORE`` chooses: ``disk`` (unless given), ``memory``, or a bucket on
``moto`` or ``seaweedfs``, of `s3servers`. Each process has a bucket of its own, except a child
that `children.environment` gives its parent's.
"""

from __future__ import annotations

import os
import shutil
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import s3servers

if TYPE_CHECKING:
    from devilry_storage.storages import DeliveryStoreMixin

_CLASSES = {
    "disk": "FsHierDeliveryStore",
    "memory": "MemoryDeliveryStore",
    "moto": "S3DeliveryStore",
    "seaweedfs": "S3DeliveryStore",
}
KINDS = tuple(_CLASSES)
KIND = os.environ.get("DEVILRY_STORAGE_TEST_STORE") or "disk"
if KIND not in KINDS:
    raise ValueError(
        f"DEVILRY_STORAGE_TEST_STORE is {KIND!r}: set it to one of {', '.join(KINDS)}."
    )
BACKEND = f"devilry_storage.storages.{_CLASSES[KIND]}"
ON_S3 = _CLASSES[KIND] == "S3DeliveryStore"

_BUCKET = "DEVILRY_STORAGE_TEST_BUCKET"
_numbers = count(1)


def missing() -> str | None:
    """Return why the run cannot be about this kind of store here, None where it can."""
    return s3servers.missing(KIND) if ON_S3 else None


@cache
def bucket() -> str:
    """Return the bucket of this process."""
    return os.environ.get(_BUCKET) or s3servers.get(KIND).bucket()


def environment() -> dict[str, str]:
    """Return the variables by which a child process finds the files of this one."""
    return {_BUCKET: bucket()} if ON_S3 else {}


def options(directory: Path, place: str) -> dict[str, Any]:
    """Return the options of a store at a place of its own: a folder, or a prefix of the bucket."""
    if KIND == "memory" or missing():
        return {}
    if KIND == "disk":
        return {"location": str(directory / place)}
    return {
        **s3servers.get(KIND).options(bucket()),
        "location": place,
        # moto ignores the condition of a CopyObject.
        "server_side_copy": KIND != "moto",
    }


def entry(directory: Path, place: str) -> dict[str, Any]:
    """Return the entry of ``STORAGES`` for a store at a place of its own."""
    return {"BACKEND": BACKEND, "OPTIONS": options(directory, place)}


def fresh_options() -> dict[str, Any]:
    """Return the options of a store at a place that nobody has used; on disk without fsync."""
    from django.conf import settings

    unsynced = {"durable": False} if KIND == "disk" else {}
    return {**options(settings.DIRECTORY, f"fresh/{next(_numbers)}"), **unsynced}


@cache
def store(place: str) -> DeliveryStoreMixin:
    """Return the store at a place; it is the same for all who ask during a test."""
    from django.conf import settings
    from django.utils.module_loading import import_string

    made: DeliveryStoreMixin = import_string(BACKEND)(**options(settings.DIRECTORY, place))
    return made


def empty(*places: str) -> None:
    """Remove all that is in the stores, at these places on disk; an empty folder may stay."""
    from django.conf import settings
    from django.core.files.storage import storages

    for place in {*places, "fresh"}.intersection(os.listdir(settings.DIRECTORY)):
        # Called after each test, and most leave nothing.
        if os.listdir(settings.DIRECTORY / place):
            shutil.rmtree(settings.DIRECTORY / place, ignore_errors=True)
    if KIND == "memory":
        store.cache_clear()
        deliveries: Any = storages["deliveries"]
        deliveries.delete_many([each.name for each in deliveries.scan()])
    elif ON_S3:
        client = s3servers.get(KIND).client()
        while found := client.list_objects_v2(Bucket=bucket()).get("Contents"):
            objects = [{"Key": each["Key"]} for each in found]
            client.delete_objects(Bucket=bucket(), Delete={"Objects": objects, "Quiet": True})
