"""No secret gets out of the store on S3: not into logs, errors, reprs, migrations or commands.

Secret are the secret key, the session token, a key of SSE-C, a password, and a URL's signature.
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
    """What every logger says, at DEBUG; nothing that is shown may have a secret in it."""
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
        "server_side_copy": server.name == "seaweedfs",
        "transfer_config": TransferConfig(multipart_threshold=PART, multipart_chunksize=PART),
        "attempts": 2,
    }


def show(watcher: s3leaks.Watcher, exception: BaseException) -> None:
    """Let the watcher look at all that a log or a page of errors shows of an exception."""
    shown = traceback.TracebackException.from_exception(exception, capture_locals=False)
    watcher.look("".join(shown.format(chain=True)), type(exception).__name__)
    seen: BaseException | None = exception
    while seen is not None:
        watcher.look(f"{seen!r} {seen} {seen.args}", type(seen).__name__)
        seen = seen.__cause__ or seen.__context__


def use(store: S3DeliveryStore) -> str:
    """Do all that is done with a store, and return a URL."""
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
    """Return all that a log or a debugger would show of a store and its parts."""
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
    return " ".join([*(f"{each!r} {each!s}" for each in shown), configuration])


@pytest.mark.parametrize(
    "more",
    [{}, {"security_token": TOKEN}, {"object_parameters": SSE_C}, {"secret_key": WRONG}],
    ids=["plain", "token", "sse-c", "wrong"],
)
def test_no_use_of_a_store_logs_or_shows_a_secret(
    options: dict[str, Any], watcher: s3leaks.Watcher, more: dict[str, Any]
) -> None:
    """Whatever the credentials: SeaweedFS refuses wrong ones, moto takes any."""
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


def test_a_signature_is_not_logged_when_a_url_is_made(options: dict[str, Any]) -> None:
    """The rest of the URL stands in the log: with it anybody would read the file."""
    store = S3DeliveryStore(**options)
    store.url("a.txt")
    # Signed in the same second, it is the same: look for it in what was said about the next one.
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("botocore.auth")
    logger.addHandler(handler)
    try:
        url = store.url("a.txt")
    finally:
        logger.removeHandler(handler)
    (signature,) = parse_qs(urlsplit(url).query)[s3leaks.SIGNATURE]
    assert any("CanonicalRequest" in each for each in said)
    assert any(each == "Signature:\n***" for each in said)
    assert not any(signature in each for each in said)


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
def test_no_error_has_a_secret_in_it(
    options: dict[str, Any], proxy: HttpProxy, watcher: s3leaks.Watcher, fault: str
) -> None:
    """Text, repr, arguments, and those of what it was caused by."""
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


def test_a_dead_and_a_silent_server_show_nothing(
    options: dict[str, Any], proxy: HttpProxy, watcher: s3leaks.Watcher
) -> None:
    """With the password of a proxy among the options."""
    dead = {"endpoint_url": "http://127.0.0.1:9", "attempts": 1}
    through = {"http": f"http://user:{PASSWORD}@127.0.0.1:9"}
    proxy.fault("", BlackHole(), 9)
    quick = {"attempts": 1, "client_config": Config(read_timeout=0.2)}
    for more in (dead, {**dead, "proxies": through}, quick):
        store = S3DeliveryStore(**{**options, **more, "object_parameters": SSE_C})
        with pytest.raises(StoreUnavailable) as caught:
            store.open("a.txt")
        show(watcher, caught.value)


def test_a_misspelt_option_is_named_without_its_value(
    options: dict[str, Any], watcher: s3leaks.Watcher
) -> None:
    """It may be the secret key."""
    with pytest.raises(ImproperlyConfigured, match="has no option 'secret_acess_key'") as caught:
        S3DeliveryStore(**options, secret_acess_key=WRONG)
    show(watcher, caught.value)


def test_an_endpoint_with_a_password_is_refused_without_it(
    options: dict[str, Any], watcher: s3leaks.Watcher
) -> None:
    """S3 has no use for it, and botocore would show it in every error."""
    endpoint = {"endpoint_url": f"http://user:{PASSWORD}@127.0.0.1:9"}
    with pytest.raises(ImproperlyConfigured, match="access_key and secret_key") as caught:
        S3DeliveryStore(**{**options, **endpoint})
    show(watcher, caught.value)


def test_no_migration_has_a_secret_in_it(
    options: dict[str, Any], watcher: s3leaks.Watcher
) -> None:
    """Of a model whose field is given a store with all of them."""
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


def told(command: str, **options: Any) -> str:
    out = StringIO()
    with suppress(CommandError, SystemCheckError):
        call_command(command, stdout=out, stderr=out, no_color=True, **options)
    return out.getvalue()


@pytest.mark.django_db  # Django 4.2's check asks the database
@pytest.mark.parametrize(
    "more",
    [{}, {"secret_key": WRONG}, {"security_token": TOKEN, "object_parameters": SSE_C}],
    ids=["plain", "wrong", "all"],
)
def test_no_command_tells_a_secret(
    options: dict[str, Any], watcher: s3leaks.Watcher, more: dict[str, Any]
) -> None:
    """deliverystore_info, with and without --probe, and check --deploy, which asks as well."""
    backend = "devilry_storage.storages.S3DeliveryStore"
    default = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    deliveries = {"BACKEND": backend, "OPTIONS": {**options, **more}}
    with override_settings(STORAGES={"default": default, "deliveries": deliveries}):
        texts = [
            told("deliverystore_info"),
            told("deliverystore_info", probe=True),
            told("check", deploy=True),
        ]
    assert "secret_key = set" in texts[0]
    assert "honours If-None-Match" in texts[1] or "cannot be checked" in texts[1]
    for text in texts:
        watcher.look(text, "command")


# -- What stands behind it --


@pytest.mark.parametrize(
    ("said", "shown"),
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
def test_only_the_values_of_secrets_are_taken_out_of_a_record(
    said: str, shown: str | None
) -> None:
    """As a header, in a query, as parameters, in answers of STS; what is left helps to debug."""
    record = logging.LogRecord("botocore.auth", logging.DEBUG, "", 1, "%s", (said,), None)
    assert redaction.redacted(record)
    assert record.getMessage() == (said if shown is None else shown)


@pytest.mark.parametrize("name", ["auth", "endpoint", "parsers", "tokens"])
def test_each_logger_that_shows_secrets_has_the_filter(
    watcher: s3leaks.Watcher, name: str
) -> None:
    """Each one of its own: a record does not pass the filters of the loggers above."""
    assert S3DeliveryStore(bucket_name="deliveries").remote.client
    before = watcher.records
    logging.getLogger(f"botocore.{name}").debug("{'SessionToken': '%s'}", TOKEN)
    assert watcher.records > before


def test_credentials_of_a_role_are_not_logged(watcher: s3leaks.Watcher) -> None:
    """Botocore logs the answer of STS, which has the secret key and the token in it."""
    assert S3DeliveryStore(bucket_name="deliveries").remote.client
    service = get_session().get_service_model("sts")
    given = f"<SecretAccessKey>{WRONG}</SecretAccessKey><SessionToken>{TOKEN}</SessionToken>"
    body = f"<R><AssumeRoleResult><Credentials>{given}</Credentials></AssumeRoleResult></R>"
    parsed = create_parser("query").parse(
        {"body": body.encode(), "headers": {}, "status_code": 200},
        service.operation_model("AssumeRole").output_shape,
    )
    assert parsed["Credentials"]["SessionToken"] == TOKEN
    assert watcher.records


def test_without_the_filter_botocore_logs_secrets(options: dict[str, Any]) -> None:
    """So the filter is needed, and the watcher sees what it is there to see."""
    store = S3DeliveryStore(**options, security_token=TOKEN, object_parameters=SSE_C)
    assert store.remote.client
    loggers = [logging.getLogger(name) for name in redaction.LOGGERS]
    for logger in loggers:
        logger.removeFilter(redaction.redacted)
    try:
        with s3leaks.watched(WORDS) as watcher, suppress(OSError):
            store.size("a.txt")
    finally:
        for logger in loggers:
            logger.addFilter(redaction.redacted)
    assert {found.split(":")[0] for found in watcher.found} >= {
        "botocore.auth.add_auth",
        "botocore.endpoint.make_request",
    }


def test_a_test_that_logs_a_secret_key_or_a_signature_fails(secrets_in_logs: list[str]) -> None:
    """At DEBUG, in whatever our libraries say, and in the traceback that goes with it."""
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
