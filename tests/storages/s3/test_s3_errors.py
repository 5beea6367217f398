"""Errors of S3 servers and networks become OSErrors with a remedy.

Each message has the operation, the name in quotes, the bucket, the endpoint and a remedy.
SeaweedFS sends the responses that it supports. A proxy sends the others, as S3 would.
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
from devilry_storage.storages.s3 import errors, writing
from devilry_storage.testing import PlainFileMeta

from ...harness import s3servers
from ...harness.http_faults import Answer
from ...harness.http_proxy import HttpProxy

pytestmark = pytest.mark.servers

MIB = 1 << 20

#: Ways to use a store, and the operation of S3 that the error must name.
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
    """A store behind the proxy with one file, whose server has been probed."""
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
    """Check the type of the error that a use raises, and the names in it; return its text."""
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


# -- Responses of the server --


@pytest.mark.parametrize("use", ["save", "open", "stream", "list", "scan"])
def test_missing_bucket_is_reported_with_a_remedy(options: dict[str, Any], use: str) -> None:
    """A missing bucket must not look like a missing file."""
    store = S3DeliveryStore(**{**options, "bucket_name": "deliveries-nowhere"})
    text = raised(store, use, StoreFailure)
    assert "404 NoSuchBucket" in text
    assert "Create the bucket, or check the options bucket_name and endpoint_url" in text


@pytest.mark.parametrize("use", sorted(USES))
@pytest.mark.parametrize("option", ["access_key", "secret_key"])
def test_wrong_credentials_are_denied(options: dict[str, Any], option: str, use: str) -> None:
    """A response to HEAD has no error code, so the message names both possible reasons."""
    store = S3DeliveryStore(**{**options, option: f"wrong-{uuid.uuid4().hex}"})
    text = raised(store, use, StoreDenied)
    assert "403" in text
    if USES[use][0] == "head_object":
        assert "The credentials are wrong, or the permission is missing: s3:GetObject" in text
    else:
        assert "Check access key and secret key." in text


def test_missing_file_raises_file_not_found(store: S3DeliveryStore) -> None:
    """The exception is a DeliveryFileNotFound with the name, and with the FileMeta if known."""
    uses = ("open", "stream", "size", "time")
    for use in uses:
        with pytest.raises(DeliveryFileNotFound) as caught:
            USES[use][1](store)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "a.txt")
    missing = PlainFileMeta(store, 1005, 17, content="0/1/1005/17")
    with pytest.raises(DeliveryFileNotFound) as caught:
        store.read_open(missing)
    assert caught.value.filemeta is missing


def test_used_name_raises_file_exists(store: S3DeliveryStore) -> None:
    """The server rejects a second file with the same name."""
    with pytest.raises(FileExistsError, match=r"'there\.txt' is taken"):
        store._create("there.txt", ContentFile(b"other"))
    with store.open("there.txt") as file:
        assert file.read() == b"data"


def test_range_after_the_end_is_empty(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """Status 416 means no bytes, and is not an error. An empty file can be read."""
    assert b"".join(store.stream("there.txt", 4)) == b""
    assert proxy.requests[-1].status == 416
    store.save("empty.txt", ContentFile(b""))
    with store.open("empty.txt") as file:
        assert file.read() == b""


def test_file_replaced_during_reading_is_stale(store: S3DeliveryStore) -> None:
    """A reader never returns bytes of two versions of a file; it raises ESTALE."""
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


# -- Error responses as S3 sends them --


@pytest.mark.parametrize(
    ("code", "status", "remedy"),
    [
        ("ExpiredToken", 400, "Get new credentials: the session token is invalid or expired."),
        ("InvalidToken", 400, "Get new credentials: the session token is invalid or expired."),
        ("RequestTimeTooSkewed", 403, "Correct the clock of this machine."),
        ("AuthorizationHeaderMalformed", 400, "Check the option region_name."),
        ("Unauthorized", 401, "Check access key and secret key."),
    ],
)
def test_credential_errors_have_specific_remedies(
    store: S3DeliveryStore, proxy: HttpProxy, code: str, status: int, remedy: str
) -> None:
    """Rejected credentials are not sent again."""
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
def test_denial_names_the_missing_permission(
    store: S3DeliveryStore, proxy: HttpProxy, use: str, action: str
) -> None:
    """Without s3:ListBucket, S3 also denies access to missing files; the message says so."""
    proxy.fault("", Answer(403, "AccessDenied"))
    text = raised(store, use, StoreDenied)
    assert f"permission is missing: {action}. See the policy in the manual." in text
    assert len(proxy.requests) == 1


def test_denied_copy_names_permissions_of_source_and_target(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """A copy reads one file and writes the other."""
    source, target = PlainFileMeta(store, 1005, 17), PlainFileMeta(store, 1006, 18)
    with store.write_open(source) as writer:
        writer.write(b"data")
    proxy.fault("CopyObject", Answer(403, "AccessDenied"))
    with pytest.raises(StoreDenied, match="s3:PutObject, s3:GetObject or, if the source does not"):
        store.copy(source, target)


def test_denied_kms_key_names_the_kms_action(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The message has the action of S3's response; s3:PutObject would be misleading."""
    message = (
        "User: arn:aws:iam::1:user/u is not authorized to perform: {} on resource: arn:aws:kms"
    )
    for use, action in {"save": "kms:GenerateDataKey", "open": "kms:Decrypt"}.items():
        proxy.fault("", Answer(403, "AccessDenied", message.format(action)))
        text = raised(store, use, StoreDenied)
        assert f"The permission is missing: {action}. See" in text


def test_disabled_kms_key_is_reported_by_code(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """The message suggests no permission, because the key itself is disabled."""
    proxy.fault("PutObject", Answer(400, "KMS.DisabledException", "the key is disabled"))
    text = raised(store, "save", StoreFailure)
    assert "400 KMS.DisabledException (the key is disabled)" in text


def test_archived_file_must_be_restored_first(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """S3 responds with 403 and InvalidObjectState for objects in Glacier storage classes."""
    proxy.fault("GetObject", Answer(403, "InvalidObjectState"), times=2)
    for use in ("open", "stream"):
        text = raised(store, use, StoreFailure)
        assert "storage class without immediate access: restore it in S3 first" in text


def test_head_with_status_400_lists_possible_causes(
    store: S3DeliveryStore, proxy: HttpProxy
) -> None:
    """If a GET request succeeds, the reason remains unknown."""
    store.save("a.txt", ContentFile(b"data"))
    proxy.fault("HeadObject", Answer(400, "ExpiredToken"))
    text = raised(store, "size", StoreFailure)
    assert "an expired session token" in text


# -- Temporary errors --


@pytest.mark.parametrize("use", sorted(USES))
def test_single_503_is_retried(store: S3DeliveryStore, proxy: HttpProxy, use: str) -> None:
    """The store makes two attempts, so the second one succeeds."""
    store.save("a.txt", ContentFile(b"data"))
    proxy.forget()
    proxy.fault("", Answer(503, "SlowDown"))
    USES[use][1](store)
    first, second = proxy.requests[:2]
    assert first.operation == second.operation
    assert first.status == 503


@pytest.mark.parametrize("use", sorted(USES))
@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
def test_persistent_server_errors_raise_unavailable(
    store: S3DeliveryStore, proxy: HttpProxy, use: str, status: int, code: str
) -> None:
    """The message has the number of attempts, the seconds and the server's error."""
    proxy.fault("", Answer(status, code), times=9)
    text = raised(store, use, StoreUnavailable)
    assert "failed after 2 attempts in " in text
    assert text.endswith("Try again later.")
    assert len(proxy.requests) == 2


@pytest.fixture
def dead_endpoint() -> Iterator[str]:
    """The URL of a port that is reserved, but has no server."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The requested pauses, with the maximum of the jitter; the test does not sleep."""
    requested: list[float] = []
    monkeypatch.setattr(random, "uniform", lambda shortest, longest: longest)
    monkeypatch.setattr(time, "sleep", requested.append)
    return requested


@pytest.mark.parametrize("use", sorted(USES))
def test_dead_server_raises_after_all_attempts(
    options: dict[str, Any], dead_endpoint: str, pauses: list[float], use: str
) -> None:
    """By default there are five attempts, with growing pauses."""
    store = S3DeliveryStore(**{**options, "endpoint_url": dead_endpoint})
    text = raised(store, use, StoreUnavailable)
    assert "failed after 5 attempts in " in text
    assert "EndpointConnectionError" in text
    assert text.endswith("Check that the server is running, and the option endpoint_url.")
    assert pauses == [0.1, 0.2, 0.4, 0.8]


def test_option_attempts_limits_attempts(
    options: dict[str, Any], dead_endpoint: str, pauses: list[float]
) -> None:
    """With one attempt, nothing is retried."""
    store = S3DeliveryStore(**{**options, "endpoint_url": dead_endpoint}, attempts=1)
    assert "failed after 1 attempt: " in raised(store, "open", StoreUnavailable)
    assert pauses == []
    store = S3DeliveryStore(**{**options, "endpoint_url": dead_endpoint}, attempts=9)
    assert "failed after 9 attempts in " in raised(store, "open", StoreUnavailable)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]


def test_no_attempt_begins_after_the_deadline(
    options: dict[str, Any], dead_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline applies even if attempts are left. The last pause ends at the deadline."""
    now = [1000.0]
    started: list[float] = []

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now[0]

        @staticmethod
        def sleep(seconds: float) -> None:
            now[0] += seconds

    store = S3DeliveryStore(**{**options, "endpoint_url": dead_endpoint}, attempts=100, deadline=5)
    store.remote.client.meta.events.register(
        "before-send.s3", lambda **kwargs: started.append(now[0] - 1000)
    )
    monkeypatch.setattr(bucket_module, "time", Clock)
    monkeypatch.setattr(random, "uniform", lambda shortest, longest: longest)
    text = raised(store, "open", StoreUnavailable)
    assert started == pytest.approx([0, 0.1, 0.3, 0.7, 1.5, 3.1, 5])
    assert "after 7 attempts in 5.0 s" in text


def test_zero_deadline_means_one_attempt(options: dict[str, Any], dead_endpoint: str) -> None:
    """The first attempt is always made."""
    store = S3DeliveryStore(**{**options, "endpoint_url": dead_endpoint}, attempts=100, deadline=0)
    assert "failed after 1 attempt: " in raised(store, "open", StoreUnavailable)


@pytest.mark.parametrize("use", ["save", "open", "size", "delete", "list"])
def test_unknown_host_raises_unavailable(
    options: dict[str, Any], pauses: list[float], use: str
) -> None:
    """Errors of name servers may be temporary, so they are retried."""
    endpoint = {"endpoint_url": "http://nowhere.invalid"}
    store = S3DeliveryStore(**{**options, **endpoint})
    text = raised(store, use, StoreUnavailable)
    assert "failed after 5 attempts in " in text
    assert "Check that the server is running, and the option endpoint_url." in text


class Untrusted:
    """A server whose TLS no client can trust: it sends plain HTTP, or an unknown certificate."""

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
    """Write a self-signed certificate for 127.0.0.1 and its key; return the path."""
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
def test_untrusted_server_gets_one_attempt(
    options: dict[str, Any], untrusted: Untrusted, use: str
) -> None:
    """TLS errors are permanent, so they are not retried; the message names the options."""
    store = S3DeliveryStore(**{**options, "endpoint_url": untrusted.endpoint_url})
    text = raised(store, use, StoreUnavailable)
    assert "failed without a retry: SSL" in text
    assert "Check the server's certificate, and the options verify and endpoint_url." in text
    assert untrusted.connections == 1


def test_missing_credentials_are_reported_before_any_request(
    options: dict[str, Any], proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the settings."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(credentials.SharedCredentialProvider, "load", lambda self: None)
    monkeypatch.setattr(credentials.ConfigProvider, "load", lambda self: None)
    keys = {"access_key": None, "secret_key": None, "endpoint_url": proxy.endpoint_url}
    store = S3DeliveryStore(**{**options, **keys})
    proxy.forget()
    text = raised(store, "open", StoreDenied)
    assert "no credentials were found" in text
    assert "Set AWS_S3_ACCESS_KEY_ID and AWS_S3_SECRET_ACCESS_KEY, or give the machine" in text
    assert proxy.requests == []


@pytest.mark.parametrize(
    "error",
    [SSOTokenLoadError(error_msg="none"), TokenRetrievalError(provider="sso", error_msg="over")],
    ids=lambda error: type(error).__name__,
)
def test_expired_sso_login_raises_denied(error: BotoCoreError) -> None:
    """An expired single sign-on does not look like a dead server."""
    exception = errors.translate_exception(error, "get_object", "a.txt", "bucket 'b'", 1, 0)
    assert isinstance(exception, StoreDenied)
    assert "no credentials were found" in str(exception)


# -- Bulk operations --


class PartlyDeleted(S3DeliveryStore):
    """A store whose server reports errors for some keys of a DeleteObjects."""

    codes: dict[str, str] = {}

    def add_errors(self) -> None:
        """Add the error codes to all further responses."""

        def report(parsed: dict[str, Any], **kwargs: Any) -> None:
            parsed["Errors"] = [
                {"Key": self.remote.key(name), "Code": code, "Message": "planned"}
                for name, code in self.codes.items()
            ]

        self.remote.client.meta.events.register("after-call.s3.DeleteObjects", report)


def test_delete_many_reports_an_error_for_each_key(
    options: dict[str, Any], proxy: HttpProxy
) -> None:
    """A missing file is not an error; an invalid name is."""
    store = PartlyDeleted(**{**options, "endpoint_url": f"{proxy.endpoint_url}/"})
    store.codes = {
        "a.txt": "AccessDenied",
        "b.txt": "InternalError",
        "c.txt": "Strange",
        "d.txt": "NoSuchKey",
    }
    store.add_errors()
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


def test_failed_batch_is_reported_for_each_name(store: S3DeliveryStore, proxy: HttpProxy) -> None:
    """Names of a failed request do not count as deleted. The other batches are still sent."""
    proxy.fault("DeleteObjects", Answer(403, "AccessDenied"))
    names = [f"{number}.txt" for number in range(1001)]
    failures = store.delete_many(names)
    assert set(failures) == set(names[:1000])
    assert {type(failure) for failure in failures.values()} == {StoreDenied}
    assert "s3:DeleteObject" in str(failures["0.txt"])


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart"])
def test_denied_large_save_leaves_no_upload(
    store: S3DeliveryStore, proxy: HttpProxy, operation: str
) -> None:
    """The message names the permission, and the upload is aborted."""
    writing.require_conditions(store.remote)
    proxy.fault(operation, Answer(403, "AccessDenied"))
    with pytest.raises(StoreDenied, match=r"permission is missing: s3:PutObject\."):
        store.save("a.bin", ContentFile(bytes(6 * MIB)))
    assert not store.exists("a.bin")
    for page in store.remote.pages("list_multipart_uploads", Prefix=store.remote.prefix):
        assert "Uploads" not in page


# -- Options --


@pytest.mark.parametrize("attempts", [0, -1, 1.5, "5", True, None])
def test_invalid_option_attempts_is_rejected(options: dict[str, Any], attempts: Any) -> None:
    """The option must be an integer of at least 1."""
    with pytest.raises(ImproperlyConfigured, match=f"{attempts!r} for option 'attempts' of S3"):
        S3DeliveryStore(**options, attempts=attempts)


@pytest.mark.parametrize("deadline", [-1, "20", True, None, float("nan"), float("inf")])
def test_invalid_option_deadline_is_rejected(options: dict[str, Any], deadline: Any) -> None:
    """The option must be a finite number of seconds, so that every call ends."""
    with pytest.raises(ImproperlyConfigured, match=f"{deadline!r} for option 'deadline' of S3"):
        S3DeliveryStore(**options, deadline=deadline)
