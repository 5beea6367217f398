"""The command deliverystore_info, and the deploy checks of stores and their servers."""

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
    """A store of a site's own."""


def _stores(backend: str, **options: Any) -> dict[str, Any]:
    return {"default": FILESYSTEM, "deliveries": {"BACKEND": backend, "OPTIONS": options}}


def _info(**options: Any) -> str:
    """Return the output about the store of FileMeta, which comes first."""
    out = StringIO()
    call_command("deliverystore_info", stdout=out, **options)
    return out.getvalue().partition("\n\n")[0]


def _lines(text: str) -> dict[str, str]:
    """Return the text after the first word of each line, by that word."""
    pairs = (line.split(maxsplit=1) for line in text.splitlines() if line.startswith("  "))
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _on(name: str, **more: Any) -> tuple[dict[str, Any], Any]:
    """Return STORAGES with a store on a fresh bucket of a server, and the server."""
    server = s3servers.need(name)
    return _stores(S3, **{**server.options(server.bucket()), **more}), server


def _deployed() -> list[CheckMessage]:
    messages = store_checks.check_stores_deployed()
    return [message for message in messages if message.obj is FileMeta]


def test_info_describes_a_store_on_disk(tmp_path: Path) -> None:
    """It shows models, alias, class, location, capabilities, options and free space."""
    (tmp_path / "store").mkdir()
    options = {"location": str(tmp_path / "store"), "interval": 7, "file_permissions_mode": 0o640}
    with override_settings(
        STORAGES=_stores("devilry_storage.storages.FsHierDeliveryStore", **options)
    ):
        text = _info()
    lines = _lines(text)
    assert "devilry_deliveries.FileMeta" in text.splitlines()[0]
    assert lines["alias"] == "deliveries"
    assert lines["backend"] == "devilry_storage.storages.filesystem.FsHierDeliveryStore"
    assert lines["location"] == str(tmp_path / "store")
    assert lines["capabilities"].split(", ")[:2] == ["atomic_create", "whole_or_absent"]
    assert "B" in lines["free"]
    assert "option        interval = 7" in text
    assert "option        durable = True" in text
    assert "option        file_permissions_mode = 0o640" in text
    assert "option        directory_permissions_mode = None" in text


def test_info_shows_no_free_space_of_a_missing_folder(tmp_path: Path) -> None:
    """The first save makes the folder; until then its disk is unknown."""
    backend = "devilry_storage.storages.FsHierDeliveryStore"
    with override_settings(STORAGES=_stores(backend, location=str(tmp_path / "store"))):
        assert "free" not in _lines(_info())


def test_info_shows_lacking_capabilities() -> None:
    """Flags that are False have their own line."""
    with override_settings(STORAGES=_stores("devilry_storage.testing.MemoryDeliveryStore")):
        assert _lines(_info())["lacks"] == "durable, bounded_memory"


def test_info_fails_for_a_model_without_a_store() -> None:
    """A cron job that checks the exit code notices."""
    with override_settings(STORAGES={"default": FILESYSTEM}):
        out = StringIO()
        with pytest.raises(CommandError, match=r"^1 problem found"):
            call_command("deliverystore_info", stdout=out)
        assert "No delivery store is configured" in out.getvalue()


def test_info_hides_options_that_may_be_secret() -> None:
    """Keys, and options that may contain one, appear as ``set``; harmless values are shown."""
    parameters = {"CacheControl": "private", "SSECustomerKey": "hidden-key-of-the-site"}
    storages, server = _on("moto", object_parameters=parameters, location="below")
    with override_settings(STORAGES=storages):
        text = _info()
    assert "option        secret_key = set" in text
    assert "option        access_key = set" in text
    assert "option        object_parameters = set" in text
    assert "option        location = below" in text
    assert server.secret_key not in text
    assert server.access_key not in text
    assert "hidden-key-of-the-site" not in text


def test_info_hides_options_of_unknown_stores() -> None:
    """Only values that are known to be harmless are shown."""
    backend = f"{__name__}.Theirs"
    with override_settings(STORAGES=_stores(backend, location="secret-folder")):
        text = _info()
    assert "option        location = set" in text
    assert "secret-folder" not in text


def test_info_sends_no_request_without_probe() -> None:
    """It works while the server does not."""
    storages, _ = _on("moto", endpoint_url="http://127.0.0.1:9")
    with override_settings(STORAGES=storages):
        assert "127.0.0.1:9" in _info()


def test_probe_passes_if_the_server_honours_conditional_writes() -> None:
    """The output says which way the store uses. What it does not use may fail without a remedy."""
    storages, _ = _on("moto", server_side_copy=False)
    with override_settings(STORAGES=storages):
        text = _info(probe=True)
    assert text.count("  yes  ") + text.count("  no   ") == 14
    assert "  yes  files above 8.0\xa0MB and copies get random names" in text
    assert "  no   files can be copied right after their upload" in text
    assert "  no   copy_object is conditional and atomic" in text
    assert "set the option" not in text


def test_probe_uses_other_endpoints() -> None:
    """An endpoint that does not respond is a result. Without --probe it is an error."""
    storages, _ = _on("moto", attempts=1)
    endpoint = ["http://127.0.0.1:9"]
    with override_settings(STORAGES=storages):
        out = StringIO()
        with pytest.raises(CommandError):
            call_command("deliverystore_info", probe=True, endpoint=endpoint, stdout=out)
        with pytest.raises(CommandError, match="add --probe"):
            call_command("deliverystore_info", endpoint=endpoint)
    assert "no   every endpoint responds: head_object of" in out.getvalue()
    assert "http://127.0.0.1:9" in out.getvalue()


def test_probe_leaves_no_listed_file() -> None:
    """The marker is an object of the store's own."""
    storages, server = _on("seaweedfs")
    with override_settings(STORAGES=storages):
        _info(probe=True)
        store = S3DeliveryStore(**storages["deliveries"]["OPTIONS"])
        assert list(store.scan()) == []
        assert store.listdir("") == ([], [])
        assert "is empty" in store.unavailable_reason()
    found = server.client().list_multipart_uploads(Bucket=store.bucket_name)
    assert "Uploads" not in found


def test_probe_fails_if_the_server_ignores_conditional_writes() -> None:
    """Rclone overwrites silently: the output names the operation and the remedy."""
    storages, _ = _on("rclone")
    with override_settings(STORAGES=storages):
        out = StringIO()
        with pytest.raises(CommandError):
            call_command("deliverystore_info", probe=True, stdout=out)
    assert "no   the server honours If-None-Match in put_object" in out.getvalue()
    assert "(use another server: the store stores no small file on this one)" in out.getvalue()


def test_probe_lists_unfinished_uploads() -> None:
    """A writer that is killed while it stores a large file leaves one."""
    storages, server = _on("seaweedfs")
    with override_settings(STORAGES=storages, DELIVERY_STORE_GRACE_HOURS=0):
        store = S3DeliveryStore(**storages["deliveries"]["OPTIONS"])
        name = store.layout.key(1005, 17)
        server.client().create_multipart_upload(Bucket=store.bucket_name, Key=name)
        out = StringIO()
        with pytest.raises(CommandError, match=r"^1 problem found \(see above\)\.$"):
            call_command("deliverystore_info", probe=True, stdout=out)
    assert f"(run purge_deliveries, which removes {name})" in out.getvalue()


def test_stale_uploads_without_location_are_keys_only() -> None:
    """In a bucket without a prefix, other applications may be uploading, too."""
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


def test_probe_reports_a_server_that_does_not_respond() -> None:
    """The output names the endpoint."""
    storages, _ = _on("moto", endpoint_url="http://127.0.0.1:9", attempts=1)
    with override_settings(STORAGES=storages):
        out = StringIO()
        with pytest.raises(CommandError):
            call_command("deliverystore_info", probe=True, stdout=out)
    assert "The store cannot be checked" in out.getvalue()
    assert "http://127.0.0.1:9" in out.getvalue()


def test_deploy_check_reports_ignored_conditional_writes() -> None:
    """E009 is an error, with the remedy as hint."""
    storages, _ = _on("rclone")
    with override_settings(STORAGES=storages):
        found = [message for message in _deployed() if message.id == "devilry_storage.E009"]
    assert len(found) == 1
    assert str(found[0].hint).startswith("Use another server")


def test_deploy_check_passes_for_a_store_on_s3() -> None:
    """The server honours conditional writes."""
    storages, _ = _on("seaweedfs")
    with override_settings(STORAGES=storages):
        assert _deployed() == []


def test_deploy_check_warns_if_the_server_does_not_respond() -> None:
    """W010 is a warning: a build machine need not reach the store."""
    storages, _ = _on("moto", endpoint_url="http://127.0.0.1:9", attempts=1)
    with override_settings(STORAGES=storages):
        assert {message.id for message in _deployed()} == {"devilry_storage.W010"}


def test_deploy_check_warns_of_stores_that_may_lose_files() -> None:
    """W011 is about stores for tests, for example."""
    with override_settings(STORAGES=_stores("devilry_storage.testing.MemoryDeliveryStore")):
        (found,) = _deployed()
    assert found.id == "devilry_storage.W011"
    assert "durable" in found.msg
