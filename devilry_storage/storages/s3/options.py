"""Accept or reject the options of django-storages' S3Storage.

The tables contain every option of django-storages 1.14. A test compares them with the installed
version.
"""

import re
from collections.abc import Mapping
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from django.core.exceptions import ImproperlyConfigured

from ...exceptions import InvalidName
from ...names import validate_storage_name
from .writing import Transfer

#: Accepted options, and whether their values may be shown with the store's configuration.
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

#: Rejected options: the only value that is accepted, and the reason.
REFUSED = {
    "file_overwrite": (False, "a delivery store never overwrites a file"),
    "gzip": (False, "bytes are stored as they are, so that sizes, ranges and checksums hold"),
    "gzip_content_types": (None, "nothing is compressed"),
    "file_name_charset": ("utf-8", "names are UTF-8"),
    "querystring_auth": (True, "URLs without a signature are open to everybody"),
}

CLOUDFRONT = {"cloudfront_key_id", "cloudfront_key", "cloudfront_signer"}

#: Options that are never written into a migration: secrets, and objects that may contain them.
#: ``object_parameters`` are left out if they have a key, see ``S3DeliveryStore.deconstruct()``.
NOT_IN_MIGRATIONS = frozenset(
    {option for option, shown in HONOURED.items() if not shown} - {"object_parameters"}
    | {"session_profile"}
)

_PUBLIC_ACLS = {"public-read", "public-read-write", "authenticated-read"}

# Groups of everybody (https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html,
# "Amazon S3 predefined groups").
_EVERYBODY = ("/global/AllUsers", "/global/AuthenticatedUsers")

# Object parameters that the store sets, or that change the stored bytes.
_OURS = {
    "ContentEncoding": "bytes are stored as they are",
    "IfNoneMatch": "the store sets the condition itself",
    "IfMatch": "the store sets the condition itself",
    "Bucket": "use the option bucket_name",
}
_SET_BY_US = re.compile(
    "Body|Key|ContentLength|ContentMD5|Checksum.*|CopySource|MetadataDirective|UploadId|PartNumber"
)

# The scheme, the host, and optionally a port and a path.
_ENDPOINT = re.compile(
    r"https?://(\[[0-9a-f:.]+\]|[^\s/?#:\[\]]+)(:\d+)?(/[^\s?#]*)?", re.IGNORECASE
)

_UNSIGNED = "its URLs would not be signed. Set cloudfront_key_id and cloudfront_key as well"
_A_URL = "use a URL such as 'https://files.example.org'"
_ONE_OF_THEM = "URLs have the custom_domain. Set only one of them"

# Timeouts in seconds. botocore's defaults are a minute, with five attempts.
CONNECT_TIMEOUT = 3
READ_TIMEOUT = 10

# Maximum threshold in bytes. A file that is sent in one request is kept in memory.
LARGEST_PUT = 64 << 20

# Maximum length in bytes. A key has at most 1024, of which those of files need about 60, and those
# of the store's own objects less than 100.
LONGEST_LOCATION = 900

# Number of connections that the client keeps open. More threads than that open new ones.
POOL = 64


def _invalid_option(
    store: object, option: str, value: object, explanation: str
) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"Invalid value for option {option!r} of {type(store).__name__}: {value!r}; {explanation}."
    )


def check_location(store: object, location: object) -> None:
    """Raise ImproperlyConfigured unless the location is empty or a valid, short storage name.

    Other locations could mean different keys on different servers. django-storages rejects a
    location that starts with a slash.
    """
    if isinstance(location, str):
        folder = location.strip("/")
        try:
            if not folder or len(validate_storage_name(folder).encode()) <= LONGEST_LOCATION:
                return
        except InvalidName:
            pass
    raise _invalid_option(
        store,
        "location",
        location,
        "use '', or a folder such as 'media/deliveries', a string of at most "
        f"{LONGEST_LOCATION} bytes in which no part is empty, '.' or '..'",
    )


def check_options(store: Any, given: Mapping[str, Any]) -> None:
    """Raise ImproperlyConfigured if an option or its setting would break a promise of the store.

    ``given`` are the options that were passed to the store.
    """
    for option, (accepted, reason) in REFUSED.items():
        value = getattr(store, option)
        # The setting behind it applies to other storages of the site as well.
        if option == "gzip_content_types" and option not in given:
            continue
        if value != accepted:
            raise _invalid_option(store, option, value, f"{reason}. Use {option}={accepted!r}")
    _check_parameters(store)
    if store.transfer_config.max_bandwidth is not None:
        raise ImproperlyConfigured(
            f"Option 'transfer_config' of {type(store).__name__} sets max_bandwidth to "
            f"{store.transfer_config.max_bandwidth!r}, which is not supported: remove it."
        )
    for option in ("endpoint_url", "public_endpoint_url"):
        if "@" in str(getattr(store, option)):
            # The value is not shown. Later, every error of botocore would contain it.
            raise ImproperlyConfigured(
                f"Option {option!r} of {type(store).__name__} contains a user or a password: "
                "remove everything up to the '@', and set access_key and secret_key."
            )
    url, domain = store.public_endpoint_url, store.custom_domain
    is_url = isinstance(url, str) and bool(_ENDPOINT.fullmatch(url))
    for option, is_invalid, explanation in (
        ("default_acl", store.default_acl in _PUBLIC_ACLS, "it would make the files public"),
        ("custom_domain", domain and not store.cloudfront_signer, _UNSIGNED),
        ("public_endpoint_url", url is not None and not is_url, _A_URL),
        ("public_endpoint_url", url is not None and domain, _ONE_OF_THEM),
    ):
        if is_invalid:
            raise _invalid_option(store, option, getattr(store, option), explanation)
    if not store.bucket_name:
        raise ImproperlyConfigured(
            f"{type(store).__name__} has no bucket: set the option 'bucket_name' or the setting "
            "AWS_STORAGE_BUCKET_NAME."
        )


def _check_parameters(store: Any) -> None:
    for parameter, value in store.object_parameters.items():
        if reason := _problem_of_parameter(parameter, value):
            raise ImproperlyConfigured(
                f"Option 'object_parameters' of {type(store).__name__} contains {parameter!r}: "
                f"{reason}."
            )


def _problem_of_parameter(parameter: str, value: object) -> str:
    """Return why an object parameter is rejected, or ``""``."""
    if parameter in _OURS:
        return _OURS[parameter]
    if _SET_BY_US.fullmatch(parameter):
        return "the store sets it itself"
    granted = parameter.startswith("Grant") and any(group in str(value) for group in _EVERYBODY)
    if granted or (parameter == "ACL" and value in _PUBLIC_ACLS):
        return f"{value!r} would make the files public"
    return ""


def client_config(store: Any) -> Config:
    """Return our configuration of the client, with the site's ``client_config`` merged over it.

    S3Storage sets ``store.client_config`` if the site does not.
    """
    ours = Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        max_pool_connections=POOL,
        proxies=store.proxies,
    )
    sites: Config = store.client_config
    if UNSIGNED in {store.signature_version, sites.signature_version}:
        raise _invalid_option(store, "signature_version", "UNSIGNED", "requests must be signed")
    if sites.retries:
        raise ImproperlyConfigured(
            f"Option 'client_config' of {type(store).__name__} sets retries to {sites.retries!r}: "
            "use the options attempts and deadline, which limit every call."
        )
    # Values that merge() would take from the site's configuration even if the site did not set
    # them: S3Storage's own configuration has None as the version, and merge() replaces the whole
    # dictionary s3.
    certain = Config(
        # For URLs of some regions, botocore's default is a version that S3 has retired.
        signature_version=sites.signature_version or store.signature_version or "s3v4",
        s3={"addressing_style": store.addressing_style, **(sites.s3 or {})},
        # The store retries itself, because it knows whether a failed attempt may have succeeded.
        retries={"total_max_attempts": 1, "mode": "standard"},
    )
    return ours.merge(sites).merge(certain)


def transfer(store: Any) -> Transfer:
    """Return the parameters of transfers, from the site's ``transfer_config`` if it has one."""
    sites: TransferConfig = store.transfer_config
    if vars(sites) == vars(TransferConfig(use_threads=sites.use_threads)):
        return Transfer(concurrency=Transfer.concurrency if sites.use_threads else 1)
    return Transfer(
        threshold=min(sites.multipart_threshold, LARGEST_PUT),
        part_length=sites.multipart_chunksize,
        concurrency=sites.max_concurrency if sites.use_threads else 1,
    )
