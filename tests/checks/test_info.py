"""What deliverystore_info tells of stores, and what a deploy check finds out of their servers."""

from __future__ import annotations

from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command
from django.test.utils import override_settings
from django.utils import timezone

from devilry_storage.checks import stores as store_checks
from devilry_storage.deliveries.models import FileMeta
from devilry_storage.storages import DeliveryStoreMixin, S3DeliveryStore

from ..harness import s3servers

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

FILESYSTEM = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
S3 = "devilry_storage.storages.S3DeliveryStore"


class Theirs(DeliveryStoreMixin, FileSystemStorage):
    """A store of somebody's own."""


def _stores(backend: str, **options: Any) -> dict[str, Any]:
    return {"default": FILESYSTEM, "deliveries": {"BACKEND": backend, "OPTIONS": options}}


def _info(**options: Any) -> str:
    """Return what the command tells of the store of FileMeta, which comes first."""
    out = StringIO()
    call_command("deliverystore_info", stdout=out, **options)
    return out.getvalue().partition("\n\n")[0]


def _lines(text: str) -> dict[str, str]:
    """Return what stands behind the first word of each line."""
    pairs = (line.split(maxsplit=1) for line in text.splitlines() if line.startswith("  "))
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _on(name: str, **more: Any) -> tuple[dict[str, Any], Any]:
    """Return STORAGES with a store on a fresh bucket of a server, and the server."""
    server = s3servers.need(name)
    return _stores(S3, **{**server.options(server.bucket()), **more}), server


def _deployed() -> list[CheckMessage]:
    return [each for each in store_checks.check_stores_deployed() if each.obj is FileMeta]


def test_a_store_on_disk_is_told_with_place_options_and_free_space(tmp_path: Path) -> None:
    """Which models, which alias, which class, where, what it can do, and how much room is left."""
    (tmp_path / "store").mkdir()
    backend = "devilry_storage.storages.FsHierDeliveryStore"
    with override_settings(
        STORAGES=_stores(backend, location=str(tmp_path / "store"), interval=7)
    ):
        text = _info()
    lines = _lines(text)
    assert "devilry_deliveries.FileMeta" in text.splitlines()[0]
    assert lines["alias"] == "deliveries"
    assert lines["backend"] == "devilry_storage.storages.filesystem.FsHierDeliveryStore"
    assert lines["place"] == str(tmp_path / "store")
    assert lines["can"].split(", ")[:2] == ["atomic_create", "whole_or_absent"]
    assert "B" in lines["free"]
    assert "option    interval = 7" in text
    assert "option    durable = True" in text


def test_a_store_that_is_not_made_yet_has_no_free_space_to_tell(tmp_path: Path) -> None:
    """The folder is made by the first save; until then nobody knows on which disk."""
    backend = "devilry_storage.storages.FsHierDeliveryStore"
    with override_settings(STORAGES=_stores(backend, location=str(tmp_path / "store"))):
        assert "free" not in _lines(_info())


def test_what_a_store_cannot_do_is_told() -> None:
    """False flags stand on a line of their own."""
    with override_settings(STORAGES=_stores("devilry_storage.storages.MemoryDeliveryStore")):
        assert _lines(_info())["cannot"] == "durable, bounded_memory"


def test_a_model_without_a_store_is_told_and_makes_the_command_fail() -> None:
    """A cron job that looks at the exit code notices."""
    with override_settings(STORAGES={"default": FILESYSTEM}):
        out = StringIO()
        with pytest.raises(CommandError, match="not as they should be"):
            call_command("deliverystore_info", stdout=out)
        assert "No delivery store is configured" in out.getvalue()


def test_options_that_may_be_secret_are_told_as_set() -> None:
    """Keys, and whatever may hold one; what is harmless is shown."""
    parameters = {"CacheControl": "private", "SSECustomerKey": "hidden-key-of-the-site"}
    storages, server = _on("moto", object_parameters=parameters, location="below")
    with override_settings(STORAGES=storages):
        text = _info()
    assert "option    secret_key = set" in text
    assert "option    access_key = set" in text
    assert "option    object_parameters = set" in text
    assert "option    location = below" in text
    assert server.secret_key not in text
    assert server.access_key not in text
    assert "hidden-key-of-the-site" not in text


def test_an_option_of_an_unknown_store_is_told_as_set() -> None:
    """Only what is known to be harmless is shown: the list is of what may be, not of what not."""
    backend = f"{__name__}.Theirs"
    with override_settings(STORAGES=_stores(backend, location="tell-nobody")):
        text = _info()
    assert "option    location = set" in text
    assert "tell-nobody" not in text


def test_nothing_is_asked_without_probe() -> None:
    """The plain command sends no request: it works where the server does not."""
    storages, _ = _on("moto", endpoint_url="http://127.0.0.1:9")
    with override_settings(STORAGES=storages):
        assert "127.0.0.1:9" in _info()


def test_a_probe_of_a_server_that_honours_conditional_writes_is_all_yes() -> None:
    """SeaweedFS honours Put, Complete and Copy, and nothing was left behind."""
    storages, _ = _on("seaweedfs")
    with override_settings(STORAGES=storages):
        text = _info(probe=True)
    assert text.count("  yes  ") == 4
    assert "  no   " not in text


def test_a_probe_leaves_nothing_that_a_listing_shows() -> None:
    """The marker is the store's own affair."""
    storages, server = _on("seaweedfs")
    with override_settings(STORAGES=storages):
        _info(probe=True)
        store = S3DeliveryStore(**storages["deliveries"]["OPTIONS"])
        assert list(store.scan()) == []
        assert store.listdir("") == ([], [])
        assert "is empty" in store.unavailable_reason()
    found = server.client().list_multipart_uploads(Bucket=store.bucket_name)
    assert "Uploads" not in found


def test_a_probe_of_a_server_that_ignores_them_says_so_and_fails() -> None:
    """Rclone overwrites silently: the words name the operation and the way on."""
    storages, _ = _on("rclone")
    with override_settings(STORAGES=storages):
        out = StringIO()
        with pytest.raises(CommandError):
            call_command("deliverystore_info", probe=True, stdout=out)
    assert "no   the server honours If-None-Match in put_object" in out.getvalue()
    assert "allow_races=True" in out.getvalue()


def test_a_probe_with_allow_races_tells_without_failing() -> None:
    """Who has accepted the races is told once more, by the flags."""
    storages, _ = _on("rclone", allow_races=True)
    with override_settings(STORAGES=storages):
        text = _info(probe=True)
    assert "no   the server honours If-None-Match in put_object" in text
    assert _lines(text)["cannot"] == "atomic_create, atomic_copy"


def test_a_probe_lists_uploads_that_were_left_behind() -> None:
    """A writer that was killed in the middle of a large file leaves one."""
    storages, server = _on("seaweedfs")
    with override_settings(STORAGES=storages, DELIVERY_STORE_GRACE_HOURS=0):
        store = S3DeliveryStore(**storages["deliveries"]["OPTIONS"])
        name = store.layout.key(1005, 17)
        server.client().create_multipart_upload(Bucket=store.bucket_name, Key=name)
        out = StringIO()
        with pytest.raises(CommandError):
            call_command("deliverystore_info", probe=True, stdout=out)
    assert f"(run purge_deliveries, which removes {name})" in out.getvalue()


def test_only_keys_of_the_layout_are_uploads_of_ours_without_a_location() -> None:
    """In a bucket without a prefix other applications may be in the middle of their uploads."""
    storages, server = _on("seaweedfs")
    options = storages["deliveries"]["OPTIONS"]
    bucket, client = options["bucket_name"], server.client()
    for key in ("backup.tar", "0/1/1005/17", "below/other.bin"):
        client.create_multipart_upload(Bucket=bucket, Key=key)

    def stale(store: S3DeliveryStore, before: datetime) -> list[str]:
        return sorted(store.remove_stale_uploads(before, dry_run=True))

    now = timezone.now() + timedelta(minutes=1)
    assert stale(S3DeliveryStore(**options), now) == ["0/1/1005/17"]
    assert stale(S3DeliveryStore(location="below", **options), now) == ["other.bin"]
    assert stale(S3DeliveryStore(**options), datetime(2020, 1, 1, tzinfo=now.tzinfo)) == []


def test_a_dead_server_is_told_by_probe() -> None:
    """With endpoint and bucket, in seconds."""
    storages, _ = _on("moto", endpoint_url="http://127.0.0.1:9", attempts=1)
    with override_settings(STORAGES=storages):
        out = StringIO()
        with pytest.raises(CommandError):
            call_command("deliverystore_info", probe=True, stdout=out)
    assert "The store cannot be asked" in out.getvalue()
    assert "http://127.0.0.1:9" in out.getvalue()


def test_a_deploy_check_finds_a_server_that_ignores_conditional_writes() -> None:
    """E009: an error before a site goes into production, with the way on as hint."""
    storages, _ = _on("rclone")
    with override_settings(STORAGES=storages):
        found = [each for each in _deployed() if each.id == "devilry_storage.E009"]
    assert len(found) == 3
    assert "allow_races=True" in str(found[0].hint)


def test_a_deploy_check_is_content_with_a_server_that_honours_them() -> None:
    """No message at all about a sound store on S3."""
    storages, _ = _on("seaweedfs")
    with override_settings(STORAGES=storages):
        assert _deployed() == []


def test_a_deploy_check_warns_where_the_server_cannot_be_asked() -> None:
    """W010: a build machine need not reach the store."""
    storages, _ = _on("moto", endpoint_url="http://127.0.0.1:9", attempts=1)
    with override_settings(STORAGES=storages):
        assert {each.id for each in _deployed()} == {"devilry_storage.W010"}


def test_a_deploy_check_warns_of_a_store_that_may_lose_files() -> None:
    """W011: races that were accepted, and a store for tests in production."""
    storages, _ = _on("rclone", allow_races=True)
    with override_settings(STORAGES=storages):
        found = _deployed()
    assert {each.id for each in found} == {"devilry_storage.W011"}
    assert "one may lose its file" in found[0].msg
    with override_settings(STORAGES=_stores("devilry_storage.storages.MemoryDeliveryStore")):
        assert "durable" in _deployed()[0].msg
