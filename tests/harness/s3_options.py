"""A table of the options of S3DeliveryStore and of their visible effects."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.signers import CloudFrontSigner
from cryptography.exceptions import InvalidSignature
from django.core.files.base import ContentFile

from devilry_storage.exceptions import StoreDenied, StoreUnavailable
from devilry_storage.storages import S3DeliveryStore

from . import cloudfront
from .http_faults import Answer, Delay
from .http_proxy import HttpProxy
from .s3servers import Server
from .s3wire import Request

MIB = 1 << 20

#: The settings that are the defaults of each option.
SETTINGS: dict[str, tuple[str, ...]] = {
    "access_key": ("AWS_S3_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
    "secret_key": ("AWS_S3_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"),
    "security_token": ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
    "session_profile": ("AWS_S3_SESSION_PROFILE",),
    "bucket_name": ("AWS_STORAGE_BUCKET_NAME",),
    "location": ("AWS_LOCATION",),
    "region_name": ("AWS_S3_REGION_NAME",),
    "endpoint_url": ("AWS_S3_ENDPOINT_URL",),
    "addressing_style": ("AWS_S3_ADDRESSING_STYLE",),
    "signature_version": ("AWS_S3_SIGNATURE_VERSION",),
    "use_ssl": ("AWS_S3_USE_SSL",),
    "verify": ("AWS_S3_VERIFY",),
    "proxies": ("AWS_S3_PROXIES",),
    "client_config": ("AWS_S3_CLIENT_CONFIG",),
    "transfer_config": ("AWS_S3_TRANSFER_CONFIG",),
    "use_threads": ("AWS_S3_USE_THREADS",),
    "max_memory_size": ("AWS_S3_MAX_MEMORY_SIZE",),
    "object_parameters": ("AWS_S3_OBJECT_PARAMETERS",),
    "default_acl": ("AWS_DEFAULT_ACL",),
    "querystring_expire": ("AWS_QUERYSTRING_EXPIRE",),
    "custom_domain": ("AWS_S3_CUSTOM_DOMAIN",),
    "url_protocol": ("AWS_S3_URL_PROTOCOL",),
    "cloudfront_key_id": ("AWS_CLOUDFRONT_KEY_ID",),
    "cloudfront_key": ("AWS_CLOUDFRONT_KEY",),
    "cloudfront_signer": (),
    "file_overwrite": ("AWS_S3_FILE_OVERWRITE",),
    "gzip": ("AWS_IS_GZIPPED",),
    "gzip_content_types": ("GZIP_CONTENT_TYPES",),
    "file_name_charset": ("AWS_S3_FILE_NAME_CHARSET",),
    "querystring_auth": ("AWS_QUERYSTRING_AUTH",),
}


@dataclass(frozen=True)
class World:
    """The servers to configure a store for: two behind proxies, and one with TLS.

    moto accepts every access key. SeaweedFS authenticates its users, and keeps connections open.
    """

    proxy: HttpProxy
    moto: Server
    bucket: str
    strict_proxy: HttpProxy
    seaweedfs: Server
    strict_bucket: str
    tls_url: str
    certificate: str

    @property
    def options(self) -> dict[str, Any]:
        """Return options of a store on moto."""
        return {**self.moto.options(self.bucket), "endpoint_url": self.proxy.endpoint_url}

    @property
    def strict_options(self) -> dict[str, Any]:
        """Return options of a store on SeaweedFS."""
        options = self.seaweedfs.options(self.strict_bucket)
        return {**options, "endpoint_url": self.strict_proxy.endpoint_url}


Look = Callable[[World, S3DeliveryStore], Any]


@dataclass(frozen=True)
class Line:
    """An option with an effect: ``look()`` returns ``seen`` exactly if the option is ``given``.

    ``beside`` has other options of the store, and a different value of the option itself if it is
    required. None removes an option of the world.
    """

    given: Any
    look: Look
    seen: Any
    beside: dict[str, Any] = field(default_factory=dict)

    def others(self, world: World) -> dict[str, Any]:
        """Return the options of a store to compare with."""
        merged = {**world.options, **self.beside}
        return {option: value for option, value in merged.items() if value is not None}


# -- Looks --


def asked(world: World, store: S3DeliveryStore) -> Request:
    """Return a request of the store."""
    world.proxy.forget()
    store.exists("a.txt")
    (request,) = world.proxy.requests
    return request


def header(name: str, pattern: str = "(.*)") -> Look:
    def look(world: World, store: S3DeliveryStore) -> str | None:
        found = re.search(pattern, asked(world, store).headers.get(name, ""))
        return found and found[1]

    return look


def path(world: World, store: S3DeliveryStore) -> str:
    return asked(world, store).path


def operations(world: World, store: S3DeliveryStore) -> list[str]:
    world.proxy.forget()
    store.exists("a.txt")
    return world.proxy.operations()


def target_at_the_proxy(world: World, store: S3DeliveryStore) -> str | None:
    world.proxy.forget()
    world.proxy.fault("HeadObject", Answer(404, "NoSuchKey"))
    return asked_for(world) if is_reached(world, store) else None


def asked_for(world: World) -> str:
    return world.proxy.requests[0].target


def is_reached(world: World, store: S3DeliveryStore) -> bool:
    try:
        return not store.exists("a.txt")
    except StoreUnavailable:
        return False


def is_admitted(world: World, store: S3DeliveryStore) -> bool:
    try:
        return not store.exists("a.txt")
    except StoreDenied:
        return False


def host(world: World, store: S3DeliveryStore) -> str:
    return urlsplit(store.url("a.txt")).netloc


def scheme(world: World, store: S3DeliveryStore) -> str:
    return urlsplit(store.url("a.txt")).scheme


def in_query(parameter: str) -> Look:
    return lambda world, store: parse_qs(urlsplit(store.url("a.txt")).query).get(parameter)


def is_signed_by_the_site(world: World, store: S3DeliveryStore) -> bool:
    try:
        return bool(cloudfront.verify(store.url("a.txt")))
    except InvalidSignature:
        return False


def written(*names: str) -> Look:
    """Return a look at headers of the request that writes a small file."""

    def look(world: World, store: S3DeliveryStore) -> list[str | None]:
        world.proxy.forget()
        name = store.save("small.txt", ContentFile(b"data"))
        (request,) = (seen for seen in world.proxy.requests if seen.path.endswith(name))
        return [request.headers.get(name) for name in names]

    return look


def parts(size: int) -> Look:
    """Return a look at the lengths of the parts of a large file, and the number in flight."""

    def look(world: World, store: S3DeliveryStore) -> tuple[list[int], int]:
        store.save("small.txt", ContentFile(b"data"))
        world.strict_proxy.forget()
        world.strict_proxy.fault("UploadPart", Delay(0.5), times=3)
        name = store.save("large.bin", ContentFile(bytes(size)))
        sent = [
            request
            for request in world.strict_proxy.requests
            if request.path.endswith(name) and request.operation == "UploadPart"
        ]
        lengths = [int(part.headers["content-length"]) for part in sent]
        return sorted(lengths, reverse=True), len({part.connection for part in sent})

    return look


def is_on_disk(world: World, store: S3DeliveryStore) -> bool:
    """Return whether a writer spools to disk, by making the temporary folder unavailable."""
    try:
        nowhere = mock.patch.object(tempfile, "tempdir", "/nowhere")
        with nowhere, store.open("written.txt", "wb") as writer:
            writer.write(bytes(2000))
    except FileNotFoundError:
        return True
    return False


# -- The table --


def lines(world: World) -> dict[str, Line]:
    """Return a line for each option with an effect."""
    distributed = {
        "custom_domain": "files.example.com",
        "cloudfront_key_id": cloudfront.KEY_ID,
        "cloudfront_key": cloudfront.pem(),
    }
    strict = world.strict_options
    credential = r"Credential=([^/]*)/"
    return {
        "access_key": Line("ANOTHERKEY", header("authorization", credential), "ANOTHERKEY"),
        "secret_key": Line(
            strict["secret_key"], is_admitted, True, {**strict, "secret_key": "wrong"}
        ),
        "security_token": Line("a-token", header("x-amz-security-token"), "a-token"),
        "session_profile": Line(
            "deliveries",
            header("authorization", credential),
            "KEYOFTHEPROFILE",
            {"access_key": None, "secret_key": None},
        ),
        "bucket_name": Line("another", path, "/another/a.txt"),
        "location": Line("below/here", path, f"/{world.bucket}/below/here/a.txt"),
        "region_name": Line(
            "eu-north-1", header("authorization", r"Credential=\w+/\d+/([^/]*)/"), "eu-north-1"
        ),
        "endpoint_url": Line(
            world.proxy.endpoint_url,
            operations,
            ["HeadObject"],
            {"endpoint_url": world.moto.endpoint_url},
        ),
        "addressing_style": Line(
            "virtual",
            host,
            f"{world.bucket}.s3.example.com",
            {"endpoint_url": "http://s3.example.com"},
        ),
        "signature_version": Line("s3", header("authorization", "(.*?) "), "AWS"),
        "use_ssl": Line(False, scheme, "http", {"endpoint_url": None}),
        "verify": Line(world.certificate, is_reached, True, {"endpoint_url": world.tls_url}),
        "proxies": Line(
            {"http": world.proxy.endpoint_url},
            target_at_the_proxy,
            f"http://127.0.0.1:1/{world.bucket}/a.txt",
            {"endpoint_url": "http://127.0.0.1:1", "attempts": 1},
        ),
        "client_config": Line(
            Config(user_agent_extra="of-the-site"),
            header("user-agent", "(of-the-site)"),
            "of-the-site",
        ),
        "transfer_config": Line(
            TransferConfig(
                multipart_threshold=11 * MIB, multipart_chunksize=6 * MIB, max_concurrency=2
            ),
            parts(13 * MIB),
            ([6 * MIB, 6 * MIB, MIB], 2),
            strict,
        ),
        "use_threads": Line(False, parts(17 * MIB), ([8 * MIB, 8 * MIB, MIB], 1), strict),
        "max_memory_size": Line(1000, is_on_disk, True),
        "object_parameters": Line(
            {"StorageClass": "STANDARD_IA", "CacheControl": "no-store"},
            written("x-amz-storage-class", "cache-control"),
            ["STANDARD_IA", "no-store"],
        ),
        "default_acl": Line("private", written("x-amz-acl"), ["private"]),
        "querystring_expire": Line(60, in_query("X-Amz-Expires"), ["60"]),
        "custom_domain": Line(
            "other.example.com", host, "other.example.com", {**distributed, "custom_domain": None}
        ),
        "url_protocol": Line("http:", scheme, "http", distributed),
        "cloudfront_key_id": Line(
            "ANOTHERID", in_query("Key-Pair-Id"), ["ANOTHERID"], distributed
        ),
        "cloudfront_key": Line(
            cloudfront.pem(),
            is_signed_by_the_site,
            True,
            {**distributed, "cloudfront_key": cloudfront.pem("another")},
        ),
        "cloudfront_signer": Line(
            CloudFrontSigner("SIGNERSID", lambda message: b"signed"),
            in_query("Key-Pair-Id"),
            ["SIGNERSID"],
            distributed,
        ),
    }
