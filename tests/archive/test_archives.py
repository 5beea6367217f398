"""Archives: their content, their length and the permissions to download them."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import subprocess
import unicodedata
import zipfile
from datetime import datetime, timedelta
from datetime import timezone as zones
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.db import connection, models
from django.http import Http404
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.urls import reverse
from django.utils import timezone

from devilry_storage.abstract_models.filemeta import FileMetaQuerySet
from devilry_storage.archive import latest_deliveries, of_deliveries, of_files, of_folder, paths
from devilry_storage.archive.entries import local_date
from devilry_storage.archive.paths import FILE_BYTES, ArchivePaths, UniqueNames, clean
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import ArchiveTooLarge
from devilry_storage.models import AbstractDelivery, AbstractFileMeta
from devilry_storage.names import validate_filename
from devilry_storage.resolving import store_for
from devilry_storage.schema import related_model
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.views import GroupArchiveView, LatestArchiveView

from ..admin.pages import url_for
from ..harness import machine
from ..harness.users import make_superuser, make_user
from ..testapp.models import (
    Club,
    Course,
    Handout,
    MarkedFile,
    Note,
    Paper,
    ProxyFile,
    Reading,
    Report,
    Shift,
    Station,
)

LABEL = "devilry_deliveries.delivery"


def deliver(group: Any, files: dict[str, Any]) -> Delivery:
    delivery = Delivery.begin(group)
    delivery.add_files(files)
    delivery.finish()
    return delivery


def opened(archive: Any) -> zipfile.ZipFile:
    """Return the archive as a ZipFile, after checking its announced length."""
    data = b"".join(archive)
    assert len(data) == archive.length
    zipped = zipfile.ZipFile(io.BytesIO(data))
    assert zipped.testzip() is None
    return zipped


@pytest.fixture
def group(db: None) -> Any:
    return AssignmentGroup.objects.create(name="Anna & Bjarne")


# -- Names --


def test_names_are_valid_on_every_system() -> None:
    """Without separators, device names, trailing dots and invisible characters."""
    cleaned = {
        "a.txt": "a.txt",
        'a<b>:"c|d?*.txt': "a_b___c_d__.txt",
        "../../etc/passwd": ".._.._etc_passwd",
        "a\\b": "a_b",
        "trailing. . ": "trailing",
        "..": "file",
        " ": "file",
        "-": "_-",
        "CON": "_CON",
        "con.txt": "_con.txt",
        "Com1.tar.gz": "_Com1.tar.gz",
        "LPT² .x": "_LPT² .x",
        "console.txt": "console.txt",
        "e\u0301.txt": "é.txt",
        "gpj\u202eexe.txt": "gpjexe.txt",
        ".htaccess": ".htaccess",
        "\ud800.txt": "_.txt",
        "a.txt\u037e1": "a.txt_1",  # the Greek question mark, which is a semicolon in NFC
        "e\u200d\u0301.txt": "é.txt",
    }
    assert {name: clean(name, FILE_BYTES, "file") for name in cleaned} == cleaned


def test_long_names_keep_their_extension() -> None:
    """They are truncated between characters, to the maximum number of bytes."""
    name = clean("é" * 300 + ".tar", FILE_BYTES, "file")
    assert len(name.encode()) <= FILE_BYTES
    assert name.endswith("é.tar")


@pytest.mark.parametrize(("count", "kept"), [(59, 59), (60, 60), (61, 60), (119, 60)])
def test_name_limit_counts_bytes(count: int, kept: int) -> None:
    """As file systems do. A name of exactly the limit is unchanged."""
    assert clean("\u00e9" * count, FILE_BYTES, "file") == "\u00e9" * kept


def test_names_equal_on_some_system_are_numbered() -> None:
    """File systems may ignore case, composition and width."""
    names = UniqueNames()
    given = ["a.txt", "A.TXT", "a.txt", "é", "E\u0301", "ß", "SS"]
    assert [names.add(name) for name in given] == [
        *("a.txt", "A (2).TXT", "a (3).txt"),
        *("é", "E\u0301 (2)", "ß", "SS (2)"),
    ]


def test_numbering_many_equal_names_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbering continues with the last number instead of trying all numbers."""
    tried = 0

    def counting(name: str) -> str:
        nonlocal tried
        tried += 1
        return folded(name)

    folded = paths._folded
    monkeypatch.setattr(paths, "_folded", counting)
    names, count = UniqueNames(["a (7).txt"]), 2000
    given = [names.add(name) for name in ("a.txt", "A.txt") * (count // 2)]
    assert len({folded(name) for name in given}) == count
    assert given[:3] == ["a.txt", "A (2).txt", "a (3).txt"]
    assert given[5:7] == ["A (6).txt", "a (8).txt"]
    assert tried <= 4 * count


def test_folders_with_equal_names_are_numbered() -> None:
    """Groups may have the same name, or the name of a file of the archive itself."""
    paths = ArchivePaths(["SHA256SUMS"])
    assert paths.add_file([(1, "group"), (1, "1")], "a") == "group/1/a"
    assert paths.add_file([(2, "Group"), (2, "1")], "a") == "Group (2)/1/a"
    assert paths.add_file([(1, "group"), (1, "1")], "A") == "group/1/A (2)"
    assert paths.add_file([(3, "sha256sums")], "a") == "sha256sums (2)/a"


# -- Contents --


def test_archive_contains_files_and_checksums(group: Any) -> None:
    """By group, number and filename, with the time of the delivery."""
    delivery = deliver(group, {"a.txt": b"one", "empty": b"", "ø.txt": b"two"})
    zipped = opened(of_deliveries(Delivery.objects.all()))
    files = {name: zipped.read(name) for name in zipped.namelist()}
    assert zipped.namelist()[0] == "REPORT.txt"
    assert b"All files were verified" in files.pop("REPORT.txt")
    top = "Anna & Bjarne/1"
    sums = files.pop("SHA256SUMS").decode()
    assert files == {f"{top}/a.txt": b"one", f"{top}/empty": b"", f"{top}/ø.txt": b"two"}
    assert sums == "".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()
    )
    info = zipped.getinfo(f"{top}/a.txt")
    local = timezone.localtime(delivery.time_of_delivery).timetuple()[:6]
    assert info.date_time == (*local[:5], local[5] // 2 * 2)
    assert info.compress_type == zipfile.ZIP_STORED


def test_missing_files_are_listed(group: Any) -> None:
    """They are left out; all others are included, and sha256sum reports them."""
    delivery = deliver(group, {"a": b"aaa", "b": b"bbb", "c": b"ccc"})
    gone, torn, _whole = delivery.files
    store: Any = store_for(gone)
    store.delete(gone.content.name)
    FileMeta.objects.filter(pk=torn.pk).update(size=5)
    archive = of_deliveries(Delivery.objects.all())
    zipped = opened(archive)
    top = "Anna & Bjarne/1"
    assert (archive.missing, archive.damaged) == ([f"{top}/a"], [f"{top}/b.DAMAGED"])
    assert zipped.namelist() == [*("REPORT.txt", f"{top}/c", "SHA256SUMS"), f"{top}/b.DAMAGED"]
    assert zipped.read(f"{top}/b.DAMAGED") == b"bbb\0\0"
    report = zipped.read("REPORT.txt").decode()
    assert re.findall("^  (.*)", report, re.MULTILINE) == [f"{top}/a", f"{top}/b.DAMAGED"]
    sums = zipped.read("SHA256SUMS").decode()
    assert f"{hashlib.sha256(b'aaa').hexdigest()}  {top}/a\n" in sums


def test_size_of_row_without_size_is_looked_up(group: Any) -> None:
    """The file is included and counts towards the limit."""
    delivery = deliver(group, {"a": b"aaa", "b": b"bbb", "c": b"ccc"})
    unknown, gone, _known = delivery.files
    FileMeta.objects.filter(pk__in=[unknown.pk, gone.pk]).update(size=None)
    store: Any = store_for(gone)
    store.delete(gone.content.name)
    with override_settings(DELIVERY_STORE_ARCHIVE_MAX_BYTES=6):
        archive = of_deliveries(Delivery.objects.all())
    assert archive.missing == ["Anna & Bjarne/1/b"]
    zipped = opened(archive)
    assert zipped.read("Anna & Bjarne/1/a") == b"aaa"
    assert zipped.read("Anna & Bjarne/1/c") == b"ccc"
    with (
        override_settings(DELIVERY_STORE_ARCHIVE_MAX_BYTES=5),
        pytest.raises(ArchiveTooLarge, match="'5' bytes"),
    ):
        of_deliveries(Delivery.objects.all())


def test_missing_checksum_is_computed(group: Any) -> None:
    """While the file is sent."""
    deliver(group, {"a": b"aaa"})
    FileMeta.objects.update(sha256="")
    zipped = opened(of_files(FileMeta.objects.all()))
    assert zipped.read("SHA256SUMS").startswith(hashlib.sha256(b"aaa").hexdigest().encode())


def test_archive_above_a_limit_is_rejected(group: Any) -> None:
    """Limits are inclusive, and checked before the archive is started."""
    deliver(group, {"a": b"aaa", "b": b"bbb"})
    with override_settings(DELIVERY_STORE_ARCHIVE_MAX_FILES=2, DELIVERY_STORE_ARCHIVE_MAX_BYTES=6):
        opened(of_deliveries(Delivery.objects.all()))
    for name, limit in (("FILES", 1), ("BYTES", 5)):
        with (
            override_settings(**{f"DELIVERY_STORE_ARCHIVE_MAX_{name}": limit}),
            pytest.raises(ArchiveTooLarge, match=f"'{limit}'"),
        ):
            of_deliveries(Delivery.objects.all())


def test_folder_archive_contains_all_stored_files(group: Any) -> None:
    """With and without a row."""
    delivery = deliver(group, {"a": b"aaa"})
    store: Any = store_for(FileMeta)
    folder = store.layout.folder(delivery.pk)
    store.save(f"{folder}/notes.txt", io.BytesIO(b"x"))
    zipped = opened(of_folder(store, folder))
    name = delivery.files[0].content.name.rpartition("/")[2]
    assert zipped.namelist() == ["REPORT.txt", *sorted([name, "notes.txt"]), "SHA256SUMS"]
    assert b"not verified" in zipped.read("REPORT.txt")


def test_names_of_the_archives_own_files_are_reserved(tmp_path: Path, group: Any) -> None:
    """Other files with these names are numbered."""
    store = FsHierDeliveryStore(str(tmp_path))
    for name in ("sha256sums", "REPORT.txt"):
        store.save(f"0/{name}", io.BytesIO(b"a student's"))
    zipped = opened(of_folder(store, "0"))
    names = {"REPORT.txt", "REPORT (2).txt", "sha256sums (2)", "SHA256SUMS"}
    assert set(zipped.namelist()) == names
    for name in ("SHA256SUMS", "Report.TXT"):
        Note.objects.create(filename=name, content=ContentFile(b"a student's", name))
    zipped = opened(of_files(Note.objects.all()))
    names = {"REPORT.txt", "Report (2).TXT", "SHA256SUMS (2)", "SHA256SUMS"}
    assert set(zipped.namelist()) == names


@pytest.mark.parametrize(("limit", "maximum"), [("FILES", 2), ("BYTES", 6)])
def test_folder_archive_above_a_limit_is_rejected(
    limit: str, maximum: int, tmp_path: Path
) -> None:
    """Also for files without a row."""
    store = FsHierDeliveryStore(str(tmp_path))
    for name in ("a", "b"):
        store.save(f"0/{name}", io.BytesIO(b"xxx"))
    with override_settings(**{f"DELIVERY_STORE_ARCHIVE_MAX_{limit}": maximum}):
        opened(of_folder(store, "0"))
    with (
        override_settings(**{f"DELIVERY_STORE_ARCHIVE_MAX_{limit}": maximum - 1}),
        pytest.raises(ArchiveTooLarge, match=f"'{maximum - 1}'"),
    ):
        of_folder(store, "0")


def test_unsupported_years_are_clamped(tmp_path: Path) -> None:
    """Files on disk without a date are dated 1970."""
    store = FsHierDeliveryStore(str(tmp_path))
    for name, year in (("0/a", 1970), ("0/b", 2150)):
        timestamp = datetime(year, 6, 15, tzinfo=zones.utc).timestamp()
        store.save(name, io.BytesIO(b"x"))
        os.utime(store.path(name), (timestamp, timestamp))
    zipped = opened(of_folder(store, "0"))
    assert [info.date_time[0] for info in zipped.infolist()[1:3]] == [1980, 2107]


@pytest.mark.parametrize(
    ("foreign", "listed"),
    [(b"back\\slash", "back_slash"), (b"ctl\x01\nb", "ctl__b"), (b"a\xff", "a_")],
)
def test_files_with_invalid_names_are_listed_as_missing(
    foreign: bytes, listed: str, tmp_path: Path
) -> None:
    """Such a foreign file does not prevent the archive of the other files."""
    store = FsHierDeliveryStore(str(tmp_path))
    store.save("0/notes.txt", io.BytesIO(b"x"))
    with (tmp_path / "0").joinpath(os.fsdecode(foreign)).open("wb") as file:
        file.write(b"foreign")
    archive = of_folder(store, "0")
    assert archive.missing == [listed]
    zipped = opened(archive)
    assert zipped.namelist() == ["REPORT.txt", "notes.txt", "SHA256SUMS"]
    assert f"\n  {listed}\n" in f"\n{zipped.read('REPORT.txt').decode()}"


def _hostile() -> list[str]:
    data = json.loads((Path(__file__).parents[1] / "data" / "hostile_names.json").read_text())
    found: dict[str, None] = {}
    for entry in data if isinstance(data, list) else data.values():
        name = entry if isinstance(entry, str) else entry.get("name")
        try:
            found[validate_filename(name)] = None
        except (ValueError, TypeError, AttributeError):
            continue
    return list(found)


def test_hostile_names_unpack_within_their_folder(group: Any, tmp_path: Path) -> None:
    """No entry leaves the folder or overwrites another (CVE-2025-59682), and none is missing."""
    machine.need(machine.UNPACKING)
    names = _hostile()
    assert len(names) > 100
    deliver(group, {name: name.encode() for name in names})
    archive = of_deliveries(Delivery.objects.all())
    data = b"".join(archive)
    assert len(data) == archive.length
    (tmp_path / "a.zip").write_bytes(data)
    entries = zipfile.ZipFile(tmp_path / "a.zip").namelist()
    assert len(entries) == len(names) + 2
    seen = {unicodedata.normalize("NFKD", path.casefold()) for path in entries}
    assert len(seen) == len(entries)
    for path in entries:
        assert not {"", ".", ".."} & set(path.split("/"))
        assert not set(path) & set('<>:"|?*\\\0')
    environment = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    for command in (["unzip", "-tqq", "a.zip"], ["7z", "t", "a.zip"]):
        subprocess.run(command, cwd=tmp_path, check=True, env=environment, capture_output=True)
    inside = tmp_path / "inside"
    inside.mkdir()
    subprocess.run(
        ["unzip", "-qq", "../a.zip"], cwd=inside, check=True, env=environment, capture_output=True
    )
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "inside"}
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=inside, check=True)


def test_files_of_any_model_have_an_archive(group: Any, subtests: pytest.Subtests) -> None:
    """In one query. Without a delivery they are at the top, and have the time of the row."""
    delivery = Delivery.begin(group)
    station, gone = (Station.objects.create(number=number) for number in (12, 13))
    course = Course.objects.create(title="Logic")
    shift = Shift.objects.create(assignment_group=Club.objects.create(code="B-1"))
    owner = {"content_type": ContentType.objects.get_for_model(Course), "object_id": course.pk}
    cases: list[tuple[Any, list[dict[str, Any]], list[str]]] = [
        (ProxyFile, [{"delivery": delivery}], [f"Anna & Bjarne/unfinished {delivery.pk}/"]),
        (MarkedFile, [{"delivery": delivery}], [f"Anna & Bjarne/unfinished {delivery.pk}/"]),
        (Note, [{}], [""]),
        (Handout, [owner], [""]),
        (Paper, [{"delivery": course, "title": "x"}], ["Logic/"]),
        (Reading, [{"delivery": row} for row in (gone, station, gone)], ["12/", "", ""]),
        (Report, [{"delivery": shift, "title": "x"}], [f"B-1/unfinished {shift.pk}/"]),
    ]
    created = datetime(2024, 2, 29, 12, 30, 40, tzinfo=zones.utc)
    for model, rows, folders in cases:
        with subtests.test(model.__name__):
            for number, row in enumerate(rows):
                content = ContentFile(b"x", f"{model.__name__} {number}.txt")
                model.objects.create(content=content, created=created, **row)
            Station.objects.filter(number=13, reading__isnull=False).delete()
            with CaptureQueriesContext(connection) as queries:
                zipped = opened(of_files(model.objects.prefetch_related("delivery")))
            assert len(queries) == 1
            members = zipped.infolist()[1:-1]
            found = sorted(member.filename.rpartition("/")[0] for member in members)
            assert found == sorted(folder.rstrip("/") for folder in folders)
            is_dated = issubclass(related_model(model, "delivery") or Note, AbstractDelivery)
            expected = timezone.localtime(created).timetuple()[:6]
            assert {member.date_time == expected for member in members} == {not is_dated}


class Refusing:
    """A router that allows no relation."""

    def allow_relation(self, *_rows: Any, **_hints: Any) -> bool:
        return False


def test_routers_are_not_asked_whether_rows_are_related(group: Any) -> None:
    """They are, in the database."""
    deliver(group, {"a": b"aaa"})
    with override_settings(DATABASE_ROUTERS=[Refusing()]):
        zipped = opened(of_deliveries(Delivery.objects.all()))
    assert zipped.namelist()[1] == "Anna & Bjarne/1/a"


# -- Views and permissions --


@pytest.fixture
def candidate(group: Any) -> Client:
    user = make_user("anna")
    group.candidates.add(user)
    client = Client()
    client.force_login(user)
    return client


def _urls(delivery: Delivery, group: Any) -> list[str]:
    return [
        reverse("devilry_storage:delivery_archive", args=[LABEL, delivery.pk]),
        reverse("devilry_storage:group_archive", args=[LABEL, group.pk]),
        reverse("devilry_storage:latest_archive", args=[LABEL]),
    ]


@pytest.mark.parametrize(("zone", "year"), [("Europe/Oslo", 9999), ("America/Chicago", 1)])
def test_times_at_the_ends_of_the_calendar_stay_as_they_are(zone: str, year: int) -> None:
    """They have no local time."""
    moment = datetime(year, 12 if year > 1 else 1, 31 if year > 1 else 1, tzinfo=zones.utc)
    hour = 23 if year > 1 else 0
    with timezone.override(zone):
        assert local_date(moment.replace(hour=hour))[:4] == (year, moment.month, moment.day, hour)


def test_views_return_complete_archives(candidate: Client, group: Any) -> None:
    """With Content-Length, also for HEAD."""
    delivery = deliver(group, {"a": b"aaa"})
    for url in _urls(delivery, group):
        response = candidate.get(url)
        assert response.status_code == 200
        assert response["Content-Type"] == "application/zip"
        assert response["X-Content-Type-Options"] == "nosniff"
        data = b"".join(response)
        assert (
            response["Content-Length"] == str(len(data)) == candidate.head(url)["Content-Length"]
        )
        assert zipfile.ZipFile(io.BytesIO(data)).namelist()[1] == "Anna & Bjarne/1/a"


def test_group_name_is_escaped_in_the_header(candidate: Client, group: Any) -> None:
    """The name of the zip file must be valid on every system."""
    delivery = deliver(group, {"a": b"aaa"})
    AssignmentGroup.objects.update(name='a"b\r\nX: y/../\u00e9;')
    url = _urls(delivery, group)[1]
    for method in (candidate.get, candidate.head):
        assert method(url)["Content-Disposition"] == (
            'attachment; filename="a_b__X_ y_..___.zip"; '
            "filename*=UTF-8''a_b__X_%20y_.._%C3%A9_.zip"
        )


def test_access_log_says_what_an_archive_contains(
    group: Any, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    """Ids or a folder, the range of time, and the number of files; no names."""
    caplog.set_level(logging.INFO, "devilry_storage.access")
    AssignmentGroup.objects.update(name="group\nuser=1 file=forged")
    first = deliver(group, {"a": b"aaa", "b": b"b"})
    second = deliver(group, {"c": b"c"})
    client = Client()
    client.force_login(make_superuser())
    of_delivery, of_group, latest = _urls(first, group)
    store_url = reverse(
        "admin:devilry_storage_storebrowser_archive", args=["devilry_deliveries.filemeta"]
    )
    folder = first.files[0].content.name.rpartition("/")[0]
    selected = {"action": "download", "_selected_action": [first.pk, second.pk]}
    cases: list[tuple[str, Any, str, int]] = [
        (of_delivery, None, of_delivery, 2),
        (of_group, None, of_group, 3),
        (latest, None, latest, 1),
        (f"{latest}?since=2020-01-31", None, f"{latest}?since%3D2020-01-31", 1),
        (f"{latest}?x=%0Auser=1%20a", None, f"{latest}?x%3D%0Auser%3D1%20a", 1),
        (f"{store_url}?folder={folder}", None, f"{store_url}?folder%3D{folder}", 2),
        (url_for(Delivery), selected, f"devilry_deliveries.delivery:{first.pk},{second.pk}", 3),
    ]
    for url, data, contents, files in cases:
        with subtests.test(url):
            caplog.clear()
            response: Any = client.get(url) if data is None else client.post(url, data)
            size = len(b"".join(response))
            (line,) = [r.getMessage() for r in caplog.records if r.name.endswith(".access")]
            assert line.partition(" ")[2] == (
                f"file=archive:{files}:{contents} method={'POST' if data else 'GET'} way=archive "
                f"bytes={size} outcome=complete"
            )


def test_archives_are_hidden_like_their_files(candidate: Client, group: Any) -> None:
    """Anonymous users get the login page, other users the response for a missing row."""
    delivery = deliver(group, {"a": b"aaa"})
    stranger = Client()
    urls = _urls(delivery, group)
    assert {stranger.get(url).status_code for url in urls} == {302}
    stranger.force_login(make_user("stranger"))
    absent = reverse("devilry_storage:delivery_archive", args=[LABEL, 10**30])
    expected = stranger.get(absent)
    for url in urls:
        for method in (stranger.get, stranger.head, stranger.post):
            response = method(url)
            assert response.status_code == 404
            assert response.headers.items() == expected.headers.items()


@pytest.mark.parametrize(
    "permissions", [[], ["view_delivery"], ["view_filemeta"], ["view_delivery", "view_filemeta"]]
)
def test_hidden_files_are_in_no_archive(permissions: list[str], group: Any, secrets: None) -> None:
    """Whether the user sees the delivery as a candidate or by a permission."""
    delivery = deliver(group, {"a": b"aaa", "secret": b"bbb"})
    client = Client()
    user = make_user("anna")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    group.candidates.add(user)
    client.force_login(user)
    hidden = delivery.files.get(filename="secret")
    assert client.get(hidden.content.url).status_code == 404
    for url in _urls(delivery, group):
        zipped = zipfile.ZipFile(io.BytesIO(b"".join(client.get(url))))
        assert zipped.namelist() == ["REPORT.txt", "Anna & Bjarne/1/a", "SHA256SUMS"]


def test_deliveries_without_visible_files_are_hidden(group: Any, secrets: None) -> None:
    """With only one of the permissions, users see deliveries that have a visible file."""
    delivery = deliver(group, {"secret": b"bbb"})
    for codename in ("view_delivery", "view_filemeta"):
        client, user = Client(), make_user(codename)
        user.user_permissions.set(Permission.objects.filter(codename=codename))
        client.force_login(user)
        assert {client.get(url).status_code for url in _urls(delivery, group)} == {404}


@pytest.mark.parametrize("permissions", [["view_filemeta"], ["view_delivery", "view_filemeta"]])
def test_latest_archive_never_falls_back_to_an_earlier_delivery(
    permissions: list[str], group: Any
) -> None:
    """Even if all files of the latest delivery were deleted."""
    deliver(group, {"a": b"outdated"})
    deliver(group, {"b": b"bbb"}).files.get().delete()
    client, user = Client(), make_user("anna")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    response = client.get(reverse("devilry_storage:latest_archive", args=[LABEL]))
    if response.status_code == 200:
        assert zipfile.ZipFile(io.BytesIO(b"".join(response))).namelist() == [
            "REPORT.txt",
            "SHA256SUMS",
        ]
    else:
        assert response.status_code == 404


class Joined(FileMetaQuerySet):
    """Rows that a join returns once per examiner, with deferred columns and prefetched rows."""

    def visible_to(self, user: Any) -> Any:
        mine = models.Q(delivery__assignment_group__candidates=user)
        mine |= models.Q(delivery__assignment_group__examiners=user)
        return self.filter(mine).only("filename").prefetch_related("delivery__copies")


def test_visible_to_may_join_and_defer_columns(
    candidate: Client, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is contained once."""
    group.examiners.set([make_user(f"examiner{number}") for number in range(3)])
    delivery = deliver(group, {"a": b"aaa"})
    monkeypatch.setattr(FileMeta._default_manager, "_queryset_class", Joined)
    for url in _urls(delivery, group):
        zipped = zipfile.ZipFile(io.BytesIO(b"".join(candidate.get(url))))
        assert zipped.namelist() == ["REPORT.txt", "Anna & Bjarne/1/a", "SHA256SUMS"]


def test_latest_deliveries_selects_by_group_and_time(group: Any) -> None:
    """In one query. ``since`` is inclusive, ``until`` is exclusive."""
    other = AssignmentGroup.objects.create(name="other")
    first, last = deliver(group, {"a": b"1"}), deliver(group, {"a": b"2"})
    single = deliver(other, {"a": b"3"})
    Delivery.begin(group).add_file("a", b"unfinished")
    now = timezone.now()
    Delivery.objects.filter(pk=first.pk).update(time_of_delivery=now - timedelta(hours=2))
    Delivery.objects.filter(pk=last.pk).update(time_of_delivery=now - timedelta(hours=1))
    Delivery.objects.filter(pk=single.pk).update(time_of_delivery=now)
    groups = AssignmentGroup.objects.all()
    assert set(latest_deliveries(groups)) == {last, single}
    assert set(latest_deliveries(groups, until=now)) == {last}
    assert set(latest_deliveries(groups, until=now - timedelta(hours=1))) == {first}
    assert set(latest_deliveries(groups, since=now)) == {single}


def test_invalid_times_are_status_400(candidate: Client, group: Any) -> None:
    """With a message."""
    deliver(group, {"a": b"aaa"})
    url = reverse("devilry_storage:latest_archive", args=[LABEL])
    assert candidate.get(url, {"since": "tonight"}).status_code == 400
    assert candidate.get(url, {"since": "2020-01-01", "until": "2100-01-01"}).status_code == 200
    assert candidate.get(url, {"until": "2020-01-01T10:00"}).status_code == 404


@isolate_apps("tests.testapp")
def test_models_without_a_group_have_no_group_archives(rf: Any, db: None) -> None:
    """A model without ``assignment_group`` is not found at such a URL."""

    class Bare(AbstractDelivery):
        class Meta:
            app_label = "testapp"

    class BareFile(AbstractFileMeta):
        delivery = models.ForeignKey(Bare, models.CASCADE)

        class Meta:
            app_label = "testapp"

    assert Bare.filemeta_model() is BareFile
    request = rf.get("/")
    request.user = make_superuser()
    for view, given in ((GroupArchiveView, {"pk": 1}), (LatestArchiveView, {})):
        with pytest.raises(Http404, match=r"No such row\."):
            view.as_view(model=Bare)(request, **given)


@override_settings(USE_TZ=False, TIME_ZONE="Europe/Oslo")
def test_archives_work_without_time_zones(db: None) -> None:
    """Stored times are naive local times. Query parameters with a time zone are converted."""
    group = AssignmentGroup.objects.create(name="Anna & Bjarne")
    user, client = make_user("anna"), Client()
    group.candidates.add(user)
    client.force_login(user)
    delivery = deliver(group, {"a": b"aaa"})
    Delivery.objects.filter(pk=delivery.pk).update(time_of_delivery="2026-05-17 20:00")
    for url in _urls(delivery, group):
        zipped = zipfile.ZipFile(io.BytesIO(b"".join(client.get(url))))
        date = zipped.getinfo("Anna & Bjarne/1/a").date_time
        assert date == (2026, 5, 17, 20, 0, 0)
    latest = _urls(delivery, group)[2]
    name = client.head(latest)["Content-Disposition"]
    assert re.search(r"latest deliveries \d{4}-\d\d-\d\d \d\d\.\d\d\.zip", name)
    for since, status in (
        ("2026-05-17", 200),
        ("2026-05-17T20:00", 200),
        ("2026-05-17T18:00Z", 200),
        ("2026-05-17T20:01", 404),
        ("2026-05-17T18:01Z", 404),
    ):
        assert client.get(latest, {"since": since}).status_code == status


@pytest.mark.parametrize(
    ("zone", "name", "value", "zones"),
    [
        ("Europe/Oslo", "since", "0001-01-01", True),
        ("America/Chicago", "until", "9999-12-31T23:59:59", True),
        ("UTC", "since", "0001-01-01T00:00+01:00", True),
        ("UTC", "since", "0001-01-01T00:00+01:00", False),
        ("UTC", "until", "9999-12-31T23:59:59-05:00", True),
        ("UTC", "until", "9999-12-31T23:59:59-05:00", False),
    ],
)
def test_times_at_the_edge_of_the_calendar_are_status_400(
    zone: str, name: str, value: str, zones: bool, group: Any
) -> None:
    """Times without a date in UTC or local time are invalid."""
    client = Client()
    with override_settings(TIME_ZONE=zone, USE_TZ=zones):
        client.force_login(make_superuser())
        response = client.get(
            reverse("devilry_storage:latest_archive", args=[LABEL]), {name: value}
        )
    assert response.status_code == 400


def test_too_large_archive_is_status_413(candidate: Client, group: Any) -> None:
    """With a message, before the first byte is sent."""
    delivery = deliver(group, {"a": b"aaa", "b": b"bbb"})
    with override_settings(DELIVERY_STORE_ARCHIVE_MAX_FILES=1):
        response = candidate.get(_urls(delivery, group)[0])
    assert response.status_code == 413
    assert b"more than '1' files" in response.content
