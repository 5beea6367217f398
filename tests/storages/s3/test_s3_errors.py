"""What servers and networks do to the store on S3 becomes an OSError that says what to do.

Each names operation, name in quotes, bucket, endpoint and remedy. SeaweedFS gives the answers that
it knows; the others come from a proxy, in S3's words.
"""

from __future__ import annotations

import errno
import random
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore import credentials
from botocore.exceptions import BotoCoreError, SSOTokenLoadError, TokenRetrievalError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.utils import timezone

from devilry_storage.exceptions import (
    DeliveryFileNotFound,
    StoreDenied,
    StoreFailure,
    StoreUnavailable,
)
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3 import bucket as bucket_module
from devilry_storage.storages.s3 import conditions, errors
from devilry_storage.testing import PlainFileMeta

from ...harness import s3servers
from ...harness.http_faults import Answer
from ...harness.http_proxy import HttpProxy

pytestmark = pytest.mark.servers

MIB = 1 << 20

#: How a store is used, and the operation of S3 that the error names.
USES: dict[str, tuple[str, Callable[[S3DeliveryStore], Any]]] = {
    "save": ("put_object", lambda store: store.save("a.txt", ContentFile(b"data"))),
    "open": ("get_object", lambda store: store.open("a.txt")),
    "stream": ("get_object", lambda store: b"".join(store.stream("a.txt"))),
    "exists": ("head_object", lambda store: store.exists("a.txt")),
    "size": ("head_object", lambda store: store.size("a.txt")),
    "time": ("head_object", lambda store: store.get_modified_time("a.txt")),
    "delete": ("delete_object", lambda store: store.delete("a.txt")),
    "list": ("list_objects_v2", lambda store: store.listdir("")),
    "scan": ("list_objects_v2", lambda store: list(store.scan())),
}


@pytest.fixture(scope="module")
def server() -> s3servers.Server:
    return s3servers.need("seaweedfs")


@pytest.fixture(scope="module")
def bucket(server: s3servers.Server) -> str:
    return server.bucket()


@pytest.fixture(scope="module")
def proxy(server: s3servers.Server) -> Iterator[HttpProxy]:
    with HttpProxy(server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def options(server: s3servers.Server, bucket: str) -> dict[str, Any]:
    return {**server.options(bucket), "location": uuid.uuid4().hex}


@pytest.fixture
def store(options: dict[str, Any], proxy: HttpProxy) -> Iterator[S3DeliveryStore]:
    """A store through the proxy, with a file and without any questions left."""
    store = S3DeliveryStore(
        **{**options, "endpoint_url": proxy.endpoint_url},
        attempts=2,
        transfer_config=TransferConfig(multipart_threshold=5 * MIB),
    )
    list(store.probe())
    store.save("there.txt", ContentFile(b"data"))
    proxy.forget()
    yield store
    proxy.forget()


def raised(store: S3DeliveryStore, use: str, expected: type[OSError]) -> str:
    """Return the text of the error that a use raises, which names what it has to."""
    operation, act = USES[use]
    with pytest.raises(expected) as caught:
        act(store)
    assert type(caught.value) is expected
    assert isinstance(caught.value, OSError)
    text = str(caught.value)
    assert operation in text
    assert f"bucket {store.bucket_name!r} at {store.endpoint_url!r}" in text
    if operation != "list_objects_v2":
        assert "'a.txt'" in text or "'.devilry-storage/conditional-writes'" in text
    return text


# -- The server's own answers --


@pytest.mark.parametrize("use", ["save", "open", "stream", "list", "scan"])
def test_a_missing_bucket_is_named_and_how_to_get_it(options: dict[str, Any], use: str) -> None:
    """It is no missing file: nothing may be taken for gone because of it."""
    store = S3DeliveryStore(**{**options, "bucket_name": "deliveries-nowhere"})
    text = raised(store, use, StoreFailure)
    assert "404 NoSuchBucket" in text
    assert "Make the bucket, or check the options bucket_name and endpoint_url" in text


@pytest.mark.parametrize("use", sorted(USES))
@pytest.mark.parametrize("option", ["access_key", "secret_key"])
def test_wrong_credentials_are_denied(options: dict[str, Any], option: str, use: str) -> None:
    """The answer to a HEAD has no words, so that the error has to name both possible reasons."""
    store = S3DeliveryStore(**{**options, option: f"wrong-{uuid.uuid4().hex}"})
    text = raised(store, use, StoreDenied)
    assert "403" in text
    if USES[use][0] == "head_object":
        assert "The credentials are wrong, or the permission is missing: s3:GetObject" in text
    else:
        assert "Check access key and secret key." in text


def test_a_missing_file_is_a_missing_file(store: S3DeliveryStore) -> None:
    """DeliveryFileNotFound, a FileNotFoundError, with the name, and the FileMeta where known."""
    uses = ("open", "stream", "size", "time")
    for use in uses:
        with pytest.raises(DeliveryFileNotFound) as caught:
            USES[use][1](store)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "a.txt")
    missing = PlainFileMeta(store, 1005, 17, content="0/1/1005/17")
    with pytest.raises(DeliveryFileNotFound) as caught:
        store.read_open(missing)
    assert caught.value.filemeta is missing


def test_a_taken_name_is_a_file_that_exists(store: S3DeliveryStore) -> None:
    """Of all who ask for one name, the server lets one have it."""
    with pytest.raises(FileExistsError, match=r"'there\.txt' is taken"):
        store._create("there.txt", ContentFile(b"other"))
    with store.open("there.txt") as file:
        assert file.read() == b"data"


def test_a_range_behind_the_end_is_empty(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """416 is an answer, not an error; and an empty file is read as such."""
    assert b"".join(store.stream("there.txt", 4)) == b""
    assert proxy.requests[-1].status == 416
    store.save("empty.txt", ContentFile(b""))
    with store.open("empty.txt") as file:
        assert file.read() == b""


def test_a_file_that_is_replaced_while_it_is_read_is_stale(store: S3DeliveryStore) -> None:
    """ESTALE: a reader never shows half of one file and half of another."""
    with store.open("notes.bin", "wb") as writer:
        writer.write(bytes(3 * MIB))
    with store.open("notes.bin") as file:
        assert file.read(10) == bytes(10)
        with store.open("notes.bin", "wb") as writer:
            writer.write(b"x" * (3 * MIB))
        with pytest.raises(OSError, match="replaced while it was being read") as caught:
            file.read()
    assert caught.value.errno == errno.ESTALE
    assert caught.value.filename == "notes.bin"
    assert repr(store.bucket_name) in str(caught.value)


# -- Answers in S3's words --


@pytest.mark.parametrize(
    ("code", "status", "remedy"),
    [
        ("ExpiredToken", 400, "Get new credentials: a session token has its time."),
        ("InvalidToken", 400, "Get new credentials: a session token has its time."),
        ("RequestTimeTooSkewed", 403, "Set the clock of this machine."),
        ("AuthorizationHeaderMalformed", 400, "Check the option region_name."),
        ("Unauthorized", 401, "Check access key and secret key."),
    ],
)
def test_what_is_wrong_with_the_credentials_has_its_own_remedy(
    store: S3DeliveryStore, proxy: HttpProxy, code: str, status: int, remedy: str
) -> None:
    """Refused once is refused for good: no second attempt."""
    for use in ("save", "open", "delete", "list"):
        proxy.fault("", Answer(status, code))
        text = raised(store, use, StoreDenied)
        assert f"{status} {code} (planned)" in text
        assert text.endswith(remedy)
    assert len(proxy.requests) == 4


@pytest.mark.parametrize(
    ("use", "action"),
    [
        ("save", "s3:PutObject"),
        ("open", "s3:GetObject, or the file does not exist and s3:ListBucket is missing"),
        ("stream", "s3:GetObject, or the file does not exist and s3:ListBucket is missing"),
        ("size", "s3:GetObject, or the file does not exist and s3:ListBucket is missing"),
        ("delete", "s3:DeleteObject"),
        ("list", "s3:ListBucket"),
    ],
)
def test_a_refusal_names_the_missing_permission(
    store: S3DeliveryStore, proxy: HttpProxy, use: str, action: str
) -> None:
    """Without s3:ListBucket a missing file is refused, too: the error says so."""
    proxy.fault("", Answer(403, "AccessDenied"))
    text = raised(store, use, StoreDenied)
    assert f"permission is missing: {action}. See the policy in the manual." in text
    assert len(proxy.requests) == 1


def test_a_refusal_of_a_copy_names_what_both_ends_need(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """It reads one file and writes the other."""
    source, target = PlainFileMeta(store, 1005, 17), PlainFileMeta(store, 1006, 18)
    with store.write_open(source) as writer:
        writer.write(b"data")
    proxy.fault("CopyObject", Answer(403, "AccessDenied"))
    with pytest.raises(StoreDenied, match="s3:PutObject, s3:GetObject or, if the source does not"):
        store.copy(source, target)


def test_a_key_of_kms_that_may_not_be_used_is_named(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """S3 names the action in its answer; s3:PutObject would lead astray."""
    said = "User: arn:aws:iam::1:user/u is not authorized to perform: {} on resource: arn:aws:kms"
    for use, action in {"save": "kms:GenerateDataKey", "open": "kms:Decrypt"}.items():
        proxy.fault("", Answer(403, "AccessDenied", said.format(action)))
        text = raised(store, use, StoreDenied)
        assert f"The permission is missing: {action}. See" in text


def test_a_disabled_key_of_kms_is_told_by_its_code(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """No permission helps against that."""
    proxy.fault("PutObject", Answer(400, "KMS.DisabledException", "the key is disabled"))
    text = raised(store, "save", StoreFailure)
    assert "400 KMS.DisabledException (the key is disabled)" in text


def test_a_file_in_an_archive_has_to_be_restored_first(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """InvalidObjectState: Glacier's classes are not read at once; it is a 403 on S3."""
    proxy.fault("GetObject", Answer(403, "InvalidObjectState"), times=2)
    for use in ("open", "stream"):
        text = raised(store, use, StoreFailure)
        assert "storage class that cannot be read at once: restore it first" in text


def test_a_bad_request_without_words_names_what_it_may_be(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """HEAD with an expired token, from the wrong region, or without the key of SSE-C: just 400."""
    proxy.fault("HeadObject", Answer(400, "ExpiredToken"))
    text = raised(store, "size", StoreFailure)
    assert "session token that has expired" in text


# -- What may pass --


@pytest.mark.parametrize("use", sorted(USES))
def test_a_short_burst_of_503_is_nobodys_business(
    store: S3DeliveryStore, proxy: HttpProxy, use: str
) -> None:
    """As many as there are attempts, less one."""
    store.save("a.txt", ContentFile(b"data"))
    proxy.forget()
    proxy.fault("", Answer(503, "SlowDown"))
    USES[use][1](store)
    first, second = proxy.requests[:2]
    assert first.operation == second.operation
    assert first.status == 503


@pytest.mark.parametrize("use", sorted(USES))
@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
def test_a_burst_longer_than_the_attempts_is_an_unavailable_server(
    store: S3DeliveryStore, proxy: HttpProxy, use: str, status: int, code: str
) -> None:
    """With the attempts, the seconds, and what the server said."""
    proxy.fault("", Answer(status, code), times=9)
    text = raised(store, use, StoreUnavailable)
    assert "failed after 2 attempts in " in text
    assert text.endswith("Try again later.")
    assert len(proxy.requests) == 2


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a port on which nobody listens, and nobody else will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were asked for, the longest possible ones; nobody waits for them."""
    made: list[float] = []
    monkeypatch.setattr(random, "uniform", lambda shortest, longest: longest)
    monkeypatch.setattr(time, "sleep", made.append)
    return made


@pytest.mark.parametrize("use", sorted(USES))
def test_a_dead_server_is_an_error_after_the_attempts(
    options: dict[str, Any], nobody: str, pauses: list[float], use: str
) -> None:
    """Five attempts by default, with pauses that grow: seconds, where botocore takes a minute."""
    store = S3DeliveryStore(**{**options, "endpoint_url": nobody})
    text = raised(store, use, StoreUnavailable)
    assert "failed after 5 attempts in " in text
    assert "EndpointConnectionError" in text
    assert text.endswith("Is the server there, and is the endpoint right?")
    assert pauses == [0.1, 0.2, 0.4, 0.8]


def test_attempts_are_as_many_as_the_option_says(
    options: dict[str, Any], nobody: str, pauses: list[float]
) -> None:
    """One means that nothing is tried again."""
    store = S3DeliveryStore(**{**options, "endpoint_url": nobody}, attempts=1)
    assert "failed at once: " in raised(store, "open", StoreUnavailable)
    assert pauses == []
    store = S3DeliveryStore(**{**options, "endpoint_url": nobody}, attempts=9)
    assert "failed after 9 attempts in " in raised(store, "open", StoreUnavailable)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]


def test_no_attempt_begins_after_the_deadline(
    options: dict[str, Any], nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are left; the last pause is cut short, so that time is used to its end."""
    now = [1000.0]
    begun: list[float] = []

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now[0]

        @staticmethod
        def sleep(seconds: float) -> None:
            now[0] += seconds

    store = S3DeliveryStore(**{**options, "endpoint_url": nobody}, attempts=100, deadline=5)
    store.remote.client.meta.events.register(
        "before-send.s3", lambda **given: begun.append(now[0] - 1000)
    )
    monkeypatch.setattr(bucket_module, "time", Clock)
    monkeypatch.setattr(random, "uniform", lambda shortest, longest: longest)
    text = raised(store, "open", StoreUnavailable)
    assert begun == pytest.approx([0, 0.1, 0.3, 0.7, 1.5, 3.1, 5])
    assert "after 7 attempts in 5.0 s" in text


def test_a_deadline_of_nothing_leaves_one_attempt(options: dict[str, Any], nobody: str) -> None:
    """The first one is always made."""
    store = S3DeliveryStore(**{**options, "endpoint_url": nobody}, attempts=100, deadline=0)
    assert "failed at once: " in raised(store, "open", StoreUnavailable)


@pytest.mark.parametrize("use", ["save", "open", "size", "delete", "list"])
def test_a_host_that_nobody_knows_is_an_unavailable_server(
    options: dict[str, Any], pauses: list[float], use: str
) -> None:
    """Name servers have their moments, too: it is tried again."""
    endpoint = {"endpoint_url": "http://nowhere.invalid"}
    store = S3DeliveryStore(**{**options, **endpoint})
    text = raised(store, use, StoreUnavailable)
    assert "failed after 5 attempts in " in text
    assert "is the endpoint right?" in text


class Untrusted:
    """A server that accepts connections, and says what no client of TLS can accept."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint_url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with client, suppress(OSError):
                if self._context is None:
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                    client.recv(1)
                else:
                    self._context.wrap_socket(client, server_side=True).close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@pytest.fixture(params=["plain", "self-signed"])
def untrusted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Untrusted]:
    context = None
    if request.param == "self-signed":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_certificate(tmp_path / "server.pem"))
    server = Untrusted(context)
    yield server
    server.close()


def _certificate(path: Path) -> Path:
    """Make a certificate for 127.0.0.1 that nobody has signed but itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = timezone.now()
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(encoding, *plain) + certificate.public_bytes(encoding))
    return path


@pytest.mark.parametrize("use", ["save", "open", "size", "list"])
def test_a_server_that_cannot_be_trusted_is_asked_once(
    options: dict[str, Any], untrusted: Untrusted, use: str
) -> None:
    """No certificate, or nobody's: it does not get better, and the remedy is in the options."""
    store = S3DeliveryStore(**{**options, "endpoint_url": untrusted.endpoint_url})
    text = raised(store, use, StoreUnavailable)
    assert "failed at once: SSL" in text
    assert "Check the server's certificate, and the options verify and endpoint_url." in text
    assert untrusted.connections == 1


def test_no_credentials_are_told_before_anything_is_sent(
    options: dict[str, Any], proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the settings to fill in."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(credentials.SharedCredentialProvider, "load", lambda self: None)
    monkeypatch.setattr(credentials.ConfigProvider, "load", lambda self: None)
    keys = {"access_key": None, "secret_key": None, "endpoint_url": proxy.endpoint_url}
    store = S3DeliveryStore(**{**options, **keys})
    proxy.forget()
    text = raised(store, "open", StoreDenied)
    assert "there are no credentials" in text
    assert "Set AWS_S3_ACCESS_KEY_ID and AWS_S3_SECRET_ACCESS_KEY, or give the machine" in text
    assert proxy.requests == []


@pytest.mark.parametrize(
    "error",
    [SSOTokenLoadError(error_msg="none"), TokenRetrievalError(provider="sso", error_msg="over")],
    ids=lambda error: type(error).__name__,
)
def test_a_login_that_is_over_is_no_dead_server(error: BotoCoreError) -> None:
    """Of the single sign-on of a profile."""
    told = errors.translated(error, "get_object", "a.txt", "bucket 'b'", 1, 0)
    assert isinstance(told, StoreDenied)
    assert "there are no credentials" in str(told)


# -- Many at once --


class PartlyDeleted(S3DeliveryStore):
    """Its server says of some keys that it could not remove them."""

    codes: dict[str, str] = {}

    def reports(self) -> None:
        """Let the next answers carry the codes."""

        def report(parsed: dict[str, Any], **given: Any) -> None:
            parsed["Errors"] = [
                {"Key": self.remote.key(name), "Code": code, "Message": "planned"}
                for name, code in self.codes.items()
            ]

        self.remote.client.meta.events.register("after-call.s3.DeleteObjects", report)


def test_each_key_that_was_not_deleted_has_its_own_error(
    options: dict[str, Any], proxy: HttpProxy
) -> None:
    """Denied, unavailable, failed; a name that is missing is no failure, one that is none is."""
    store = PartlyDeleted(**{**options, "endpoint_url": f"{proxy.endpoint_url}/"})
    store.codes = {
        "a.txt": "AccessDenied",
        "b.txt": "InternalError",
        "c.txt": "Strange",
        "d.txt": "NoSuchKey",
    }
    store.reports()
    failures = store.delete_many([*store.codes, "../e.txt", "f.txt"])
    kinds = {name: type(failure).__name__ for name, failure in failures.items()}
    assert kinds == {
        "a.txt": "StoreDenied",
        "b.txt": "StoreUnavailable",
        "c.txt": "StoreFailure",
        "../e.txt": "InvalidName",
    }
    for name in ("a.txt", "b.txt", "c.txt"):
        text = str(failures[name])
        assert f"delete_objects of {name!r} in bucket {store.bucket_name!r} at " in text
        assert f"{store.codes[name]} (planned)" in text
    assert "permission is missing: s3:DeleteObject" in str(failures["a.txt"])


def test_a_batch_that_fails_as_a_whole_is_reported_for_each_of_its_names(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """Nobody takes what was never asked for as deleted; the other batches go on."""
    proxy.fault("DeleteObjects", Answer(403, "AccessDenied"))
    names = [f"{number}.txt" for number in range(1001)]
    failures = store.delete_many(names)
    assert set(failures) == set(names[:1000])
    assert {type(failure) for failure in failures.values()} == {StoreDenied}
    assert "s3:DeleteObject" in str(failures["0.txt"])


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart"])
def test_a_large_save_that_is_refused_names_the_operation_that_was(
    store: S3DeliveryStore, proxy: HttpProxy, operation: str
) -> None:
    """And leaves no upload behind."""
    conditions.require(store.remote, "complete_multipart_upload")
    proxy.fault(operation, Answer(403, "AccessDenied"))
    with pytest.raises(StoreDenied, match=r"permission is missing: s3:PutObject\."):
        store.save("a.bin", ContentFile(bytes(6 * MIB)))
    assert not store.exists("a.bin")
    for page in store.remote.pages("list_multipart_uploads", Prefix=store.remote.prefix):
        assert "Uploads" not in page


# -- The options that bound it --


@pytest.mark.parametrize("attempts", [0, -1, 1.5, "5", True, None])
def test_attempts_are_a_count(options: dict[str, Any], attempts: Any) -> None:
    """At least one."""
    with pytest.raises(ImproperlyConfigured, match=f"attempts={attempts!r} of S3DeliveryStore"):
        S3DeliveryStore(**options, attempts=attempts)


@pytest.mark.parametrize("deadline", [-1, "20", True, None, float("nan"), float("inf")])
def test_a_deadline_is_seconds(options: dict[str, Any], deadline: Any) -> None:
    """Finite ones, for a call without an end is what it is there to prevent."""
    with pytest.raises(ImproperlyConfigured, match=f"deadline={deadline!r} of S3DeliveryStore"):
        S3DeliveryStore(**options, deadline=deadline)
