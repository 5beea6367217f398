"""Django's error mails with variables of frames contain no secret of the store on S3."""

from __future__ import annotations

from collections.abc import Callable
from pprint import pformat
from typing import Any

import pytest

pytest.importorskip("boto3")

from boto3.s3.transfer import TransferConfig
from django.core.files.base import ContentFile
from django.test import RequestFactory, override_settings
from django.views.debug import ExceptionReporter

from devilry_storage.deliveries.models import FileMeta
from devilry_storage.resolving import store_for
from devilry_storage.serving import responses
from devilry_storage.serving.stored_file import File
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.testing import PlainFileMeta

SECRET, TOKEN = "secret-key-of-the-site", "session-token-of-the-site"
CUSTOMER_KEY, PASSWORD = "customer-key-of-the-site-32-byte", "password-of-the-site"
WORDS = (SECRET, TOKEN, CUSTOMER_KEY, PASSWORD, "X-Amz-Signature", "Signature=")

PART = 5 << 20

OPTIONS: dict[str, Any] = {
    "bucket_name": "bucket",
    "region_name": "us-east-1",
    "access_key": "an-id",
    "secret_key": SECRET,
    "security_token": TOKEN,
    "object_parameters": {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": CUSTOMER_KEY},
    # No server listens there.
    "endpoint_url": "http://127.0.0.1:1",
    "attempts": 1,
    "transfer_config": TransferConfig(multipart_threshold=PART, multipart_chunksize=PART),
}


def shown_of(act: Callable[[], Any], rf: RequestFactory) -> list[str]:
    """Return the secrets in the mail about the exception that is raised, without the settings."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # all kinds
        act()
    raised = caught.value
    reporter = ExceptionReporter(rf.get("/"), type(raised), raised, raised.__traceback__)
    frames = [frame["vars"] for frame in reporter.get_traceback_frames()]
    assert frames
    text, _found, _settings = reporter.get_traceback_text().partition("\nSettings:")
    mail = f"{pformat(frames)} {text}"
    return [word for word in WORDS if word in mail]


def write(store: S3DeliveryStore, data: bytes) -> None:
    with store.write_open(PlainFileMeta(store, 1, 2)) as writer:
        writer.write(data)


REQUESTS: dict[str, Callable[[S3DeliveryStore], Any]] = {
    "save": lambda store: store.save("a.txt", ContentFile(b"1")),
    "save in parts": lambda store: store.save("a.txt", ContentFile(bytes(PART + 1))),
    "write": lambda store: write(store, b"1"),
    "write in parts": lambda store: write(store, bytes(PART + 1)),
    "open": lambda store: store.open("a.txt").read(),
    "stream": lambda store: list(store.stream("a.txt")),
    "exists": lambda store: store.exists("a.txt"),
    "size": lambda store: store.size("a.txt"),
    "scan": lambda store: list(store.scan()),
    "delete": lambda store: store.delete("a.txt"),
    "copy": lambda store: store.duplicate("a.txt", "0/0/1/4", filename="", size=1, sha256=""),
    "probe": lambda store: list(store.probe()),
    "stale uploads": lambda store: list(store.remove_stale_uploads(store.current_time())),
    "url": lambda store: store.url("a.txt", expire=10**9),
}


def test_failed_requests_show_no_secret(rf: RequestFactory, subtests: pytest.Subtests) -> None:
    """Neither in the package's frames nor in those of boto3, botocore and urllib3."""
    store = S3DeliveryStore(**OPTIONS)
    for operation, act in REQUESTS.items():
        with subtests.test(operation):
            assert shown_of(lambda act=act: act(store), rf) == []  # type: ignore[misc]


WRONG: list[dict[str, Any]] = [
    {"region_name": "no region"},
    {"endpoint_url": "nonsense"},
    {"endpoint_url": f"http://user:{PASSWORD}@127.0.0.1"},
    {"file_overwrite": True},
    {"secretkey": SECRET},
    {"location": "/.."},
    {"security_token": 7},
    {"object_parameters": {"SSECustomerKey": CUSTOMER_KEY, "SSECustomerAlgorithm": 12}},
    {"transfer_config": TransferConfig(max_bandwidth=5)},
    {"proxies": {"http": f"http://user:{PASSWORD}@127.0.0.1:1"}},
    {"custom_domain": "x", "cloudfront_key_id": "x", "cloudfront_key": PASSWORD},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: next(iter(wrong)))
def test_wrong_options_show_no_secret(wrong: dict[str, Any], rf: RequestFactory) -> None:
    """Also where Django makes the store, whose frames have all options."""
    backend = f"{S3DeliveryStore.__module__}.{S3DeliveryStore.__qualname__}"
    deliveries = {"BACKEND": backend, "OPTIONS": {**OPTIONS, **wrong}}
    storages = {
        "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
        "deliveries": deliveries,
    }
    with override_settings(STORAGES=storages):
        assert shown_of(lambda: store_for(FileMeta).save("a.txt", ContentFile(b"1")), rf) == []


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_failed_store_shows_no_secret(number: int, rf: RequestFactory) -> None:
    """A site may also make a store itself."""
    # No variable has the options, because the frames of the test are shown, too.
    assert shown_of(lambda: S3DeliveryStore(**{**OPTIONS, **WRONG[number]}).size("a"), rf) == []


@pytest.mark.parametrize("region", ["no region", 7])
def test_client_that_cannot_be_made_shows_no_secret(region: Any, rf: RequestFactory) -> None:
    """It is made at the first use of the store, which may be before the first request."""
    store = S3DeliveryStore(**{**OPTIONS, "region_name": region})
    assert shown_of(lambda: store.remote.client, rf) == []
    assert shown_of(lambda: store.remote.accepts("get_object"), rf) == []


def test_failed_redirect_does_not_show_its_url(
    rf: RequestFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL is signed, so it is valid for everybody who reads it."""

    def fail(*args: object) -> None:
        raise RuntimeError("planned")

    monkeypatch.setattr(responses, "protect", fail)
    file = File(S3DeliveryStore(**OPTIONS), "a.txt", "a.txt", 1, size_verified=True)
    assert shown_of(lambda: responses._redirect(file), rf) == []
