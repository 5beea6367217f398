"""Direct requests are those that boto3 would send, and have the same results."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial, wraps
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth
from botocore.awsrequest import AWSResponse
from botocore.client import BaseClient
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.endpoint import Endpoint
from botocore.httpsession import URLLib3Session
from botocore.stub import Stubber
from django.core.files.base import ContentFile

from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3 import direct, writing
from devilry_storage.storages.s3.direct import DirectClient

NAME = "0/0/1/17"
ODD_NAME = "a b+%;~'()!*&=é€/x.txt"
PAGE = (
    b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>deliveries/1</Key>"
    b"<Size>1</Size><LastModified>2026-11-29T10:00:00.000Z</LastModified></Contents>"
    b"</ListBucketResult>"
)
OK: dict[str, tuple[int, dict[str, str], bytes]] = {
    "PUT": (200, {"ETag": '"1"'}, b""),
    "GET": (206, {"ETag": '"1"', "Content-Length": "4", "Content-Range": "bytes 0-3/4"}, b"data"),
    "DELETE": (204, {}, b""),
    "HEAD": (404, {"x-amz-request-id": "1"}, b""),
    "LIST": (200, {}, PAGE),
}


class Raw(io.BytesIO):
    def stream(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        yield self.read()


class Wire:
    """Records the requests, and answers them with `OK` or with ``answers``."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.direct = 0
        self.answers: list[tuple[int, dict[str, str], bytes]] = []

    def send(self, request: Any) -> AWSResponse:
        self.requests.append(request)
        method = "LIST" if "list-type" in request.url else request.method
        status, headers, body = self.answers.pop(0) if self.answers else OK[method]
        if method == "GET" and status == 206 and "Range" not in request.headers:
            status, headers = 200, {"ETag": '"1"', "Content-Length": "4"}
        response = AWSResponse(request.url, status, headers, Raw(body))
        if not request.stream_output:
            assert response.content == body
        return response


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    wire = Wire()
    answer = DirectClient._answer

    def answered(self: DirectClient, *args: Any) -> Any:
        wire.direct += 1
        return answer(self, *args)

    monkeypatch.setattr(URLLib3Session, "send", lambda self, request: wire.send(request))
    monkeypatch.setattr(DirectClient, "_answer", answered)
    monkeypatch.setattr(writing, "require", lambda bucket: None)
    return wire


def make_store(**options: Any) -> S3DeliveryStore:
    given = {
        "bucket_name": "deliveries",
        "access_key": "key",
        "secret_key": "secret",
        "region_name": "eu-central-1",
        "location": "deliveries",
        "attempts": 1,
    }
    return S3DeliveryStore(**{**given, **options})


def save(store: S3DeliveryStore, name: str = NAME) -> None:
    store.save(name, ContentFile(b"data"))


def read(store: S3DeliveryStore, name: str = NAME) -> None:
    with store.open(name) as file:
        assert file.read() == b"data"


def stream(store: S3DeliveryStore, name: str = NAME) -> None:
    assert b"".join(store.stream(name)) == b"data"


def scan(store: S3DeliveryStore, name: str = "") -> None:
    assert [entry.name for entry in store.scan(name)] == ["1"]


def page(store: S3DeliveryStore, name: str = "") -> None:
    assert [entry.name for entry in store.page(name, limit=7).files] == ["1"]


def delete(store: S3DeliveryStore, name: str = NAME) -> None:
    store.delete(name)


ACTS: list[Callable[..., None]] = [save, read, stream, scan, page, delete]


def described(request: Any) -> tuple[Any, ...]:
    """Return what the server gets, without the time and the parts that depend on it."""
    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else value
        for name, value in request.headers.items()
    }
    for name in ("x-amz-date", "amz-sdk-invocation-id"):
        assert headers.pop(name)
    # The functions of botocore that took part.
    headers["user-agent"] = re.sub(r" m/\S+", "", headers["user-agent"])
    headers["authorization"] = re.sub(r"Signature=\w+|/\d{8}/", "", headers["authorization"])
    headers.pop("x-amz-meta-devilry-token", None)
    # Older versions leave out the number of attempts.
    headers["amz-sdk-request"] = headers["amz-sdk-request"].removesuffix("; max=1")
    headers.pop("content-length", None)  # urllib3 adds it
    headers.pop("expect", None)
    url, _, query = request.url.partition("?")
    body = request.body or b""
    body = bytes(body) if isinstance(body, (bytes, bytearray)) else body.read()
    return request.method, url, sorted(query.split("&")), headers, body, request.stream_output


def sent(wire: Wire, store: S3DeliveryStore, act: Callable[..., None], *args: str) -> list[Any]:
    wire.requests.clear()
    act(store, *args)
    return [described(request) for request in wire.requests]


S3 = {"payload_signing_enabled": True}
#: Options of stores whose requests are all direct.
USUAL: dict[str, dict[str, Any]] = {
    "virtual host": {},
    "old region": {"region_name": "us-east-1"},
    "path": {"endpoint_url": "http://127.0.0.1:9", "addressing_style": "path"},
    "path with TLS": {"endpoint_url": "https://s3.example.org/base", "addressing_style": "path"},
    "session token": {"security_token": "token"},
    "when_required": {
        "client_config": Config(
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
    },
    "dual stack": {"client_config": Config(use_dualstack_endpoint=True)},
    "FIPS": {"region_name": "us-east-2", "client_config": Config(use_fips_endpoint=True)},
    "accelerate": {"client_config": Config(s3={"use_accelerate_endpoint": True})},
    "signed payload": {"client_config": Config(s3=S3)},
    "user agent": {"client_config": Config(user_agent_extra="deliveries", user_agent_appid="x")},
    "ACL": {"default_acl": "private"},
    "parameters": {
        "object_parameters": {
            "StorageClass": "STANDARD_IA",
            "ServerSideEncryption": "aws:kms",
            "CacheControl": "max-age=60",
            "RequestPayer": "requester",
            "ExpectedBucketOwner": "123456789012",
            "Metadata": {"Course": "inf 1000"},
            "SSEKMSKeyId": "key",
            "BucketKeyEnabled": True,
        }
    },
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("options", USUAL.values(), ids=USUAL)
def test_request_is_that_of_boto3(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], act: Any
) -> None:
    """Method, URL, headers, signed headers and body are equal."""
    store = make_store(**options)
    ours = sent(wire, store, act)
    assert wire.direct == 1
    monkeypatch.setattr(direct, "enabled", False)
    assert sent(wire, store, act) == ours
    assert wire.direct == 1


@pytest.mark.parametrize("act", [save, read, delete])
def test_name_is_encoded_as_by_boto3(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, act: Callable[..., None]
) -> None:
    store = make_store()
    ours = sent(wire, store, act, ODD_NAME)
    assert wire.direct == 1
    monkeypatch.setattr(direct, "enabled", False)
    assert sent(wire, store, act, ODD_NAME) == ours


CUSTOMER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
ACCESS_POINT = "arn:aws:s3:eu-central-1:123456789012:accesspoint/deliveries"
#: Options of stores for which boto3 sends saves, because something is unusual.
UNUSUAL: dict[str, dict[str, Any]] = {
    "SSE-C": {"object_parameters": CUSTOMER, "endpoint_url": "https://s3.example.org"},
    "access point": {"bucket_name": ACCESS_POINT},
    "directory bucket": {"bucket_name": "deliveries--euc1-az1--x-s3"},
    "old signature": {"signature_version": "s3", "endpoint_url": "http://127.0.0.1:9"},
    "other parameter": {"object_parameters": {"Tagging": "a=b"}},
    "no ASCII": {"object_parameters": {"CacheControl": "é"}},
    "no ASCII in metadata": {"object_parameters": {"Metadata": {"a": "é"}}},
}


@pytest.mark.parametrize("options", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_request_is_left_to_boto3(wire: Wire, options: dict[str, Any]) -> None:
    """Including the exceptions that it raises."""
    try:
        save(make_store(**options))
    except (OSError, ValueError, UnicodeError):
        pass
    assert wire.direct == 0


def wrapped(method: Any) -> Any:
    """Wrap a method as tools do that trace requests."""

    @wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    return wrapper


@contextmanager
def handler(client: Any, event: str, function: Callable[..., Any]) -> Iterator[None]:
    client.meta.events.register(event, function)
    yield
    client.meta.events.unregister(event, function)


#: Changes of a client, or of botocore, that must see every request.
CHANGES: dict[str, Callable[[Any], AbstractContextManager[Any]]] = {
    "handler": lambda client: handler(client, "before-send.s3.*", lambda **kwargs: None),
    "handler of all": lambda client: handler(
        client, "request-created", MagicMock(return_value=None)
    ),
    "partial": lambda client: handler(
        client, "before-sign.s3.PutObject", partial(lambda **kwargs: None)
    ),
    "method of a class": lambda client: patch.object(
        BaseClient, "_make_api_call", wrapped(BaseClient._make_api_call)
    ),
    "mock": lambda client: patch.object(
        BaseClient, "_make_api_call", autospec=True, side_effect=BaseClient._make_api_call
    ),
    "endpoint": lambda client: patch.object(
        Endpoint, "make_request", wrapped(Endpoint.make_request)
    ),
    "operation": lambda client: patch.object(
        client, "put_object", MagicMock(side_effect=client.put_object)
    ),
    "operation of the class": lambda client: patch.object(
        type(client), "put_object", wrapped(type(client).put_object)
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_client_sends_the_request(
    wire: Wire, change: Callable[[Any], AbstractContextManager[Any]]
) -> None:
    """As long as it is changed."""
    store = make_store()
    save(store)
    assert (wire.direct, len(wire.requests)) == (1, 1)
    with change(store.remote.client):
        save(store)
        assert (wire.direct, len(wire.requests)) == (1, 2)
    save(store)
    assert (wire.direct, len(wire.requests)) == (2, 3)


def test_other_version_of_botocore_sends_the_request(wire: Wire) -> None:
    """One without the attributes that direct requests need."""
    store = make_store(access_key="other version")
    del store.remote.client._user_agent_creator
    save_with = store.remote.client._convert_to_request_dict
    store.remote.client._convert_to_request_dict = partial(save_with, set_user_agent_header=False)
    save(store)
    assert (wire.direct, len(wire.requests)) == (0, 1)


def test_other_signer_sends_the_request(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the site, or that of the package awscrt."""

    class Signer(S3SigV4Auth):  # type: ignore[misc]  # botocore is not typed
        pass

    monkeypatch.setitem(AUTH_TYPE_MAPS, "s3v4", Signer)
    save(make_store(access_key="other signer"))
    assert (wire.direct, len(wire.requests)) == (0, 1)


def test_stubbed_client_sends_the_request(wire: Wire) -> None:
    store = make_store()
    with Stubber(store.remote.client) as stubber:
        stubber.add_response("delete_object", {})
        delete(store)
        stubber.assert_no_pending_responses()
    assert wire.requests == []


def test_credentials_are_asked_for_each_request(wire: Wire) -> None:
    """Those of a role expire, and botocore refreshes them."""

    class Role(Credentials):  # type: ignore[misc]  # botocore is not typed
        number = 0

        def get_frozen_credentials(self) -> Any:
            self.number += 1
            return Credentials("key", "secret", f"token {self.number}").get_frozen_credentials()

    store = make_store(access_key="refreshed")
    store.remote.client._request_signer._credentials = Role("key", "secret")
    save(store)
    read(store)
    assert wire.direct == 2
    tokens = [request.headers["X-Amz-Security-Token"] for request in wire.requests]
    assert tokens == ["token 1", "token 2"]


def error(code: str, message: str = "planned") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


Answers = tuple[int, dict[str, str], bytes]
ANSWERS: dict[str, Answers] = {
    "denied": (403, {}, error("AccessDenied")),
    "action": (403, {}, error("AccessDenied", "not authorized to perform: kms:Encrypt on x")),
    "wrong key": (403, {}, error("SignatureDoesNotMatch")),
    "missing": (404, {}, error("NoSuchKey")),
    "missing bucket": (404, {}, error("NoSuchBucket")),
    "page with 404": (404, {"Content-Type": "text/html"}, b"<html>lost</html>"),
    "taken": (412, {}, error("PreconditionFailed")),
    "conflict": (409, {}, error("ConditionalRequestConflict")),
    "range": (416, {"Content-Range": "bytes */0"}, error("InvalidRange")),
    "bad": (400, {}, error("InvalidArgument", "x-amz-checksum-sha256")),
    "too long": (400, {}, error("KeyTooLongError")),
    "busy": (503, {}, error("SlowDown")),
    "no body": (500, {}, b""),
    "cut off": (500, {}, error("InternalError")[:-9]),
    "no XML": (502, {}, b"bad gateway"),
    "other XML": (403, {}, b"<html><body>no</body></html>"),
    "error with 200": (200, {}, error("InternalError")),
    "missing part": (206, {"ETag": '"1"', "Content-Length": "4"}, b"data"),
    "page": (200, {"ETag": '"1"'}, b"<html><body>Hello</body></html>"),
    "number": (200, {"ETag": '"1"', "Content-Length": "many"}, b"<data/>"),
    "not modified": (304, {}, b""),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_response_has_the_result_of_boto3(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, answer: Answers, act: Callable[..., None]
) -> None:
    """The same exception with the same text, or none."""

    def result() -> tuple[str, str]:
        wire.answers[:] = [answer] * 3
        try:
            act(make_store())
        except (OSError, ValueError, AssertionError) as exception:
            text = re.sub(r"_\w{7}'", "'", str(exception))  # of an alternative name
            return type(exception).__name__, text
        return "", ""

    ours = result()
    assert wire.direct
    monkeypatch.setattr(direct, "enabled", False)
    assert ours == result()


@pytest.mark.parametrize(
    "answer",
    [
        (301, {"x-amz-bucket-region": "eu-west-1"}, error("PermanentRedirect")),
        (307, {"x-amz-bucket-region": "eu-west-1"}, error("TemporaryRedirect")),
        (
            400,
            {},
            b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>",
        ),
    ],
)
def test_bucket_in_another_region_is_left_to_boto3(wire: Wire, answer: Answers) -> None:
    """It finds out the region, and later requests go there at once."""
    store = make_store(access_key=f"redirect {answer[0]}")
    wire.answers[:] = [answer, answer]
    save(store)
    hosts = [request.url.split("/")[2] for request in wire.requests]
    ours, other = (
        f"deliveries.s3.{region}.amazonaws.com" for region in ("eu-central-1", "eu-west-1")
    )
    assert hosts == [ours, ours, other]
    save(store)
    assert [request.url.split("/")[2] for request in wire.requests[3:]] == [other]
    assert wire.direct == 1
