"""Logs, errors, reprs, migrations and commands of the store on S3 contain no secret.

Secrets are the secret key, the session token, SSE-C keys, passwords, and the signatures of URLs.
"""

from __future__ import annotations

import logging
import traceback
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import StringIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.parsers import create_parser
from botocore.session import get_session
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.db import migrations, models
from django.db.migrations.writer import MigrationWriter
from django.test.utils import override_settings

from devilry_storage.exceptions import StoreUnavailable
from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3 import redaction
from devilry_storage.testing import PlainFileMeta

from ...harness import s3leaks, s3servers
from ...harness.http_faults import Answer, BlackHole, CutReply
from ...harness.http_proxy import HttpProxy

pytestmark = pytest.mark.servers

PART = 5 << 20

TOKEN = "session-token-of-the-site-0123456789"
CUSTOMER_KEY = "customer-key-of-the-site-32-byte"
WRONG = "wrong-secret-key-of-the-site"
PASSWORD = "password-of-the-site"
WORDS = (TOKEN, CUSTOMER_KEY, b64encode(CUSTOMER_KEY.encode()).decode(), WRONG, PASSWORD)

SSE_C = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": CUSTOMER_KEY}


@pytest.fixture
def watcher() -> Iterator[s3leaks.Watcher]:
    """Collect the records of all loggers at DEBUG, and check that they contain no secret."""
    root = logging.getLogger()
    with s3leaks.watched(WORDS, dull="") as watcher:
        level = root.level
        root.addHandler(watcher)
        root.setLevel(logging.DEBUG)
        yield watcher
        root.removeHandler(watcher)
        root.setLevel(level)
    assert watcher.found == []


@pytest.fixture(params=["seaweedfs", "moto"])
def server(request: pytest.FixtureRequest) -> s3servers.Server:
    return s3servers.need(request.param)


@pytest.fixture
def proxy(server: s3servers.Server) -> Iterator[HttpProxy]:
    with HttpProxy(server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def options(server: s3servers.Server, proxy: HttpProxy) -> dict[str, Any]:
    return {
        **server.options(server.bucket()),
        "endpoint_url": proxy.endpoint_url,
        "transfer_config": TransferConfig(multipart_threshold=PART, multipart_chunksize=PART),
        "attempts": 2,
    }


def show(watcher: s3leaks.Watcher, exception: BaseException) -> None:
    """Pass the text of an exception, as in logs and on error pages, to the watcher."""
    shown = traceback.TracebackException.from_exception(exception, capture_locals=False)
    watcher.look("".join(shown.format(chain=True)), type(exception).__name__)
    seen: BaseException | None = exception
    while seen is not None:
        watcher.look(f"{seen!r} {seen} {seen.args}", type(seen).__name__)
        seen = seen.__cause__ or seen.__context__


def use(store: S3DeliveryStore) -> str:
    """Use all operations of a store, and return a URL."""
    name = store.save("a.txt", ContentFile(b"data"))
    store.save(name, ContentFile(b"other"))
    large = store.save("large.bin", ContentFile(bytes(PART + 1)))
    with store.open(large) as file:
        file.seek(PART)
        file.read()
    b"".join(store.stream(large))
    store.exists(name)
    store.get_modified_time(name)
    source, target = PlainFileMeta(store, 1005, 17), PlainFileMeta(store, 1006, 18)
    with store.write_open(source) as writer:
        writer.write(b"data")
    store.copy(source, target)
    list(store.scan())
    list(store.probe())
    url = store.url(name, filename="essay.txt")
    store.delete(large)
    store.delete_many([name])
    return url


def reprs(store: S3DeliveryStore) -> str:
    """Return the text that a log or a debugger would show of a store and its parts."""
    publication = store._publication("a.txt", "a.txt", "")
    shown = [
        store,
        store.remote,
        publication,
        store.transfer,
        store.location_text(),
        store.unavailable_reason(),
    ]
    configuration = f"{store.configuration()!r} {store.deconstruct()!r}"
    return " ".join([*(f"{item!r} {item!s}" for item in shown), configuration])


@pytest.mark.parametrize(
    "more",
    [{}, {"security_token": TOKEN}, {"object_parameters": SSE_C}, {"secret_key": WRONG}],
    ids=["plain", "token", "sse-c", "wrong"],
)
def test_using_a_store_exposes_no_secret(
    options: dict[str, Any], watcher: s3leaks.Watcher, more: dict[str, Any]
) -> None:
    """This applies to valid and wrong credentials. moto accepts both."""
    store = S3DeliveryStore(**{**options, "location": uuid.uuid4().hex, **more})
    url = ""
    try:
        url = use(store)
    except (OSError, ValueError) as exception:
        show(watcher, exception)
    watcher.look(reprs(store), "repr")
    assert watcher.records > 30
    url = url or store.url("a.txt")
    (signature,) = parse_qs(urlsplit(url).query)[s3leaks.SIGNATURE]
    assert len(signature) == 64


def test_signature_of_a_url_is_not_logged(options: dict[str, Any]) -> None:
    """The log contains the rest of the URL, so everybody could read the file."""
    store = S3DeliveryStore(**options)
    store.url("a.txt")
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("botocore.auth")
    logger.addHandler(handler)
    try:
        url = store.url("a.txt")
    finally:
        logger.removeHandler(handler)
    (signature,) = parse_qs(urlsplit(url).query)[s3leaks.SIGNATURE]
    assert any("CanonicalRequest" in message for message in messages)
    assert any(message == "Signature:\n***" for message in messages)
    assert not any(signature in message for message in messages)


FAULTS: dict[str, Callable[[HttpProxy], None]] = {
    "refused": lambda proxy: proxy.fault("", Answer(403, "AccessDenied"), 99),
    "expired": lambda proxy: proxy.fault("", Answer(400, "ExpiredToken"), 99),
    "kms": lambda proxy: proxy.fault("", Answer(403, "AccessDenied", "kms:Decrypt"), 99),
    "no bucket": lambda proxy: proxy.fault("", Answer(404, "NoSuchBucket"), 99),
    "archived": lambda proxy: proxy.fault("", Answer(403, "InvalidObjectState"), 99),
    "busy": lambda proxy: proxy.fault("", Answer(503, "SlowDown"), 99),
    "replaced": lambda proxy: proxy.fault("", Answer(412, "PreconditionFailed"), 99),
    "cut": lambda proxy: proxy.fault("", CutReply(1), 99),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_errors_contain_no_secret(
    options: dict[str, Any], proxy: HttpProxy, watcher: s3leaks.Watcher, fault: str
) -> None:
    """This applies to text, repr and arguments of the exceptions and their causes."""
    store = S3DeliveryStore(**{**options, "security_token": TOKEN, "object_parameters": SSE_C})
    FAULTS[fault](proxy)
    acts: list[Callable[[], Any]] = [
        lambda: store.save("a.txt", ContentFile(b"data")),
        lambda: store.save("large.bin", ContentFile(bytes(PART + 1))),
        lambda: store.open("a.txt").read(),
        lambda: store.size("a.txt"),
        lambda: list(store.scan()),
        lambda: store.delete("a.txt"),
    ]
    failed = 0
    for act in acts:
        try:
            act()
        except (OSError, ValueError) as exception:
            failed += 1
            show(watcher, exception)
    for failure in store.delete_many(["a.txt", "../b.txt"]).values():
        failed += 1
        show(watcher, failure)
    assert failed >= 3


def test_errors_of_dead_and_silent_servers_contain_no_secret(
    options: dict[str, Any], proxy: HttpProxy, watcher: s3leaks.Watcher
) -> None:
    """The options include the password of a proxy."""
    dead = {"endpoint_url": "http://127.0.0.1:9", "attempts": 1}
    through = {"http": f"http://user:{PASSWORD}@127.0.0.1:9"}
    proxy.fault("", BlackHole(), 9)
    quick = {"attempts": 1, "client_config": Config(read_timeout=0.2)}
    for more in (dead, {**dead, "proxies": through}, quick):
        store = S3DeliveryStore(**{**options, **more, "object_parameters": SSE_C})
        with pytest.raises(StoreUnavailable) as caught:
            store.open("a.txt")
        show(watcher, caught.value)


def test_misspelt_option_is_reported_without_its_value(
    options: dict[str, Any], watcher: s3leaks.Watcher
) -> None:
    """The value may be the secret key."""
    with pytest.raises(ImproperlyConfigured, match="has no option 'secret_acess_key'") as caught:
        S3DeliveryStore(**options, secret_acess_key=WRONG)
    show(watcher, caught.value)


@pytest.mark.parametrize("option", ["endpoint_url", "public_endpoint_url"])
@pytest.mark.parametrize("scheme", ["http://", "http:/", ""])
def test_endpoint_with_a_password_is_rejected_without_showing_it(
    scheme: str, option: str, options: dict[str, Any], watcher: s3leaks.Watcher
) -> None:
    """S3 does not use the password, and botocore would show it in every error."""
    endpoint = {option: f"{scheme}user:{PASSWORD}@127.0.0.1:9"}
    with pytest.raises(ImproperlyConfigured, match="access_key and secret_key") as caught:
        S3DeliveryStore(**{**options, **endpoint})
    show(watcher, caught.value)


def test_migrations_contain_no_secret(options: dict[str, Any], watcher: s3leaks.Watcher) -> None:
    """The field of the model has a store with all secrets."""
    store = S3DeliveryStore(
        **{**options, "transfer_config": None},
        security_token=TOKEN,
        object_parameters=SSE_C,
        proxies={"http": f"http://user:{PASSWORD}@127.0.0.1:9"},
        location="below",
    )
    field = models.FileField(storage=store)
    operation = migrations.CreateModel(name="Paper", fields=[("file", field)])
    migration = type("Migration", (migrations.Migration,), {"operations": [operation]})
    written = MigrationWriter(migration("0001_initial", "papers")).as_string()
    assert "storage=devilry_storage.storages.S3DeliveryStore(" in written
    assert "location='below'" in written
    watcher.look(written, "migration")


def output_of(command: str, **options: Any) -> str:
    output = StringIO()
    with suppress(CommandError, SystemCheckError):
        call_command(command, stdout=output, stderr=output, no_color=True, **options)
    return output.getvalue()


@pytest.mark.django_db  # the check command of Django 4.2 queries the database
@pytest.mark.parametrize(
    "more",
    [{}, {"secret_key": WRONG}, {"security_token": TOKEN, "object_parameters": SSE_C}],
    ids=["plain", "wrong", "all"],
)
def test_commands_show_no_secret(
    options: dict[str, Any], watcher: s3leaks.Watcher, more: dict[str, Any]
) -> None:
    """This applies to deliverystore_info, with and without --probe, and to check --deploy."""
    backend = "devilry_storage.storages.S3DeliveryStore"
    default = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    deliveries = {"BACKEND": backend, "OPTIONS": {**options, **more}}
    with override_settings(STORAGES={"default": default, "deliveries": deliveries}):
        texts = [
            output_of("deliverystore_info"),
            output_of("deliverystore_info", probe=True),
            output_of("check", deploy=True),
        ]
    assert "secret_key = set" in texts[0]
    assert "honours If-None-Match" in texts[1] or "cannot be checked" in texts[1]
    for text in texts:
        watcher.look(text, "command")


# -- The filter of the log --


@pytest.mark.parametrize(
    ("message", "redacted"),
    [
        ("x-amz-security-token:abc/+=\nhost:s3", "x-amz-security-token:***\nhost:s3"),
        (
            "{'X-Amz-Security-Token': b'abc', 'A': b'1'}",
            "{'X-Amz-Security-Token': b'***', 'A': b'1'}",
        ),
        ("X-Amz-Security-Token=abc%2F&X-Amz-Date=1", "X-Amz-Security-Token=***&X-Amz-Date=1"),
        (
            "x-amz-server-side-encryption-customer-key:abc=",
            "x-amz-server-side-encryption-customer-key:***",
        ),
        ("x-amz-server-side-encryption-customer-key-md5:abc", None),
        (
            "{'SSECustomerKey': 'abc=', 'SSECustomerKeyMD5': 'd'}",
            "{'SSECustomerKey': '***', 'SSECustomerKeyMD5': 'd'}",
        ),
        ("Signature:\nabc", "Signature:\n***"),
        ("Signature:\nbac", "Signature:\n***"),
        ("Credential=key/s3, Signature=abc'", "Credential=key/s3, Signature=***'"),
        ("<SecretAccessKey>abc</SecretAccessKey>", "<SecretAccessKey>***</SecretAccessKey>"),
        ('{"SessionToken" : "abc"}', '{"SessionToken" : "***"}'),
        (
            "{'WebIdentityToken': 'abc', 'RoleArn': 'r'}",
            "{'WebIdentityToken': '***', 'RoleArn': 'r'}",
        ),
        ("WebIdentityToken=abc.def&RoleArn=r", "WebIdentityToken=***&RoleArn=r"),
        ("SAMLAssertion=abc%3D&RoleArn=r", "SAMLAssertion=***&RoleArn=r"),
        ("{'x-amz-sso_bearer_token': 'abc'}", "{'x-amz-sso_bearer_token': '***'}"),
        (
            'b\'{"secretAccessKey":"abc","sessionToken":"def","expiration":1}\'',
            'b\'{"secretAccessKey":"***","sessionToken":"***","expiration":1}\'',
        ),
        (
            '{"accessToken": "abc", "refreshToken": "def", "clientSecret": "ghi"}',
            '{"accessToken": "***", "refreshToken": "***", "clientSecret": "***"}',
        ),
        ("signature_version: s3v4", None),
        ("Response headers: {'ETag': '1'}", None),
    ],
)
def test_redact_replaces_only_the_values_of_secrets(message: str, redacted: str | None) -> None:
    """Headers, queries, parameters and responses of STS are redacted; the rest is kept."""
    record = logging.LogRecord("botocore.auth", logging.DEBUG, "", 1, "%s", (message,), None)
    assert redaction.redact(record)
    assert record.getMessage() == (message if redacted is None else redacted)


@pytest.mark.parametrize("name", ["auth", "endpoint", "parsers", "tokens"])
def test_loggers_that_log_secrets_have_the_filter(watcher: s3leaks.Watcher, name: str) -> None:
    """Each logger needs the filter, because filters of its parents do not apply."""
    assert S3DeliveryStore(bucket_name="deliveries").remote.client
    before = watcher.records
    logging.getLogger(f"botocore.{name}").debug("{'SessionToken': '%s'}", TOKEN)
    assert watcher.records > before


def test_credentials_of_a_role_are_not_logged(watcher: s3leaks.Watcher) -> None:
    """The response of STS, which botocore logs, contains the secret key and the token."""
    assert S3DeliveryStore(bucket_name="deliveries").remote.client
    service = get_session().get_service_model("sts")
    keys = f"<SecretAccessKey>{WRONG}</SecretAccessKey><SessionToken>{TOKEN}</SessionToken>"
    body = f"<R><AssumeRoleResult><Credentials>{keys}</Credentials></AssumeRoleResult></R>"
    parsed = create_parser("query").parse(
        {"body": body.encode(), "headers": {}, "status_code": 200},
        service.operation_model("AssumeRole").output_shape,
    )
    assert parsed["Credentials"]["SessionToken"] == TOKEN
    assert watcher.records


def test_botocore_logs_secrets_without_the_filter(options: dict[str, Any]) -> None:
    """The filter is needed, and the watcher detects secrets."""
    store = S3DeliveryStore(**options, security_token=TOKEN, object_parameters=SSE_C)
    assert store.remote.client
    loggers = [logging.getLogger(name) for name in redaction.LOGGERS]
    for logger in loggers:
        logger.removeFilter(redaction.redact)
    try:
        with s3leaks.watched(WORDS) as watcher, suppress(OSError):
            store.size("a.txt")
    finally:
        for logger in loggers:
            logger.addFilter(redaction.redact)
    assert {found.split(":")[0] for found in watcher.found} >= {
        "botocore.auth.add_auth",
        "botocore.endpoint.make_request",
    }


def test_logging_a_secret_fails_the_test(secrets_in_logs: list[str]) -> None:
    """Messages of all libraries at DEBUG are checked, and their tracebacks."""
    server = s3servers.need("moto")
    logging.getLogger("boto3.resources").debug("key %s", server.secret_key)
    logging.getLogger("devilry_storage").debug("http://x/?X-Amz-Signature=1")
    try:
        raise ValueError(server.secret_key)
    except ValueError:
        logging.getLogger("urllib3.connectionpool").debug("failed", exc_info=True)
    logging.getLogger("botocore.endpoint").debug("nothing")
    assert len(secrets_in_logs) == 3
    assert server.secret_key not in repr(secrets_in_logs)
    secrets_in_logs.clear()
