"""The policy in the manual has exactly the permissions that the store on S3 needs.

SeaweedFS and moto enforce IAM policies, with some differences from S3:

- On SeaweedFS s3:PutObject also permits aborting an upload, so the tests use moto to show that
  s3:AbortMultipartUpload is needed.
- moto permits copying without permission to read, and never permits DeleteObjects.
- Both respond with 404 for a missing file to users without s3:ListBucket, where S3 responds with
  403. ``test_s3_errors`` tests that with a proxy.
"""

from __future__ import annotations

import functools
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from django.core.files.base import ContentFile
from django.utils import timezone

from devilry_storage.exceptions import StoreDenied
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.protocols import OwnObjects
from devilry_storage.storages.s3 import errors
from devilry_storage.testing import PlainFileMeta

from ...conformance.test_conformance_s3 import S3Cases
from ...harness import s3servers
from ...harness.s3users import Policy, everybody_may, user

pytestmark = pytest.mark.servers

POLICY = Path(__file__).parents[3] / "docs" / "s3-policy.json"
PREFIX = "deliveries/"
PART = 5 << 20


def policy(bucket: str, without: str = "") -> Policy:
    """Return the manual's policy for a bucket and PREFIX, without one action."""
    text = POLICY.read_text().replace("BUCKET", bucket).replace("PREFIX", PREFIX)
    found: Policy = json.loads(text)
    for statement in found["Statement"]:
        statement["Action"] = [action for action in statement["Action"] if action != without]
    return found


ACTIONS = [action for statement in policy("b")["Statement"] for action in statement["Action"]]

GET, PUT, DELETE = "s3:GetObject", "s3:PutObject", "s3:DeleteObject"
LIST, UPLOADS, ABORT = "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:AbortMultipartUpload"

Act = Callable[[S3DeliveryStore], Any]


def _save_large(store: S3DeliveryStore) -> None:
    store.save("large.bin", ContentFile(os.urandom(PART + 1)))


def _rewrite(store: S3DeliveryStore) -> None:
    with store.open("notes.txt", "wb") as writer:
        writer.write(b"new")


def _copy(store: S3DeliveryStore) -> None:
    sha256 = store.remote.call("head_object", "0/1/1005/17")["Metadata"]["sha256"]
    source = PlainFileMeta(store, 1005, 17, content="0/1/1005/17")
    source.size, source.sha256 = 4, sha256
    store.copy(source, PlainFileMeta(store, 1006, uuid.uuid4().int % 1000))


def _delete_many(store: S3DeliveryStore) -> None:
    for failure in store.delete_many(["there.txt", "missing.txt"]).values():
        raise failure


def _own(store: S3DeliveryStore) -> OwnObjects:
    assert store.own_objects is not None
    return store.own_objects


def _remove_stale_uploads(store: S3DeliveryStore) -> None:
    found = store.remove_stale_uploads(timezone.now() + timedelta(minutes=1))
    assert list(found) == ["0/1/1005/18"]


#: Ways to use a store, each with the actions that it needs.
USES: dict[str, tuple[set[str], Act]] = {
    "save": ({PUT}, lambda store: store.save("new.txt", ContentFile(b"data"))),
    "alternative": ({PUT, GET}, lambda store: store.save("there.txt", ContentFile(b"data"))),
    "save large": ({PUT, GET}, _save_large),
    "rewrite": ({PUT}, _rewrite),
    "open": ({GET}, lambda store: store.open("there.txt").close()),
    "stream": ({GET}, lambda store: b"".join(store.stream("there.txt"))),
    "exists": ({GET}, lambda store: store.exists("there.txt")),
    "exists not": ({GET}, lambda store: store.exists("missing.txt")),
    "size": ({GET}, lambda store: store.size("there.txt")),
    "copy": ({PUT, GET}, _copy),
    "listdir": ({LIST}, lambda store: store.listdir("")),
    "scan": ({LIST}, lambda store: list(store.scan())),
    "probe": ({PUT}, lambda store: list(store.probe())),
    "purge uploads": ({UPLOADS, ABORT}, _remove_stale_uploads),
    "make a mark": ({PUT}, lambda store: _own(store).create("store.json", b"{}")),
    "read a mark": ({GET}, lambda store: _own(store).read("store.json")),
    "note a site": ({PUT}, lambda store: _own(store).replace("sites/1", b"{}")),
    "list the sites": ({LIST}, lambda store: _own(store).names("sites")),
    "delete": ({DELETE}, lambda store: store.delete("there.txt")),
    "delete many": ({DELETE}, _delete_many),
}


def uses(name: str) -> dict[str, tuple[set[str], Act]]:
    """Return the uses that the server can permit."""
    return {label: use for label, use in USES.items() if (name, label) != ("moto", "delete many")}


def test_policy_has_exactly_the_actions_that_errors_name() -> None:
    """A user who follows an error message finds the action in the policy."""
    named = {PUT, *re.findall(r"s3:\w+", " ".join(errors._ACTIONS.values()))}
    assert sorted(ACTIONS) == sorted(named)
    assert set(ACTIONS) == set().union(*(needed for needed, _ in USES.values()))


def test_policy_has_the_resources_of_its_actions() -> None:
    """Actions on files and listings are limited to the prefix."""
    files, listings = policy("b")["Statement"]
    assert files["Resource"] == f"arn:aws:s3:::b/{PREFIX}*"
    assert listings["Resource"] == "arn:aws:s3:::b"
    assert listings["Condition"] == {"StringLike": {"s3:prefix": f"{PREFIX}*"}}
    assert all(action.startswith("s3:List") for action in listings["Action"])


@pytest.fixture(scope="module")
def servers() -> Callable[[str], s3servers.Server]:
    """Return a function that starts servers; moto is not shared, because it checks all users."""
    return functools.cache(
        lambda name: s3servers.own(name) if name == "moto" else s3servers.need(name)
    )


def prepared(server: s3servers.Server, without: str | None) -> S3DeliveryStore:
    """Return a store with some files, for a user with the policy, or without one if None."""
    with everybody_may(server):
        bucket = server.bucket()
        options = {
            **server.options(bucket),
            "location": PREFIX,
            "transfer_config": TransferConfig(multipart_threshold=PART, multipart_chunksize=PART),
        }
        admin = S3DeliveryStore(**options)
        for name in ("there.txt", "notes.txt", "0/1/1005/17"):
            admin.save(name, ContentFile(b"data"))
        admin.remote.call("create_multipart_upload", "0/1/1005/18")
        admin.remote.client.put_object(Bucket=bucket, Key="elsewhere.txt", Body=b"data")
        theirs = user(server, None if without is None else policy(bucket, without))
    return S3DeliveryStore(**{**options, **theirs})


@pytest.mark.parametrize("name", ["seaweedfs", "moto"])
def test_with_the_policy_everything_works(
    servers: Callable[[str], s3servers.Server], name: str
) -> None:
    """All uses of a store work, one after the other."""
    store = prepared(servers(name), without="")
    for _, act in uses(name).values():
        act(store)


@pytest.mark.parametrize("name", ["seaweedfs", "moto"])
def test_without_a_policy_nothing_works(
    servers: Callable[[str], s3servers.Server], name: str
) -> None:
    """The servers deny every use, so the policy is what permits them."""
    store = prepared(servers(name), without=None)
    for label, (_, act) in USES.items():
        with pytest.raises(StoreDenied):
            act(store)
            pytest.fail(f"{label} works")


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("seaweedfs", GET),
        ("seaweedfs", PUT),
        ("seaweedfs", DELETE),
        ("seaweedfs", LIST),
        ("seaweedfs", UPLOADS),
        ("moto", ABORT),
    ],
)
def test_error_names_the_missing_action(
    servers: Callable[[str], s3servers.Server], name: str, without: str
) -> None:
    """Without one action, the uses that need it fail, and all others work."""
    store = prepared(servers(name), without)
    for label, (needed, act) in uses(name).items():
        if without not in needed:
            act(store)
            continue
        with pytest.raises(StoreDenied, match=rf"permission is missing: .*{without}\b"):
            act(store)
            pytest.fail(f"{label} works without {without}")


def test_warning_about_unaborted_upload_names_the_action(
    servers: Callable[[str], s3servers.Server], caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets the error of the upload."""
    store = prepared(servers("moto"), without=ABORT)

    class Broken(ContentFile):  # type: ignore[type-arg]
        def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
            yield bytes(PART + 1)
            raise OSError("broken source")

    with pytest.raises(OSError, match="broken source"):
        store.save("large.bin", Broken(b"x"))
    warnings = [
        record.getMessage() for record in caplog.records if record.name == "devilry_storage"
    ]
    assert warnings
    assert all(f"permission is missing: {ABORT}." in warning for warning in warnings)


@pytest.mark.parametrize("name", ["seaweedfs", "moto"])
def test_objects_outside_the_prefix_are_inaccessible(
    servers: Callable[[str], s3servers.Server], name: str
) -> None:
    """The store cannot read, write or delete files of other applications in the bucket."""
    inside = prepared(servers(name), without="")
    outside = S3DeliveryStore(**{**inside._given, "location": ""})
    for label in ("save", "open", "size", "delete"):
        with pytest.raises(StoreDenied):
            USES[label][1](outside)
            pytest.fail(f"{label} works")


def test_listings_outside_the_prefix_are_denied(
    servers: Callable[[str], s3servers.Server],
) -> None:
    """They would show the names of files of other applications."""
    inside = prepared(servers("seaweedfs"), without="")
    outside = S3DeliveryStore(**{**inside._given, "location": ""})
    for label in ("listdir", "scan"):
        with pytest.raises(StoreDenied, match="s3:ListBucket"):
            USES[label][1](outside)
            pytest.fail(f"{label} works")


class TestS3DeliveryStoreWithThePolicy(S3Cases):
    """Run the conformance suite as a user with the manual's policy."""

    __test__ = True
    server = "seaweedfs"

    def bucket(self, server: s3servers.Server) -> str:
        bucket, theirs = _granted(server)
        self.options = {**theirs, "location": f"{PREFIX}{uuid.uuid4().hex}"}
        return bucket


@functools.cache
def _granted(server: s3servers.Server) -> tuple[str, dict[str, str]]:
    bucket = server.bucket()
    return bucket, user(server, policy(bucket))
