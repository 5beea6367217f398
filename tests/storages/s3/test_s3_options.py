"""Every option of django-storages' S3 backend: honoured or refused, by option and by setting."""

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
    # Said by django-storages, which honours it all the same.
    pytest.mark.filterwarnings("ignore:The AWS_S3_USE_THREADS setting is:DeprecationWarning"),
]

OF_HONOURED = [(option, each) for option in HONOURED for each in SETTINGS[option]]


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
    """Let the machine have no credentials but those of two profiles."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        patch.delenv(name, raising=False)
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id = KEYOFTHEMACHINE\naws_secret_access_key = secret\n"
        "[deliveries]\naws_access_key_id = KEYOFTHEPROFILE\naws_secret_access_key = secret\n"
    )
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    patch.setenv("AWS_CONFIG_FILE", str(folder / "none"))
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def refused(**options: Any) -> str:
    """Return why a store with these options is refused."""
    with pytest.raises(ImproperlyConfigured) as caught:
        S3DeliveryStore(**{"bucket_name": "deliveries", **options})
    return str(caught.value)


# -- The table is whole --


def test_tables_match_the_options_of_django_storages() -> None:
    """A new one has to be honoured or refused before it can be given."""
    known = django_storages.S3Storage.get_default_settings(object())
    assert sorted([*HONOURED, *REFUSED]) == sorted([*known, "cloudfront_signer"])


def test_each_option_has_a_test(world: World) -> None:
    assert sorted(lines(world)) == sorted(HONOURED)
    assert sorted(REFUSALS) == sorted(REFUSED)
    assert sorted(SETTINGS) == sorted([*HONOURED, *REFUSED])


def test_each_setting_has_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that django-storages asks Django's settings for."""
    wanted = set()

    def setting(name: str, default: Any = None) -> Any:
        wanted.add(name)
        return default

    monkeypatch.setattr(django_storages, "setting", setting)
    django_storages.S3Storage.get_default_settings(object())
    assert wanted == {each for settings in SETTINGS.values() for each in settings}


# -- Honoured --


@pytest.mark.parametrize("option", HONOURED)
def test_option_has_an_effect(world: World, option: str) -> None:
    """And without it there is none."""
    line = lines(world)[option]
    assert line.look(world, S3DeliveryStore(**line.others(world))) != line.seen
    store = S3DeliveryStore(**{**line.others(world), option: line.given})
    assert line.look(world, store) == line.seen


@pytest.mark.parametrize(("option", "setting"), OF_HONOURED)
def test_setting_has_the_effect_of_its_option(world: World, option: str, setting: str) -> None:
    """Under the name that django-storages gave it."""
    line = lines(world)[option]
    others = {key: value for key, value in line.others(world).items() if key != option}
    with override_settings(**{setting: line.given}):
        assert line.look(world, S3DeliveryStore(**others)) == line.seen


@pytest.mark.parametrize(("option", "setting"), OF_HONOURED)
def test_existing_store_follows_changed_settings(world: World, option: str, setting: str) -> None:
    """As soon as a test overrides them, and back again."""
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
    """Else from wherever boto3 finds them: a file here, a role on AWS."""
    found = header("authorization", "Credential=([^/]*)/")
    keys = ("access_key", "secret_key")
    options = {key: value for key, value in world.options.items() if key not in keys}
    assert found(world, S3DeliveryStore(**options)) == "KEYOFTHEMACHINE"
    monkeypatch.setenv(variable, "KEYOFTHEENVIRONMENT")
    monkeypatch.setenv(variable.replace("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"), "secret")
    assert found(world, S3DeliveryStore(**options)) == "KEYOFTHEENVIRONMENT"


def test_verify_false_trusts_every_server(world: World) -> None:
    """urllib3 says what it thinks of it."""
    store = S3DeliveryStore(**{**world.options, "endpoint_url": world.tls_url}, verify=False)
    with pytest.warns(InsecureRequestWarning):
        assert is_reached(world, store)


# -- Merged --


def test_client_config_is_merged_over_our_limits(world: World) -> None:
    """django-storages would take the site's alone, and botocore's minute for each timeout."""
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
    """Each on a connection of its own; boto3's own default of ten would fill the memory."""
    store = S3DeliveryStore(**world.strict_options, transfer_config=TransferConfig(**config))
    assert parts(17 * MIB)(world, store) == ([8 * MIB, 8 * MIB, MIB], flying)


# -- Refused --

#: Each option that is refused, a value, and what the message says of it.
REFUSALS: dict[str, tuple[Any, str]] = {
    "file_overwrite": (True, "a delivery store never overwrites a file"),
    "gzip": (True, "bytes are stored as they are"),
    "gzip_content_types": (("text/css",), "nothing is compressed"),
    "file_name_charset": ("latin-1", "names are UTF-8"),
    "querystring_auth": (False, "open to everybody"),
}
BY_SETTING = [option for option in REFUSALS if option != "gzip_content_types"]


def test_unsafe_option_is_rejected(subtests: pytest.Subtests) -> None:
    """By name, with the reason and the value that is taken."""
    for option, (value, why) in REFUSALS.items():
        with subtests.test(option):
            said = refused(**{option: value})
            assert said.startswith(f"Option {option}={value!r} of S3DeliveryStore is refused: ")
            assert why in said
            assert said.endswith(f"; give it {option}={REFUSED[option][0]!r}.")


def test_safe_value_of_unsafe_option_is_accepted(subtests: pytest.Subtests) -> None:
    for option, (value, *_) in REFUSED.items():
        options: dict[str, Any] = {option: value}
        with subtests.test(option):
            S3DeliveryStore(bucket_name="deliveries", **options)


@pytest.mark.parametrize("option", BY_SETTING)
def test_unsafe_setting_is_rejected(world: World, option: str) -> None:
    """A store that is there says so, too, at each use, until the setting is another one."""
    value, why = REFUSALS[option]
    store = S3DeliveryStore(**world.options)
    assert not store.exists("a.txt")
    with override_settings(**{SETTINGS[option][0]: value}):
        assert why in refused()
        for _ in range(2):
            with pytest.raises(ImproperlyConfigured, match=why):
                store.exists("a.txt")
    assert not store.exists("a.txt")


def test_setting_gzip_content_types_is_ignored() -> None:
    """What would be compressed matters to nobody who compresses nothing."""
    with override_settings(GZIP_CONTENT_TYPES=["text/css"]):
        S3DeliveryStore(bucket_name="deliveries")


def test_option_overrides_unsafe_setting() -> None:
    """So that a site may set for its other storages what it likes."""
    with override_settings(
        AWS_S3_FILE_OVERWRITE=True, AWS_QUERYSTRING_AUTH=False, AWS_DEFAULT_ACL="public-read"
    ):
        S3DeliveryStore(
            bucket_name="deliveries", file_overwrite=False, querystring_auth=True, default_acl=None
        )


def test_invalid_location_is_rejected(subtests: pytest.Subtests) -> None:
    """At once, not at the first file: a part of a key means one thing on every server."""
    locations = ["a//b", ".", "a/../b", "..", "a\\b", "a\nb", None, b"a", Path("a")]
    for location in locations:
        with subtests.test(location=location):
            said = refused(location=location)
            assert said.startswith(f"Option location={location!r} of S3DeliveryStore is refused: ")
            assert "'media/deliveries'" in said
            with override_settings(AWS_LOCATION=location):
                assert refused() == said


def test_location_may_end_with_a_slash() -> None:
    """As with django-storages; else it is taken as it is."""
    prefixes = {
        "": "",
        "a": "a/",
        "a/b/": "a/b/",
        "a//": "a/",
        " x ": " x /",
        "a+b%41 c": "a+b%41 c/",
        "\xe4": "\xe4/",
    }
    stores = {each: S3DeliveryStore(bucket_name="b", location=each) for each in prefixes}
    assert {each: store.remote.prefix for each, store in stores.items()} == prefixes


def test_location_that_starts_with_a_slash_is_rejected() -> None:
    """By django-storages, which names the value and what to write."""
    assert "Found '/a/'. Use 'a/' instead." in refused(location="/a/")


def test_public_acl_is_rejected(subtests: pytest.Subtests) -> None:
    """Wherever it stands; one that names somebody is not."""
    shown = "it would show the files to everybody"
    for acl in "public-read", "public-read-write", "authenticated-read":
        with subtests.test(acl):
            assert shown in refused(default_acl=acl)
            assert shown in refused(object_parameters={"ACL": acl})
            with override_settings(AWS_DEFAULT_ACL=acl):
                assert shown in refused()
    S3DeliveryStore(bucket_name="deliveries", default_acl="bucket-owner-full-control")


def test_grant_to_everybody_is_rejected(subtests: pytest.Subtests) -> None:
    """It is a public ACL in other words."""
    grants, groups = ("GrantRead", "GrantFullControl"), ("AllUsers", "AuthenticatedUsers")
    for grant, group in itertools.product(grants, groups):
        with subtests.test(grant, group=group):
            everybody = f'uri="http://acs.amazonaws.com/groups/global/{group}", id="abc"'
            said = refused(object_parameters={grant: everybody})
            assert "would show the files to everybody" in said
            S3DeliveryStore(bucket_name="deliveries", object_parameters={grant: 'id="abc"'})


def test_object_parameter_of_the_store_is_rejected(subtests: pytest.Subtests) -> None:
    parameters: list[tuple[str, Any, str]] = [
        ("ContentEncoding", "gzip", "bytes are stored as they are"),
        ("IfNoneMatch", "*", "the store sets the condition itself"),
        ("IfMatch", "etag", "the store sets the condition itself"),
        ("Bucket", "other", "give the option bucket_name"),
        ("Key", "other", "the store sets it itself"),
        ("Body", b"other", "the store sets it itself"),
        ("ContentLength", 5, "the store sets it itself"),
        ("ContentMD5", "x", "the store sets it itself"),
        ("ChecksumAlgorithm", "SHA256", "the store sets it itself"),
        ("ChecksumSHA256", "x", "the store sets it itself"),
        ("MetadataDirective", "COPY", "the store sets it itself"),
    ]
    for parameter, value, why in parameters:
        with subtests.test(parameter):
            said = refused(object_parameters={"CacheControl": "no-store", parameter: value})
            assert said == f"Option object_parameters of S3DeliveryStore has {parameter!r}: {why}."
            with override_settings(AWS_S3_OBJECT_PARAMETERS={parameter: value}):
                assert refused() == said


def test_unknown_object_parameter_is_rejected(world: World) -> None:
    """A slip of the pen must not leave files unencrypted; found when the first is written."""
    store = S3DeliveryStore(**world.options, object_parameters={"ServerSideEncrytion": "AES256"})
    for size in (1, 9 * MIB):
        with pytest.raises(ImproperlyConfigured, match="object_parameters has 'ServerSideEncr"):
            store.save("a.txt", ContentFile(bytes(size)))
    assert not store.exists("a.txt")


def test_threshold_is_limited_to_64_mib() -> None:
    """What goes in one request is in memory."""
    config = TransferConfig(multipart_threshold=6 << 30)
    store = S3DeliveryStore(bucket_name="b", transfer_config=config)
    assert store.transfer.threshold == 64 * MIB


#: Options that cannot be, and what is said of them.
IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"bucket_name": None}, "S3DeliveryStore has no bucket: give it the option 'bucket_name'"),
    ({"bucket_name": ""}, "or set AWS_STORAGE_BUCKET_NAME."),
    ({"buket_name": "b"}, "S3DeliveryStore has no option 'buket_name'"),
    ({"base_url": "/media/"}, "S3DeliveryStore has no option 'base_url'"),
    ({"custom_domain": "f.example.com"}, "Option custom_domain='f.example.com' of S3Deliv"),
    ({"custom_domain": "f.example.com"}, "give cloudfront_key_id and cloudfront_key as well"),
    ({"cloudfront_key_id": "K"}, "must be provided together"),
    ({"cloudfront_key": cloudfront.pem()}, "must be provided together"),
    ({"session_profile": "p", "access_key": "k"}, "session_profile should not be provided"),
    ({"signature_version": UNSIGNED}, "signature_version='UNSIGNED' of S3DeliveryStore is"),
    (
        {"client_config": Config(signature_version=UNSIGNED)},
        "is refused: requests have to be signed.",
    ),
    (
        {"client_config": Config(retries={"max_attempts": 9})},
        "Option client_config of S3DeliveryStore sets retries",
    ),
    (
        {"client_config": Config(retries={"mode": "adaptive"})},
        "give the options attempts and deadline, which bound every call.",
    ),
    (
        {"transfer_config": TransferConfig(max_bandwidth=1000)},
        "Option transfer_config of S3DeliveryStore sets max_bandwidth 1000: nothing is slowed",
    ),
    ({"location": "/absolute"}, "location cannot begin with a leading slash"),
]


def test_invalid_options_are_rejected(subtests: pytest.Subtests) -> None:
    """Before anything is sent, with the remedy."""
    for options, said in IMPOSSIBLE:
        with subtests.test(said):
            assert said in refused(**options)
