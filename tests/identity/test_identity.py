"""Identity of stores: a save needs the files of the rows, a removal needs the mark."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.test import TestCase
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils.module_loading import import_string

from devilry_storage.deletion import bury_orphan, purge, remove_now
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import NotAnOrphan, StoreInUse, StoreNotRecognised
from devilry_storage.identity import (
    MarkedStore,
    accept,
    accepted_at,
    before_removing,
    check_writing,
    permission,
    recognition,
)
from devilry_storage.identity.marks import note_site, read_sites
from devilry_storage.identity.stores import digests
from devilry_storage.models import StoreMark, Tombstone
from devilry_storage.resolving import store_for
from devilry_storage.testing import override_deliverystore

from ..harness.children import environment
from ..harness.identity import (
    PRODUCTION,
    STAGING,
    assert_keeps,
    assert_removes,
    delete_one,
    empty_database,
    entry_of,
    files,
    mark_uuid,
    own,
    restart,
    restored_elsewhere,
    site,
    sites,
    store_one,
    stored_in,
)
from ..harness.purging import delivered

pytestmark = pytest.mark.django_db(transaction=True)

ACCEPT = "deliverystore_identity --accept"


@pytest.fixture(
    params=[
        "disk",
        pytest.param("moto", marks=pytest.mark.servers),
        pytest.param("seaweedfs", marks=pytest.mark.servers),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def entry(kind: str, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The entry of an empty store, which all models use."""
    made = entry_of(kind, tmp_path)
    with stored_in(made):
        yield made
    restart()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The folder of an empty store on disk, which all models use."""
    made = entry_of("disk", tmp_path)
    with stored_in(made):
        yield Path(made["OPTIONS"]["location"])
    restart()


def production(count: int = 4) -> None:
    """Let production store files."""
    with site(PRODUCTION):
        delivered(**{f"f{number}": b"x" * number for number in range(1, count + 1)})


# -- Sites that may store and remove --


def _first(entry: dict[str, Any]) -> None:
    production()


def _upgraded(entry: dict[str, Any]) -> None:
    """The site has rows and files, but no mark, because it used an older version."""
    with stored_in({**entry, "OPTIONS": {**entry["OPTIONS"], "identity": False}}):
        production()
    assert mark_uuid() is None
    with site():
        store_one()


def _upgraded_and_purged_first(entry: dict[str, Any]) -> None:
    with stored_in({**entry, "OPTIONS": {**entry["OPTIONS"], "identity": False}}):
        production()
    with site():
        delete_one()
        assert [event.result for event in purge()] == ["removed"]


def _restarted(entry: dict[str, Any]) -> None:
    production()
    production()


def _mark_lost(entry: dict[str, Any]) -> None:
    production()
    _lose_mark()


def _lose_mark() -> None:
    store: Any = store_for(FileMeta)
    if hasattr(store, "remote"):
        store.remote.call("delete_object", ".devilry-storage/store.json")
    else:
        os.unlink(os.path.join(store.location, ".devilry-storage", "store.json"))


def _interrupted(entry: dict[str, Any]) -> None:
    """The process that made the mark died before it stored the site's object."""
    production()
    store: Any = store_for(FileMeta)
    (known,) = read_sites(own())
    if hasattr(store, "remote"):
        store.remote.call("delete_object", f".devilry-storage/sites/{known.digest}")
    else:
        os.unlink(os.path.join(store.location, ".devilry-storage", "sites", known.digest))


def _in_transactions(entry: dict[str, Any]) -> None:
    """Every save is in a transaction, as with ATOMIC_REQUESTS."""
    with site(), transaction.atomic():
        delivered(a=b"1", b=b"2", c=b"3")
    assert not StoreMark.objects.exists()


def _site_setting(entry: dict[str, Any]) -> None:
    with site("another", DELIVERY_STORE_SITE="ours"):
        delivered(a=b"1", b=b"2", c=b"3")


RIGHT: dict[str, tuple[Callable[[dict[str, Any]], None], dict[str, Any]]] = {
    "first site": (_first, {}),
    "upgraded, writes first": (_upgraded, {}),
    "upgraded, purges first": (_upgraded_and_purged_first, {}),
    "other process": (_restarted, {}),
    "rotated key with fallback": (_first, {"key": "new", "SECRET_KEY_FALLBACKS": [PRODUCTION]}),
    "lost mark, files there": (_mark_lost, {}),
    "maker interrupted": (_interrupted, {}),
    "always in transactions": (_in_transactions, {}),
    "setting instead of key": (_site_setting, {"key": "rotated", "DELIVERY_STORE_SITE": "ours"}),
}


@pytest.mark.parametrize("case", RIGHT)
def test_site_of_the_store_stores_and_removes(case: str, entry: dict[str, Any]) -> None:
    prepare, later = RIGHT[case]
    prepare(entry)
    known = mark_uuid()
    with site(**later):
        store_one()
        if StoreMark.objects.exists():
            assert mark_uuid() == StoreMark.objects.get().uuid
        assert_removes()
        remembered = StoreMark.objects.get()
        assert (remembered.alias, remembered.accepted) == ("deliveries", None)
        assert remembered.uuid == mark_uuid()
    assert known in {None, remembered.uuid}


def test_site_known_by_an_earlier_key_adds_its_current_one(entry: dict[str, Any]) -> None:
    production()
    with site("new", SECRET_KEY_FALLBACKS=[PRODUCTION]):
        assert_removes()
    assert sites() == 2
    with site("new"):
        assert_removes()


def test_lost_mark_is_made_again_with_the_remembered_uuid(entry: dict[str, Any]) -> None:
    production()
    known = mark_uuid()
    _lose_mark()
    with site():
        store_one()
    assert known is not None
    assert mark_uuid() == known


# -- Sites that may store, but not remove --


def _own_rows(key: str) -> Callable[[], None]:
    def prepare() -> None:
        empty_database()
        with site(key):
            delivered(a=b"1", b=b"2")

    return prepare


def _dump(*, with_memory: bool) -> Callable[[], None]:
    def prepare() -> None:
        if not with_memory:
            StoreMark.objects.all().delete()

    return prepare


STAGED: dict[str, tuple[Callable[[], None], str]] = {
    "own rows": (_own_rows(STAGING), STAGING),
    "dump": (_dump(with_memory=False), STAGING),
    "dump with memory": (_dump(with_memory=True), STAGING),
    "rotated key without fallback": (_dump(with_memory=True), "rotated"),
}


@pytest.mark.parametrize("case", STAGED)
def test_other_site_stores_but_removes_only_when_accepted(
    case: str, entry: dict[str, Any]
) -> None:
    production()
    prepare, key = STAGED[case]
    prepare()
    with site(key):
        store_one()
        assert_keeps("does not know this site", "only sites", ACCEPT)
        accept(FileMeta, "default")
        assert [event.result for event in purge()] == ["removed"]
    assert sites() == 2
    assert accepted_at(FileMeta, "default") is not None


@pytest.mark.postgres
@pytest.mark.parametrize("with_memory", [True, False])
def test_restored_dump_with_the_same_key_does_not_remove(
    with_memory: bool, entry: dict[str, Any]
) -> None:
    """On PostgreSQL a restored dump has another table OID."""
    production()
    restored_elsewhere()
    _dump(with_memory=with_memory)()
    with site(PRODUCTION):
        store_one()
        assert_keeps("does not know this site", ACCEPT)
        accept(FileMeta, "default")
        assert [event.result for event in purge()] == ["removed"]


@pytest.mark.postgres
def test_own_rows_in_another_database_with_the_same_key_do_not_remove(
    entry: dict[str, Any],
) -> None:
    production()
    restored_elsewhere()
    _own_rows(PRODUCTION)()
    with site(PRODUCTION):
        assert_keeps("does not know this site", ACCEPT)


@pytest.mark.postgres
def test_other_database_of_the_cluster_is_another_site(entry: dict[str, Any]) -> None:
    """A copy by CREATE DATABASE ... TEMPLATE has the same OIDs and the same cluster."""
    production()
    known = mark_uuid()
    assert known is not None
    here = digests(known, "default")
    name = connection.settings_dict["NAME"]
    connection.close()
    with connection._nodb_cursor() as admin:
        admin.execute(f'CREATE DATABASE copied TEMPLATE "{name}"')
        try:
            connection.settings_dict["NAME"] = "copied"
            assert digests(known, "default") != here
        finally:
            connection.close()
            connection.settings_dict["NAME"] = name
            admin.execute("DROP DATABASE copied")
    assert digests(known, "default") == here


@pytest.mark.postgres
def test_site_is_recognised_without_pg_control_system(
    entry: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A warning is logged, and the rest identifies the site."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE limited; GRANT ALL ON SCHEMA public TO limited")
        cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO limited")
        cursor.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO limited")
        cursor.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        cursor.execute("SET ROLE limited")
    try:
        production()
        with site():
            assert_removes()
        assert "may not execute pg_control_system()" in caplog.text
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE; GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")
            cursor.execute("DROP OWNED BY limited; DROP ROLE limited")


def _after_commit() -> str:
    with override_settings(DELIVERY_STORE_RETENTION_DAYS=0):
        FileMeta.objects.order_by("pk")[0].delete()
    return ""


def _remove_now() -> str:
    FileMeta.objects.order_by("pk")[0].delete()
    return " ".join(event.reason for event in remove_now(Tombstone.objects.all()))


def _bury_orphan() -> str:
    row = FileMeta.objects.order_by("pk")[0]
    FileMeta.objects.filter(pk=row.pk)._raw_delete("default")
    with pytest.raises(NotAnOrphan) as raised:
        bury_orphan(FileMeta, row.content.name, using="default")
    return str(raised.value)


@pytest.mark.parametrize("remove", [_after_commit, _remove_now, _bury_orphan])
def test_other_site_removes_nothing(
    remove: Callable[[], str], entry: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    production()
    before = files()
    with site(STAGING):
        output = remove()
        assert "does not know this site" in output + caplog.text
        assert ACCEPT in output + caplog.text
        assert files() == before


def test_copy_of_rows_and_files_stores_but_does_not_remove(root: Path, tmp_path: Path) -> None:
    """A laptop has a dump, and a copy of the folder with the same mark."""
    production()
    copy = tmp_path / "laptop"
    shutil.copytree(root, copy)
    options = {"location": str(copy)}
    entry = entry_of("disk", tmp_path, **options)
    with stored_in(entry), site(STAGING):
        store_one()
        assert_keeps("does not know this site", ACCEPT)
        accept(FileMeta, "default")
        assert [event.result for event in purge()] == ["removed"]


def test_store_with_another_mark_keeps_files(entry: dict[str, Any]) -> None:
    """Files are stored, because those of the rows are there; but a removal needs the mark."""
    production()
    StoreMark.objects.update(uuid=uuid.uuid4())
    with site():
        store_one()
        assert_keeps("but this database remembers", ACCEPT)
        accept(FileMeta, "default")
        assert [event.result for event in purge()] == ["removed"]


# -- Accepting --


@pytest.mark.parametrize(("days", "refused"), [(0, True), (6, True), (8, False)])
def test_accept_is_refused_while_another_site_removes(
    days: int, refused: bool, entry: dict[str, Any]
) -> None:
    production()
    (known,) = read_sites(own())
    note_site(own(), known.digest, datetime.now(timezone.utc) - timedelta(days=days))
    with site(STAGING):
        if refused:
            with pytest.raises(StoreInUse, match="--accept --force"):
                accept(FileMeta, "default")
            assert sites() == 1
            assert accepted_at(FileMeta, "default") is None
            accept(FileMeta, "default", force=True)
        else:
            accept(FileMeta, "default")
        assert_removes()
    with site(PRODUCTION):
        assert_removes()


def test_accept_without_a_mark_is_refused_while_another_site_removes(
    entry: dict[str, Any],
) -> None:
    production()
    (known,) = read_sites(own())
    note_site(own(), known.digest, datetime.now(timezone.utc))
    _lose_mark()
    with site(STAGING), pytest.raises(StoreInUse):
        accept(FileMeta, "default")
    assert mark_uuid() is None


def test_accept_makes_a_missing_mark_with_the_remembered_uuid(entry: dict[str, Any]) -> None:
    production()
    known = mark_uuid()
    _lose_mark()
    with site():
        accept(FileMeta, "default")
    assert known is not None
    assert mark_uuid() == known


def test_purge_that_removes_nothing_is_not_noted(entry: dict[str, Any]) -> None:
    """A purge without due files is not noted, nor is one that is refused."""
    production(count=4)
    with site():
        assert list(purge()) == []
        delete_one()
        for row in FileMeta.objects.all()[:2]:
            store_for(FileMeta).delete(row.content.name)
        assert [event.result for event in purge()] == ["refused"]
        (known,) = read_sites(own())
        assert known.removed is None


def test_removing_is_noted_once_a_day(entry: dict[str, Any]) -> None:
    production()
    with site():
        assert_removes()
        (noted,) = read_sites(own())
        assert noted.removed is not None
        assert datetime.now(timezone.utc) - noted.removed < timedelta(minutes=1)
        assert_removes()
        assert list(read_sites(own())) == [noted]
        earlier = noted.removed - timedelta(days=2)
        note_site(own(), noted.digest, earlier)
        assert_removes()
        (again,) = read_sites(own())
        assert again.removed is not None
        assert again.removed > noted.removed


# -- Wrong stores --


def _row(delivery: Delivery) -> FileMeta:
    row: FileMeta = FileMeta.objects.get_or_create(delivery=delivery, filename="a")[0]
    return row


def _save(row: FileMeta) -> None:
    row.content.save("a.txt", ContentFile(b"data"))


def _write_open(row: FileMeta) -> None:
    with store_for(FileMeta).write_open(row) as writer:
        writer.write(b"data")


WAYS: dict[str, Callable[[Delivery], object]] = {
    "add_file": lambda delivery: delivery.add_file("a.txt", b"data"),
    "add_files": lambda delivery: delivery.add_files({"a.txt": b"data", "b.txt": b"data"}),
    "save": lambda delivery: _save(_row(delivery)),
    "write_open": lambda delivery: _write_open(_row(delivery)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("restarted", [False, True])
def test_save_on_unmounted_disk_is_refused(way: str, restarted: bool, root: Path) -> None:
    """The database remembers the mark, so that a new process refuses the save, too."""
    production()
    away = root.with_name("unmounted")
    with site():
        delivery = Delivery.begin(AssignmentGroup.objects.get())
        if not restarted:
            store_one()
        root.rename(away)
        root.mkdir()
        with pytest.raises(StoreNotRecognised, match=ACCEPT) as raised:
            WAYS[way](delivery)
        assert "has no mark" in str(raised.value)
        assert list(root.iterdir()) == []
        root.rmdir()
        away.rename(root)
        WAYS[way](delivery)
        assert_removes()


def test_save_on_unmounted_disk_is_refused_without_rows(root: Path) -> None:
    """The remembered mark is missing. --accept permits saves."""
    production()
    with site():
        Delivery.objects.all().delete()
        root.rename(root.with_name("away"))
        root.mkdir()
        restart()
        with pytest.raises(StoreNotRecognised, match=ACCEPT):
            store_one()
        assert list(root.iterdir()) == []
        accept(FileMeta, "default")
        store_one()


def test_copy_of_a_delivery_on_unmounted_disk_is_refused(root: Path) -> None:
    production()
    with site():
        source, target = Delivery.objects.get(), AssignmentGroup.objects.get()
        store_one()
        for name in files():
            os.unlink(root / name)
        _lose_mark()
        restart()
        with pytest.raises(StoreNotRecognised):
            source.copy(target)


def test_ordinary_name_is_not_stored_on_an_unmounted_disk(root: Path) -> None:
    """A file without a row is refused, too, once the mark is known."""
    production()
    with site():
        store_one()
        root.rename(root.with_name("unmounted"))
        root.mkdir()
        with pytest.raises(StoreNotRecognised, match="Mount the disk"):
            store_for(FileMeta).save("avatars/me.png", ContentFile(b"png"))
        assert list(root.iterdir()) == []


def test_copy_of_the_rows_alone_is_refused_until_forced(
    entry: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    """The new location has none of the files."""
    production()
    with stored_in(entry_of(kind, tmp_path)), site():
        for _ in range(2):
            with pytest.raises(StoreNotRecognised, match=ACCEPT):
                store_one()
        assert (files(), mark_uuid()) == (set(), None)
        assert_keeps("none of the newest", ACCEPT)
        with pytest.raises(StoreNotRecognised, match="--accept --force"):
            accept(FileMeta, "default")
        assert (mark_uuid(), StoreMark.objects.filter(accepted__isnull=False).count()) == (None, 0)
        accept(FileMeta, "default", force=True)
        store_one()


def test_other_prefix_of_the_bucket_is_refused(
    entry: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    production()
    other = {**entry["OPTIONS"]}
    other["location"] = "elsewhere" if kind != "disk" else f"{other['location']}/elsewhere"
    with stored_in({**entry, "OPTIONS": other}), site():
        with pytest.raises(StoreNotRecognised):
            store_one()
        assert files() == set()


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_save_needs_half_of_the_newest_files(kept: int, entry: dict[str, Any]) -> None:
    words = {0: "none", 1: "only 1"}
    production(count=4)
    _lose_mark()
    store = store_for(FileMeta)
    for name in sorted(files())[kept:]:
        store.delete(name)
    with site():
        if kept >= 2:
            store_one()
        else:
            with pytest.raises(StoreNotRecognised, match=f"{words[kept]} of the newest 4 files"):
                store_one()


def test_emptied_store_removes_nothing(entry: dict[str, Any]) -> None:
    """No row is left whose file could be missing, but the remembered mark is missing."""
    production(count=2)
    with site():
        for row in FileMeta.objects.all():
            row.delete()
        _lose_mark()
        store_for(FileMeta).delete_many(files())
        Delivery.objects.all().delete()
        assert "has no mark" in before_removing(FileMeta, "default").problem
        assert ACCEPT in before_removing(FileMeta, "default").problem
        assert mark_uuid() is None


def test_store_that_never_had_a_mark_and_is_empty_removes_nothing(entry: dict[str, Any]) -> None:
    assert "no file that the database records" in before_removing(FileMeta, "default").problem
    assert mark_uuid() is None


def test_two_aliases_of_one_store_remove_nothing(
    entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    production()
    from tests.testapp.models import Note

    with stored_in(entry, again=entry):
        monkeypatch.setattr(Note._meta.get_field("content"), "given_storage", "again")
        with site():
            Note(filename="n").content.save("n.txt", ContentFile(b"note"))
            assert StoreMark.objects.count() == 2
            assert_keeps("name the same store", "'again'")


@pytest.mark.parametrize("restarted", [False, True])
def test_missing_folder_of_temp_files_is_created(restarted: bool, root: Path) -> None:
    """Some tools do not copy empty folders."""
    production()
    with site():
        store_one()
        shutil.rmtree(root / ".devilry-storage" / "tmp")
        if restarted:
            restart()
        store_one()
        store_for(FileMeta).save("avatars/me.png", ContentFile(b"png"))
        assert_removes()


def test_store_made_at_each_use_is_recognised(
    entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callable ``storage=`` may return a new store at each use."""
    field = FileMeta._meta.get_field("content")
    monkeypatch.setattr(field, "given_storage", lambda: _new_store(entry))
    with site():
        delivered(a=b"1", b=b"2")
        assert StoreMark.objects.get().alias == "devilry_deliveries.filemeta"
        assert_removes()


def _new_store(entry: dict[str, Any]) -> Any:
    return import_string(entry["BACKEND"])(**entry["OPTIONS"])


# -- Stores that fail --


INVALID = {
    "truncated": b'{"version": 1, "uuid": "',
    "empty": b"",
    "not JSON": b"<html>",
    "list": b"[]",
    "no UUID": b'{"version": 1, "layout": "HierLayout", "interval": 1000}',
}

CHANGED: dict[str, Any] = {
    "version": 2,
    "uuid": "not a UUID",
    "created": "2026-01-01T00:00:00",
    "site": "not a digest",
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_mark_stops_removing_not_storing(
    case: str, entry: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    production()
    own().replace("store.json", INVALID[case])
    with site():
        store_one()
        assert "store.json" in caplog.text
        assert_keeps("the store cannot be checked", "store.json")
    assert own().read("store.json") == INVALID[case][:4097]


@pytest.mark.parametrize("field", CHANGED)
def test_mark_with_an_invalid_field_is_invalid(field: str, root: Path) -> None:
    production()
    mark = root / ".devilry-storage" / "store.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), field: CHANGED[field]}))
    assert "the store cannot be checked" in before_removing(FileMeta, "default").problem


def test_mark_that_is_too_long_is_invalid(root: Path) -> None:
    production()
    mark = root / ".devilry-storage" / "store.json"
    mark.write_text(mark.read_text() + " " * 5000)
    assert "longer than 4096 bytes" in before_removing(FileMeta, "default").problem


def test_unreadable_mark_stops_removing_not_storing(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The mark is a symlink, which is not followed."""
    production()
    mark = root / ".devilry-storage" / "store.json"
    mark.unlink()
    mark.symlink_to(root / "elsewhere")
    with site():
        store_one()
        store_one()
        assert caplog.text.count("cannot be recognised") == 1
        assert_keeps("the store cannot be checked")


# -- Stores without identity --


def test_store_without_the_option_has_no_mark(entry: dict[str, Any]) -> None:
    with stored_in({**entry, "OPTIONS": {**entry["OPTIONS"], "identity": False}}), site():
        delivered(a=b"1", b=b"2")
        assert not StoreMark.objects.exists()
        assert_removes()
    assert mark_uuid() is None


def test_overridden_store_has_no_mark(entry: dict[str, Any]) -> None:
    store = store_for(FileMeta)
    with override_deliverystore(store, model=FileMeta), site():
        delivered(a=b"1", b=b"2")
        assert not StoreMark.objects.exists()
        assert mark_uuid() is None
        assert_removes()


class InTestCase(TestCase):
    """Tests of a site, whose rows are never committed."""

    def test_nothing_is_made_or_remembered(self) -> None:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            stack.enter_context(stored_in(entry_of("disk", Path(folder))))
            stack.enter_context(site())
            delivered(a=b"1", b=b"2")
            assert_removes()
            assert not StoreMark.objects.exists()
            assert mark_uuid() is None

    def test_fixtures_without_files_do_not_stop_saves(self) -> None:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            stack.enter_context(stored_in(entry_of("disk", Path(folder))))
            delivered(a=b"1", b=b"2")
            store_for(FileMeta).delete_many(files())
            store_one()
            assert len(files()) == 1


def test_marked_folder_emptied_by_tests_is_used_again(root: Path) -> None:
    """A TransactionTestCase leaves a mark, removes the folder and flushes the database."""
    production()
    with site():
        store_one()
        shutil.rmtree(root)
        empty_database()
        store_one()
        assert mark_uuid() is not None


def test_databases_of_parallel_tests_share_a_location(entry: dict[str, Any]) -> None:
    """With pytest-xdist, each worker has its own database, and all have the same store."""
    for _ in range(3):
        with site():
            delivered(a=b"1", b=b"2")
            assert_removes()
        empty_database()
    assert sites() == 1


def test_tenant_with_a_location_of_its_own_is_a_new_site(
    entry: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    production()
    first = mark_uuid()
    empty_database()
    with stored_in(entry_of(kind, tmp_path)), site():
        delivered(a=b"1", b=b"2")
        assert mark_uuid() not in {None, first}
        assert_removes()


# -- Races --


WRITER = """
import django, json, sys
django.setup()
from django.conf import settings
from django.test.utils import override_settings
from devilry_storage.deliveries.models import AssignmentGroup, Delivery

sys.stdin.readline()
with override_settings(STORAGES=json.loads(sys.argv[1])):
    delivery = Delivery.begin(AssignmentGroup.objects.get())
    delivery.add_file("a.txt", b"data")
print("stored")
"""


def test_concurrent_first_saves_make_one_mark(entry: dict[str, Any]) -> None:
    AssignmentGroup.objects.create(name="group")
    stores = json.dumps(
        {
            "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
            "deliveries": entry,
        }
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, stores],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    output = [writer.communicate(timeout=60)[0] for writer in writers]
    assert output == ["stored\n"] * 4
    assert StoreMark.objects.get().uuid == mark_uuid()
    assert sites() == 1
    assert FileMeta.objects.count() == 4


@pytest.mark.parametrize(
    ("owner", "name"), [(recognition, "read_mark"), (MarkedStore, "remembered")]
)
def test_concurrent_save_makes_the_mark_between_two_reads(
    root: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    """Another process makes and remembers the mark after this one has read."""
    read = getattr(owner, name)

    def read_then_save_concurrently(argument: Any) -> Any:
        seen = read(argument)
        monkeypatch.undo()
        check_writing(FileMeta, "default")
        return seen

    monkeypatch.setattr(owner, name, read_then_save_concurrently)
    check_writing(FileMeta, "default")
    assert StoreMark.objects.get().uuid == mark_uuid()


# -- Costs and contents --


def test_save_in_steady_state_sends_no_additional_statement(entry: dict[str, Any]) -> None:
    """The same statements as with ``identity=False``."""

    def statements() -> list[str]:
        delivery = Delivery.begin(AssignmentGroup.objects.get())
        with CaptureQueriesContext(connection) as context:
            delivery.add_file("a.txt", b"data")
        return [query["sql"].split()[0] for query in context.captured_queries]

    production()
    with site():
        store_one()
        steady = statements()
    with stored_in({**entry, "OPTIONS": {**entry["OPTIONS"], "identity": False}}), site():
        assert statements() == steady


def test_own_objects_are_in_no_listing(entry: dict[str, Any]) -> None:
    with site():
        delivery = store_one()
        assert sites() == 1
        delivery.delete()
    store: Any = store_for(FileMeta)
    store.delete_many(files())
    assert list(store.scan()) == []
    if hasattr(store, "remote"):
        assert store.unavailable_reason().startswith("the store is empty")
    shown = store.page("")
    assert ".devilry-storage" not in {*shown.folders, *(found.name for found in shown.files)}
    folders, names = store.listdir("")
    assert ".devilry-storage" not in {*folders, *names}
    with pytest.raises(ValueError, match="own"):
        store.open(".devilry-storage/store.json")


def test_mark_names_layout_and_interval(entry: dict[str, Any]) -> None:
    production()
    data = own().read("store.json")
    assert data is not None
    mark = json.loads(data)
    assert (mark["layout"], mark["interval"]) == ("HierLayout", 1000)
    assert set(mark) == {"version", "uuid", "layout", "interval", "created", "site"}


def test_check_is_repeated_if_the_folder_is_replaced(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = []
    settle = recognition.settle

    def counted(found: Any, **how: Any) -> Any:
        checks.append(found)
        return settle(found, **how)

    monkeypatch.setattr(permission, "settle", counted)
    production()
    with site():
        store_one()
        store_one()
        assert len(checks) == 2  # in production(), and after the restart
        away = root.with_name("away")
        root.rename(away)
        shutil.copytree(away, root)
        store_one()
        store_one()
    assert len(checks) == 3


def test_warning_is_logged_for_another_mark_with_the_files(
    entry: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    production()
    StoreMark.objects.update(uuid=uuid.uuid4())
    with caplog.at_level(logging.WARNING, "devilry_storage"), site():
        store_one()
    assert "but this database remembers" in caplog.text
