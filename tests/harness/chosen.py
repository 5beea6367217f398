"""The kind of store that this run tests, and stores of this kind.

``DEVILRY_STORAGE_TEST_STORE`` is ``disk`` (the default), ``memory``, ``moto`` or ``seaweedfs``;
the last two are buckets on servers of `s3servers`. Every process has its own bucket, except
children with the environment of `children.environment`.
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
    "disk": "storages.FsHierDeliveryStore",
    "memory": "testing.MemoryDeliveryStore",
    "moto": "storages.S3DeliveryStore",
    "seaweedfs": "storages.S3DeliveryStore",
}
KINDS = tuple(_CLASSES)
KIND = os.environ.get("DEVILRY_STORAGE_TEST_STORE") or "disk"
if KIND not in KINDS:
    raise ValueError(
        f"DEVILRY_STORAGE_TEST_STORE is {KIND!r}: set it to one of {', '.join(KINDS)}."
    )
BACKEND = f"devilry_storage.{_CLASSES[KIND]}"
ON_S3 = KIND in {"moto", "seaweedfs"}

_BUCKET = "DEVILRY_STORAGE_TEST_BUCKET"
_numbers = count(1)


def missing() -> str | None:
    """Return why this machine cannot test this kind of store, or None if it can."""
    return s3servers.missing(KIND) if ON_S3 else None


@cache
def bucket() -> str:
    """Return the bucket of this process."""
    return os.environ.get(_BUCKET) or s3servers.get(KIND).bucket()


def environment() -> dict[str, str]:
    """Return the variables with which a child process uses the bucket of this one."""
    return {_BUCKET: bucket()} if ON_S3 else {}


def options(directory: Path, location: str) -> dict[str, Any]:
    """Return the options of a store at a location: a folder, or a prefix of the bucket."""
    if KIND == "memory" or missing():
        return {}
    if KIND == "disk":
        return {"location": str(directory / location)}
    return {**s3servers.get(KIND).options(bucket()), "location": location}


def entry(directory: Path, location: str) -> dict[str, Any]:
    """Return the entry of ``STORAGES`` for a store at a location."""
    return {"BACKEND": BACKEND, "OPTIONS": options(directory, location)}


def fresh_options() -> dict[str, Any]:
    """Return the options of a store at an unused location, on disk without fsync."""
    from django.conf import settings

    unsynced = {"durable": False} if KIND == "disk" else {}
    return {**options(settings.DIRECTORY, f"fresh/{next(_numbers)}"), **unsynced}


@cache
def store(location: str) -> DeliveryStoreMixin:
    """Return the store at a location; the same object for all callers."""
    from django.conf import settings
    from django.utils.module_loading import import_string

    made: DeliveryStoreMixin = import_string(BACKEND)(**options(settings.DIRECTORY, location))
    return made


def empty(*locations: str) -> None:
    """Remove all files at these locations, and all other files of a bucket or a memory store."""
    from django.conf import settings
    from django.core.files.storage import storages

    for location in {*locations, "fresh"}.intersection(os.listdir(settings.DIRECTORY)):
        # Called after every test, and most tests leave nothing.
        if os.listdir(settings.DIRECTORY / location):
            shutil.rmtree(settings.DIRECTORY / location, ignore_errors=True)
    if KIND == "memory":
        store.cache_clear()
        deliveries: Any = storages["deliveries"]
        deliveries.delete_many([entry.name for entry in deliveries.scan()])
    elif ON_S3:
        client = s3servers.get(KIND).client()
        while listed := client.list_objects_v2(Bucket=bucket()).get("Contents"):
            objects = [{"Key": item["Key"]} for item in listed]
            client.delete_objects(Bucket=bucket(), Delete={"Objects": objects, "Quiet": True})
