"""The options of django-storages' S3Storage: which we honour, and which break a promise.

The table names every option of django-storages 1.14; a test compares it with the installed one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from django.core.exceptions import ImproperlyConfigured

from ...exceptions import InvalidName
from ...names import validate_storage_name
from .writing import Transfer

#: Honoured; what is True may be shown to whoever asks for the store's configuration.
HONOURED = {
    "access_key": False,
    "secret_key": False,
    "security_token": False,
    "session_profile": True,
    "bucket_name": True,
    "location": True,
    "region_name": True,
    "endpoint_url": True,
    "addressing_style": True,
    "signature_version": True,
    "use_ssl": True,
    "verify": True,
    "proxies": False,
    "client_config": False,
    "transfer_config": False,
    "use_threads": True,
    "max_memory_size": True,
    "object_parameters": False,
    "default_acl": True,
    "querystring_expire": True,
    "custom_domain": True,
    "url_protocol": True,
    "cloudfront_key_id": False,
    "cloudfront_key": False,
    "cloudfront_signer": False,
}

#: Refused unless they have the value that changes nothing: (that value, why).
REFUSED = {
    "file_overwrite": (False, "a delivery store never overwrites a file"),
    "gzip": (False, "bytes are stored as they are, so that sizes, ranges and checksums hold"),
    "gzip_content_types": (None, "nothing is compressed"),
    "file_name_charset": ("utf-8", "names are UTF-8"),
    "querystring_auth": (True, "URLs without a signature are open to everybody"),
}

#: Never shown, and never part of a migration.
SECRET = {option for option, shown in HONOURED.items() if not shown}

_SHOWN = "it would show the files to everybody"
_PUBLIC_ACLS = {"public-read", "public-read-write", "authenticated-read"}

# How S3 writes down who that is (https://docs.aws.amazon.com/AmazonS3/latest/userguide/
# acl-overview.html, "Amazon S3 predefined groups").
_EVERYBODY = ("/global/AllUsers", "/global/AuthenticatedUsers")

# Object parameters that are ours to set, or that make of the bytes something else.
_OURS = {
    "ContentEncoding": "bytes are stored as they are",
    "IfNoneMatch": "the store sets the condition itself",
    "IfMatch": "the store sets the condition itself",
    "Bucket": "give the option bucket_name",
}
_SET_BY_US = re.compile(
    "Body|Key|ContentLength|ContentMD5|Checksum.*|CopySource|MetadataDirective|UploadId|PartNumber"
)

# Seconds; botocore waits a minute for each, five times over.
CONNECT_TIMEOUT = 3
READ_TIMEOUT = 10

# Bytes: what is sent in one request is in memory.
LARGEST_PUT = 64 << 20

# Connections kept open: as many threads may use the client at once without making new ones.
POOL = 64


def _impossible(store: object, option: str, value: object, why: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"Option {option}={value!r} of {type(store).__name__} is refused: {why}."
    )


def refuse_location(store: object, location: object) -> None:
    """Raise ImproperlyConfigured unless keys below the location mean the same on every server.

    One that begins with a slash django-storages refuses.
    """
    if isinstance(location, str):
        folder = location.strip("/")
        try:
            if not folder or validate_storage_name(folder):
                return
        except InvalidName:
            pass
    raise _impossible(
        store,
        "location",
        location,
        "give it '', or a folder such as 'media/deliveries' by the rules of storage names: "
        "text, no part of it empty, '.' or '..'",
    )


def refuse_what_breaks_a_promise(store: Any, given: Mapping[str, Any]) -> None:
    """Raise ImproperlyConfigured for an option, or a setting behind it, that we cannot honour.

    ``given`` are the options that the store was given itself.
    """
    for option, (harmless, why) in REFUSED.items():
        value = getattr(store, option)
        # Some apply to other storages of the site as well when they come from a setting.
        if option == "gzip_content_types" and option not in given:
            continue
        if value != harmless:
            raise _impossible(store, option, value, f"{why}; give it {option}={harmless!r}")
    _refuse_parameters(store)
    if store.custom_domain and not store.cloudfront_signer:
        raise _impossible(
            store,
            "custom_domain",
            store.custom_domain,
            "its URLs would not be signed; give cloudfront_key_id and cloudfront_key as well",
        )
    if store.transfer_config.max_bandwidth is not None:
        raise ImproperlyConfigured(
            f"Option transfer_config of {type(store).__name__} sets max_bandwidth "
            f"{store.transfer_config.max_bandwidth!r}: nothing is slowed down; leave it out."
        )
    if "@" in urlsplit(store.endpoint_url or "").netloc:
        # Not shown, for it would be in every error of botocore's.
        raise ImproperlyConfigured(
            f"Option endpoint_url of {type(store).__name__} has a user or a password before its "
            "'@': remove it, and give access_key and secret_key."
        )
    if not store.bucket_name:
        raise ImproperlyConfigured(
            f"{type(store).__name__} has no bucket: give it the option 'bucket_name', or set "
            "AWS_STORAGE_BUCKET_NAME."
        )


def _refuse_parameters(store: Any) -> None:
    if store.default_acl in _PUBLIC_ACLS:
        raise _impossible(store, "default_acl", store.default_acl, _SHOWN)
    for parameter, value in store.object_parameters.items():
        if why := _fault_of_parameter(parameter, value):
            raise ImproperlyConfigured(
                f"Option object_parameters of {type(store).__name__} has {parameter!r}: {why}."
            )


def _fault_of_parameter(parameter: str, value: object) -> str:
    """Return why an object parameter is refused, "" if it is not."""
    if parameter in _OURS:
        return _OURS[parameter]
    if _SET_BY_US.fullmatch(parameter):
        return "the store sets it itself"
    granted = parameter.startswith("Grant") and any(who in str(value) for who in _EVERYBODY)
    if granted or (parameter == "ACL" and value in _PUBLIC_ACLS):
        return f"{value!r}, {_SHOWN}"
    return ""


def client_config(store: Any) -> Config:
    """Return the client's configuration: ours, with the site's ``client_config`` merged over it.

    S3Storage has filled ``store.client_config`` where nobody gave one.
    """
    ours = Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        max_pool_connections=POOL,
        # We ask for checksums ourselves, where they are those of what is read.
        response_checksum_validation="when_required",
        proxies=store.proxies,
    )
    sites: Config = store.client_config
    if UNSIGNED in {store.signature_version, sites.signature_version}:
        raise _impossible(store, "signature_version", "UNSIGNED", "requests have to be signed")
    if sites.retries:
        raise ImproperlyConfigured(
            f"Option client_config of {type(store).__name__} sets retries {sites.retries!r}: give "
            "the options attempts and deadline, which bound every call."
        )
    # What merge() takes from the site's even where the site says nothing of it: S3Storage's own
    # configuration has a None for the version, and the dictionary s3 is taken whole.
    certain = Config(
        # botocore's own default for URLs of some regions is a version that S3 has retired.
        signature_version=sites.signature_version or store.signature_version or "s3v4",
        s3={"addressing_style": store.addressing_style, **(sites.s3 or {})},
        # Attempts are counted by us, who know whether one before may have been carried out.
        retries={"total_max_attempts": 1, "mode": "standard"},
    )
    return ours.merge(sites).merge(certain)


def transfer(store: Any, config: Config) -> Transfer:
    """Return how bytes travel, after the site's ``transfer_config`` where there is one."""
    checksums = config.request_checksum_calculation != "when_required"
    sites: TransferConfig = store.transfer_config
    if vars(sites) == vars(TransferConfig(use_threads=sites.use_threads)):
        return Transfer(
            concurrency=Transfer.concurrency if sites.use_threads else 1,
            new_checksums=checksums,
        )
    return Transfer(
        threshold=min(sites.multipart_threshold, LARGEST_PUT),
        part_length=sites.multipart_chunksize,
        concurrency=sites.max_concurrency if sites.use_threads else 1,
        new_checksums=checksums,
    )
