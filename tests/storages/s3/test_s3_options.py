"""Every option and setting of django-storages' S3 backend is either honoured or rejected."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.test import override_settings
from storages.backends import s3 as django_storages
from urllib3.exceptions import InsecureRequestWarning

from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3.options import CONNECT_TIMEOUT, HONOURED, POOL, REFUSED

from ...harness import cloudfront, s3servers, tls
from ...harness.http_proxy import HttpProxy
from ...harness.s3_options import MIB, SETTINGS, World, header, host, is_reached, lines, parts

pytestmark = [
    pytest.mark.servers,
    # django-storages still honours the setting.
    pytest.mark.filterwarnings("ignore:The AWS_S3_USE_THREADS setting is:DeprecationWarning"),
]

OF_HONOURED = [(option, setting) for option in HONOURED for setting in SETTINGS[option]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    moto, seaweedfs = s3servers.need("moto"), s3servers.need("seaweedfs")
    folder = tmp_path_factory.mktemp("s3")
    with (
        HttpProxy(moto.endpoint_url) as proxy,
        HttpProxy(seaweedfs.endpoint_url) as strict,
        tls.serving(folder) as (tls_url, certificate),
        pytest.MonkeyPatch.context() as patch,
    ):
        _without_credentials(patch, folder)
        servers = (proxy, moto, moto.bucket(), strict, seaweedfs, seaweedfs.bucket())
        yield World(*servers, tls_url, certificate)


def _without_credentials(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Hide the credentials of the machine, except those of two profiles."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        patch.delenv(name, raising=False)
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id = KEYOFTHEMACHINE\naws_secret_access_key = secret\n"
        "[deliveries]\naws_access_key_id = KEYOFTHEPROFILE\naws_secret_access_key = secret\n"
    )
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    patch.setenv("AWS_CONFIG_FILE", str(folder / "none"))
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def error_of(**options: Any) -> str:
    """Return the error message of a store with these options."""
    with pytest.raises(ImproperlyConfigured) as caught:
        S3DeliveryStore(**{"bucket_name": "deliveries", **options})
    return str(caught.value)


# -- Completeness of the tables --


def test_tables_match_the_options_of_django_storages() -> None:
    """A new option must be honoured or rejected before sites can use it."""
    known = django_storages.S3Storage.get_default_settings(object())
    assert sorted([*HONOURED, *REFUSED]) == sorted([*known, "cloudfront_signer"])


def test_each_option_has_a_test(world: World) -> None:
    assert sorted(lines(world)) == sorted(HONOURED)
    assert sorted(REFUSALS) == sorted(REFUSED)
    assert sorted(SETTINGS) == sorted([*HONOURED, *REFUSED])


def test_each_setting_has_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests know every setting that django-storages reads."""
    read = set()

    def setting(name: str, default: Any = None) -> Any:
        read.add(name)
        return default

    monkeypatch.setattr(django_storages, "setting", setting)
    django_storages.S3Storage.get_default_settings(object())
    assert read == {setting for settings in SETTINGS.values() for setting in settings}


# -- Honoured --


@pytest.mark.parametrize("option", HONOURED)
def test_option_has_an_effect(world: World, option: str) -> None:
    """Without the option there is no such effect."""
    line = lines(world)[option]
    assert line.look(world, S3DeliveryStore(**line.others(world))) != line.seen
    store = S3DeliveryStore(**{**line.others(world), option: line.given})
    assert line.look(world, store) == line.seen


@pytest.mark.parametrize(("option", "setting"), OF_HONOURED)
def test_setting_has_the_effect_of_its_option(world: World, option: str, setting: str) -> None:
    """The names of settings are those of django-storages."""
    line = lines(world)[option]
    others = {key: value for key, value in line.others(world).items() if key != option}
    with override_settings(**{setting: line.given}):
        assert line.look(world, S3DeliveryStore(**others)) == line.seen


@pytest.mark.parametrize(("option", "setting"), OF_HONOURED)
def test_existing_store_follows_changed_settings(world: World, option: str, setting: str) -> None:
    """A store notices that a test overrides settings, and that it restores them."""
    line = lines(world)[option]
    others = line.others(world)
    before = {setting: others.pop(option)} if option in others else {}
    with override_settings(**before):
        store = S3DeliveryStore(**others)
        assert line.look(world, store) != line.seen
        with override_settings(**{setting: line.given}):
            assert line.look(world, store) == line.seen
        assert line.look(world, store) != line.seen


@pytest.mark.parametrize("option", [option for option in HONOURED if SETTINGS[option]])
def test_option_takes_precedence_over_setting(world: World, option: str) -> None:
    line = lines(world)[option]
    others = line.others(world)
    given = {**others, option: line.given}
    with override_settings(**{SETTINGS[option][0]: others.get(option)}):
        assert line.look(world, S3DeliveryStore(**given)) == line.seen


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_S3_ACCESS_KEY_ID"])
def test_credentials_may_come_from_the_environment(
    world: World, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Otherwise boto3 finds them elsewhere: here in a file, on AWS in a role."""
    found = header("authorization", "Credential=([^/]*)/")
    keys = ("access_key", "secret_key")
    options = {key: value for key, value in world.options.items() if key not in keys}
    assert found(world, S3DeliveryStore(**options)) == "KEYOFTHEMACHINE"
    monkeypatch.setenv(variable, "KEYOFTHEENVIRONMENT")
    monkeypatch.setenv(variable.replace("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"), "secret")
    assert found(world, S3DeliveryStore(**options)) == "KEYOFTHEENVIRONMENT"


def test_verify_false_trusts_every_server(world: World) -> None:
    """urllib3 warns about it."""
    store = S3DeliveryStore(**{**world.options, "endpoint_url": world.tls_url}, verify=False)
    with pytest.warns(InsecureRequestWarning):
        assert is_reached(world, store)


# -- Merged configurations --


def test_client_config_is_merged_over_our_limits(world: World) -> None:
    """django-storages alone would use the site's configuration, and botocore's timeouts."""
    config = Config(read_timeout=7, s3={"payload_signing_enabled": True})
    store = S3DeliveryStore(**world.options, client_config=config, proxies={"https": "http://p"})
    merged = store.remote.client.meta.config
    assert (merged.connect_timeout, merged.read_timeout) == (CONNECT_TIMEOUT, 7)
    assert merged.max_pool_connections == POOL
    assert merged.signature_version == "s3v4"
    assert merged.proxies == {"https": "http://p"}
    assert merged.s3["payload_signing_enabled"] is True
    assert merged.s3["addressing_style"] == "path"
    assert merged.retries["total_max_attempts"] == 1


def test_client_config_takes_precedence_over_options(world: World) -> None:
    config = Config(
        s3={"addressing_style": "virtual"}, signature_version="s3", connect_timeout=1, proxies={}
    )
    store = S3DeliveryStore(
        **{**world.options, "endpoint_url": "http://s3.example.com"},
        client_config=config,
        proxies={"http": "http://p"},
        signature_version="s3v4",
    )
    assert host(world, store) == f"{world.bucket}.s3.example.com"
    merged = store.remote.client.meta.config
    assert (merged.signature_version, merged.connect_timeout) == ("s3", 1)
    assert merged.proxies == {}


@pytest.mark.parametrize(
    ("config", "flying"),
    [
        ({}, 3),
        ({"use_threads": False}, 1),
        ({"use_threads": False, "max_concurrency": 3}, 1),
        ({"max_concurrency": 1}, 1),
        ({"max_concurrency": 2}, 2),
    ],
)
def test_number_of_concurrent_parts(world: World, config: dict[str, Any], flying: int) -> None:
    """Each part has its own connection. boto3's default of ten would use more memory."""
    store = S3DeliveryStore(**world.strict_options, transfer_config=TransferConfig(**config))
    assert parts(17 * MIB)(world, store) == ([8 * MIB, 8 * MIB, MIB], flying)


# -- Rejected --

#: For each rejected option a value, and a part of the error message.
REFUSALS: dict[str, tuple[Any, str]] = {
    "file_overwrite": (True, "a delivery store never overwrites a file"),
    "gzip": (True, "bytes are stored as they are"),
    "gzip_content_types": (("text/css",), "nothing is compressed"),
    "file_name_charset": ("latin-1", "names are UTF-8"),
    "querystring_auth": (False, "open to everybody"),
}
BY_SETTING = [option for option in REFUSALS if option != "gzip_content_types"]


def test_unsafe_option_is_rejected(subtests: pytest.Subtests) -> None:
    """The message has the option, the value, the reason and the accepted value."""
    for option, (value, reason) in REFUSALS.items():
        with subtests.test(option):
            error = error_of(**{option: value})
            start = f"Invalid value for option {option!r} of S3DeliveryStore: {value!r}; "
            assert error.startswith(start)
            assert reason in error
            assert error.endswith(f". Use {option}={REFUSED[option][0]!r}.")


def test_safe_value_of_unsafe_option_is_accepted(subtests: pytest.Subtests) -> None:
    for option, (value, *_) in REFUSED.items():
        options: dict[str, Any] = {option: value}
        with subtests.test(option):
            S3DeliveryStore(bucket_name="deliveries", **options)


@pytest.mark.parametrize("option", BY_SETTING)
def test_unsafe_setting_is_rejected(world: World, option: str) -> None:
    """An existing store raises at each use, too, until the setting is changed."""
    value, reason = REFUSALS[option]
    store = S3DeliveryStore(**world.options)
    assert not store.exists("a.txt")
    with override_settings(**{SETTINGS[option][0]: value}):
        assert reason in error_of()
        for _ in range(2):
            with pytest.raises(ImproperlyConfigured, match=reason):
                store.exists("a.txt")
    assert not store.exists("a.txt")


def test_setting_gzip_content_types_is_ignored() -> None:
    """Other storages may use it, and the store compresses nothing."""
    with override_settings(GZIP_CONTENT_TYPES=["text/css"]):
        S3DeliveryStore(bucket_name="deliveries")


def test_option_overrides_unsafe_setting() -> None:
    """A site may use other values for its other storages."""
    with override_settings(
        AWS_S3_FILE_OVERWRITE=True, AWS_QUERYSTRING_AUTH=False, AWS_DEFAULT_ACL="public-read"
    ):
        S3DeliveryStore(
            bucket_name="deliveries", file_overwrite=False, querystring_auth=True, default_acl=None
        )


def test_invalid_location_is_rejected(subtests: pytest.Subtests) -> None:
    """The constructor raises, so that a site notices it before the first file."""
    locations = ["a//b", ".", "a/../b", "..", "a\\b", "a\nb", None, b"a", Path("a"), "\xe4" * 451]
    for location in locations:
        with subtests.test(location=location):
            error = error_of(location=location)
            start = f"Invalid value for option 'location' of S3DeliveryStore: {location!r}; "
            assert error.startswith(start)
            assert "'media/deliveries'" in error
            with override_settings(AWS_LOCATION=location):
                assert error_of() == error


def test_location_may_end_with_a_slash() -> None:
    """As in django-storages, slashes at the end do not count. Nothing else is changed."""
    prefixes = {
        "": "",
        "a": "a/",
        "a/b/": "a/b/",
        "a//": "a/",
        " x ": " x /",
        "a+b%41 c": "a+b%41 c/",
        "\xe4": "\xe4/",
    }
    stores = {
        location: S3DeliveryStore(bucket_name="b", location=location) for location in prefixes
    }
    assert {location: store.remote.prefix for location, store in stores.items()} == prefixes


def test_location_that_starts_with_a_slash_is_rejected() -> None:
    """django-storages raises, with the value and the remedy."""
    assert "Found '/a/'. Use 'a/' instead." in error_of(location="/a/")


def test_public_acl_is_rejected(subtests: pytest.Subtests) -> None:
    """A public ACL is rejected in options and settings; other ACLs are accepted."""
    public = "would make the files public"
    for acl in "public-read", "public-read-write", "authenticated-read":
        with subtests.test(acl):
            assert public in error_of(default_acl=acl)
            assert public in error_of(object_parameters={"ACL": acl})
            with override_settings(AWS_DEFAULT_ACL=acl):
                assert public in error_of()
    S3DeliveryStore(bucket_name="deliveries", default_acl="bucket-owner-full-control")


def test_grant_to_everybody_is_rejected(subtests: pytest.Subtests) -> None:
    """Such a grant has the effect of a public ACL."""
    grants, groups = ("GrantRead", "GrantFullControl"), ("AllUsers", "AuthenticatedUsers")
    for grant, group in itertools.product(grants, groups):
        with subtests.test(grant, group=group):
            everybody = f'uri="http://acs.amazonaws.com/groups/global/{group}", id="abc"'
            error = error_of(object_parameters={grant: everybody})
            assert "would make the files public" in error
            S3DeliveryStore(bucket_name="deliveries", object_parameters={grant: 'id="abc"'})


def test_object_parameter_of_the_store_is_rejected(subtests: pytest.Subtests) -> None:
    parameters: list[tuple[str, Any, str]] = [
        ("ContentEncoding", "gzip", "bytes are stored as they are"),
        ("IfNoneMatch", "*", "the store sets the condition itself"),
        ("IfMatch", "etag", "the store sets the condition itself"),
        ("Bucket", "other", "use the option bucket_name"),
        ("Key", "other", "the store sets it itself"),
        ("Body", b"other", "the store sets it itself"),
        ("ContentLength", 5, "the store sets it itself"),
        ("ContentMD5", "x", "the store sets it itself"),
        ("ChecksumAlgorithm", "SHA256", "the store sets it itself"),
        ("ChecksumSHA256", "x", "the store sets it itself"),
        ("MetadataDirective", "COPY", "the store sets it itself"),
    ]
    option = "Option 'object_parameters' of S3DeliveryStore"
    for parameter, value, reason in parameters:
        with subtests.test(parameter):
            error = error_of(object_parameters={"CacheControl": "no-store", parameter: value})
            assert error == f"{option} contains {parameter!r}: {reason}."
            with override_settings(AWS_S3_OBJECT_PARAMETERS={parameter: value}):
                assert error_of() == error


def test_unknown_object_parameter_is_rejected(world: World) -> None:
    """A typing error must not leave files unencrypted. The first write raises."""
    store = S3DeliveryStore(**world.options, object_parameters={"ServerSideEncrytion": "AES256"})
    for size in (1, 9 * MIB):
        with pytest.raises(
            ImproperlyConfigured, match="'object_parameters' contains 'ServerSideEncr"
        ):
            store.save("a.txt", ContentFile(bytes(size)))
    assert not store.exists("a.txt")


def test_threshold_is_limited_to_64_mib() -> None:
    """A file that is sent in one request is kept in memory."""
    config = TransferConfig(multipart_threshold=6 << 30)
    store = S3DeliveryStore(bucket_name="b", transfer_config=config)
    assert store.transfer.threshold == 64 * MIB


#: Invalid options, and parts of the error messages.
INVALID: list[tuple[dict[str, Any], str]] = [
    ({"bucket_name": None}, "S3DeliveryStore has no bucket: set the option 'bucket_name'"),
    ({"bucket_name": ""}, "or the setting AWS_STORAGE_BUCKET_NAME."),
    ({"buket_name": "b"}, "S3DeliveryStore has no option 'buket_name'"),
    ({"base_url": "/media/"}, "S3DeliveryStore has no option 'base_url'"),
    ({"custom_domain": "f.example.com"}, "'custom_domain' of S3DeliveryStore: 'f.example.com'"),
    ({"custom_domain": "f.example.com"}, "Set cloudfront_key_id and cloudfront_key as well"),
    ({"cloudfront_key_id": "K"}, "must be provided together"),
    ({"cloudfront_key": cloudfront.pem()}, "must be provided together"),
    ({"session_profile": "p", "access_key": "k"}, "session_profile should not be provided"),
    ({"signature_version": UNSIGNED}, "'signature_version' of S3DeliveryStore: 'UNSIGNED'"),
    (
        {"client_config": Config(signature_version=UNSIGNED)},
        "'UNSIGNED'; requests must be signed.",
    ),
    (
        {"client_config": Config(retries={"max_attempts": 9})},
        "Option 'client_config' of S3DeliveryStore sets retries to",
    ),
    (
        {"client_config": Config(retries={"mode": "adaptive"})},
        "use the options attempts and deadline, which limit every call.",
    ),
    (
        {"transfer_config": TransferConfig(max_bandwidth=1000)},
        "Option 'transfer_config' of S3DeliveryStore sets max_bandwidth to 1000, which is not",
    ),
    ({"location": "/absolute"}, "location cannot begin with a leading slash"),
]


def test_invalid_options_are_rejected(subtests: pytest.Subtests) -> None:
    """The constructor raises, and the message has the remedy."""
    for options, message in INVALID:
        with subtests.test(message):
            assert message in error_of(**options)
