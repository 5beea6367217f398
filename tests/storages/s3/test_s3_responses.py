"""Every operation on S3 handles odd responses: it returns the right result or raises OSError."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from django.core.files.base import ContentFile
from django.utils import timezone

from devilry_storage.exceptions import StoreFailure
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3 import validation, writing
from devilry_storage.testing import PlainFileMeta

from ...harness import s3servers
from ...harness.http_proxy import HttpProxy
from ...harness.odd_responses import ODD

pytestmark = pytest.mark.servers

PART = 5 << 20
# Compression makes the small one shorter.
SMALL, LARGE = b"what a student wrote\n" * 430, os.urandom(100_001)
SECONDS = 20


class Setup:
    """A store behind the proxy, and direct access to its files on the server."""

    def __init__(self, bucket: str, proxy: HttpProxy) -> None:
        self.server = s3servers.get("seaweedfs")
        self.proxy = proxy
        self.location = uuid.uuid4().hex
        self.store = S3DeliveryStore(
            **{**self.server.options(bucket), "endpoint_url": proxy.endpoint_url},
            location=self.location,
            attempts=2,
            deadline=3,
            transfer_config=TransferConfig(multipart_threshold=100_000, multipart_chunksize=PART),
            client_config=Config(read_timeout=0.5, connect_timeout=1),
        )
        self.direct = S3DeliveryStore(**self.server.options(bucket), location=self.location)

    def objects(self) -> dict[str, bytes]:
        """Return the names and the bytes of all files."""
        return {entry.name: self.read(entry.name) for entry in self.direct.scan()}

    def read(self, name: str) -> bytes:
        return b"".join(self.direct.stream(name))

    def uploads(self) -> list[str]:
        found = self.server.client().list_multipart_uploads(
            Bucket=self.store.bucket_name, Prefix=f"{self.location}/"
        )
        return [upload["Key"] for upload in found.get("Uploads", ())]


@dataclass(frozen=True)
class ConfiguredStore:
    """A way to use an operation.

    ``act`` is called with odd responses and returns whether the result is right. ``prepare`` is
    called before, without odd responses.
    """

    act: Callable[[Setup], bool]
    prepare: Callable[[Setup], Any] = lambda setup: None


def _save(data: bytes) -> ConfiguredStore:
    def act(setup: Setup) -> bool:
        name = setup.store.save("0/0/1/1", ContentFile(data))
        return setup.objects() == {name: data}

    return ConfiguredStore(act)


def _stored(setup: Setup) -> None:
    setup.direct.save("0/0/1/1", ContentFile(SMALL))


def _stored_many(setup: Setup) -> None:
    for number in range(3):
        setup.direct.save(f"0/0/1/{number}", ContentFile(SMALL))


def _copy(setup: Setup) -> bool:
    source = PlainFileMeta(setup.store, 1, 1, content="0/0/1/1")
    source.size, source.sha256 = len(SMALL), "0" * 64
    target = PlainFileMeta(setup.store, 2, 2)
    setup.store.copy(source, target)
    return setup.objects() == {"0/0/1/1": SMALL, str(target.content): SMALL}


def _read(setup: Setup) -> bool:
    with setup.store.open("0/0/1/1") as file:
        return bool(file.size == len(SMALL) and file.read() == SMALL)


def _delete(setup: Setup) -> bool:
    setup.store.delete("0/0/1/1")
    return setup.objects() == {}


def _delete_many(setup: Setup) -> bool:
    names = {f"0/0/1/{number}" for number in range(3)}
    failures = setup.store.delete_many(names)
    assert all(isinstance(failure, OSError) for failure in failures.values())
    return names & set(setup.objects()) <= set(failures)


def _begun(setup: Setup) -> None:
    setup.direct.remote.call("create_multipart_upload", "0/0/1/1")


def _remove_uploads(setup: Setup) -> bool:
    aborted = list(setup.store.remove_stale_uploads(timezone.now() + timedelta(minutes=1)))
    return aborted == ["0/0/1/1"] and setup.uploads() == []


def _scan(setup: Setup) -> bool:
    found = {(entry.name, entry.size) for entry in setup.store.scan("0")}
    return found == {(f"0/0/1/{number}", len(SMALL)) for number in range(3)}


def _page(setup: Setup) -> bool:
    page = setup.store.page("0/0/1", limit=10)
    return [entry.name for entry in page.files] == [f"0/0/1/{number}" for number in range(3)]


USES: dict[tuple[str, str], ConfiguredStore] = {
    ("PutObject", "save"): _save(SMALL),
    ("HeadObject", "save in parts"): _save(LARGE),
    ("CreateMultipartUpload", "save in parts"): _save(LARGE),
    ("UploadPart", "save in parts"): _save(LARGE),
    ("CompleteMultipartUpload", "save in parts"): _save(LARGE),
    ("CopyObject", "copy"): ConfiguredStore(_copy, _stored),
    ("HeadObject", "size"): ConfiguredStore(
        lambda setup: setup.store.size("0/0/1/1") == len(SMALL), _stored
    ),
    ("HeadObject", "exists"): ConfiguredStore(
        lambda setup: setup.store.exists("0/0/1/1"), _stored
    ),
    ("GetObject", "open"): ConfiguredStore(_read, _stored),
    ("GetObject", "stream"): ConfiguredStore(
        lambda setup: b"".join(setup.store.stream("0/0/1/1")) == SMALL, _stored
    ),
    ("GetObject", "stream of a range"): ConfiguredStore(
        lambda setup: b"".join(setup.store.stream("0/0/1/1", 100, 500)) == SMALL[100:500], _stored
    ),
    ("GetObject", "stream of the rest"): ConfiguredStore(
        lambda setup: b"".join(setup.store.stream("0/0/1/1", 100)) == SMALL[100:], _stored
    ),
    ("DeleteObject", "delete"): ConfiguredStore(_delete, _stored),
    ("DeleteObjects", "delete_many"): ConfiguredStore(_delete_many, _stored_many),
    ("ListObjectsV2", "scan"): ConfiguredStore(_scan, _stored_many),
    ("ListObjectsV2", "page"): ConfiguredStore(_page, _stored_many),
    ("ListMultipartUploads", "purge"): ConfiguredStore(_remove_uploads, _begun),
    ("AbortMultipartUpload", "purge"): ConfiguredStore(_remove_uploads, _begun),
}


#: Odd responses that have everything that a response of S3 has, so no client can detect them.
PLAUSIBLE = {
    ("HeadObject", "size"): {"shorter length", "longer length", "page of a file"},
    ("GetObject", "stream"): {"page of a file"},
    ("DeleteObject", "delete"): {"empty body with 204"},
    ("AbortMultipartUpload", "purge"): {"empty body with 204"},
}


@pytest.fixture
def setup(bucket: str, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setattr(writing, "require_conditions", lambda bucket: None)
    return Setup(bucket, proxy)


@pytest.mark.parametrize("times", [1, 99], ids=["once", "always"])
@pytest.mark.parametrize(("operation", "how"), USES)
def test_odd_response_is_handled_or_an_error(
    bucket: str,
    proxy: HttpProxy,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    how: str,
    times: int,
    subtests: pytest.Subtests,
) -> None:
    """The operation returns no wrong bytes and no false success, and ends within seconds.

    Plausible responses, which no client can detect, are excluded.
    """
    monkeypatch.setattr(writing, "require_conditions", lambda bucket: None)
    use, plausible = USES[operation, how], PLAUSIBLE.get((operation, how), ())
    assert set(plausible) < set(ODD)
    for odd in ODD.keys() - plausible:
        with subtests.test(odd=odd):
            setup = Setup(bucket, proxy)
            use.prepare(setup)
            setup.proxy.forget()
            setup.proxy.fault(operation, ODD[odd], times)
            began = time.monotonic()
            try:
                right = use.act(setup)
            except OSError as exception:
                right = not isinstance(exception, FileNotFoundError)
            setup.proxy.forget()
            assert right
            assert time.monotonic() - began < SECONDS


def test_truncated_listing_without_a_token_is_an_error(setup: Setup) -> None:
    """Otherwise a page of a folder would look like the last one."""
    _stored_many(setup)
    setup.proxy.forget()
    setup.proxy.fault("ListObjectsV2", ODD["listing that goes on nowhere"], 99)
    with pytest.raises(
        StoreFailure, match="list_objects_v2 of .* is truncated, but has no marker"
    ):
        _page(setup)
    setup.proxy.forget()


def test_every_operation_has_a_rule() -> None:
    """The response to a new operation must not remain unchecked."""
    sent = {re.sub("_([a-z0-9])", lambda found: found[1].upper(), f"_{name}") for name in calls()}
    assert sent == set(validation._RULES)


def calls() -> set[str]:
    """Return the names of the operations in the source of the package."""
    folder = Path(validation.__file__).parent
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    pattern = r"(?:call|pages|_publish)\(\s*\"(\w+)\""
    return set(re.findall(pattern, source))
