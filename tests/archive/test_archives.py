"""Archives: what is in them, how long they are, and who gets them."""

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
from django.core.files.base import ContentFile
from django.db import models
from django.http import Http404
from django.test import Client, override_settings
from django.test.utils import isolate_apps
from django.urls import reverse
from django.utils import timezone

from devilry_storage.abstract_models.filemeta import FileMetaQuerySet
from devilry_storage.archive import latest_deliveries, of_deliveries, of_files, of_folder, paths
from devilry_storage.archive.entries import Owners, date_of, local_date
from devilry_storage.archive.paths import FILE_BYTES, Folder, Folders, clean
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import ArchiveTooLarge, ChecksumMismatch
from devilry_storage.models import AbstractDelivery, AbstractFileMeta
from devilry_storage.names import validate_filename
from devilry_storage.resolving import store_for
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.views import GroupArchiveView, LatestArchiveView

from ..harness import machine
from ..harness.users import make_superuser, make_user
from ..testapp.models import Note

LABEL = "devilry_deliveries.delivery"


def deliver(group: Any, files: dict[str, Any]) -> Delivery:
    delivery = Delivery.begin(group)
    delivery.add_files(files)
    delivery.finish()
    return delivery


def opened(archive: Any) -> zipfile.ZipFile:
    """Return the archive as Python reads it; its length was told."""
    data = b"".join(archive)
    assert len(data) == archive.length
    zipped = zipfile.ZipFile(io.BytesIO(data))
    assert zipped.testzip() is None
    return zipped


@pytest.fixture
def group(db: None) -> Any:
    return AssignmentGroup.objects.create(name="Anna & Bjarne")


# -- Names --


def test_a_name_is_one_that_every_system_takes() -> None:
    """No separator, no device, nothing that Windows drops or that nobody sees."""
    cleaned = {
        "a.txt": "a.txt",
        'a<b>:"c|d?*.txt': "a_b___c_d__.txt",
        "../../etc/passwd": ".._.._etc_passwd",
        "a\\b": "a_b",
        "trailing. . ": "trailing",
        "..": "file",
        " ": "file",
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


def test_a_long_name_keeps_its_extension() -> None:
    """It is cut between characters, to at most so many bytes."""
    name = clean("é" * 300 + ".tar", FILE_BYTES, "file")
    assert len(name.encode()) <= FILE_BYTES
    assert name.endswith("é.tar")


@pytest.mark.parametrize(("count", "kept"), [(59, 59), (60, 60), (61, 60), (119, 60)])
def test_limit_of_a_name_counts_bytes(count: int, kept: int) -> None:
    """File systems count them, too; a name of just the limit stays as it is."""
    assert clean("\u00e9" * count, FILE_BYTES, "file") == "\u00e9" * kept


def test_names_that_some_system_takes_for_one_are_numbered() -> None:
    """Case, composition and width do not tell two names apart on every disk."""
    folder = Folder()
    given = ["a.txt", "A.TXT", "a.txt", "é", "E\u0301", "ß", "SS"]
    assert [folder.add(name) for name in given] == [
        *("a.txt", "A (2).TXT", "a (3).txt"),
        *("é", "E\u0301 (2)", "ß", "SS (2)"),
    ]


def test_as_many_equal_names_as_one_likes_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is tried with the number behind the last that was given, not with all before it."""
    tried = 0

    def counting(name: str) -> str:
        nonlocal tried
        tried += 1
        return seen(name)

    seen = paths._seen
    monkeypatch.setattr(paths, "_seen", counting)
    folder, count = Folder(["a (7).txt"]), 2000
    given = [folder.add(name) for name in ("a.txt", "A.txt") * (count // 2)]
    assert len({seen(name) for name in given}) == count
    assert given[:3] == ["a.txt", "A (2).txt", "a (3).txt"]
    assert given[5:7] == ["A (6).txt", "a (8).txt"]
    assert tried <= 4 * count


def test_folders_of_two_owners_are_two() -> None:
    """Groups may have the same name, or that of a file of the archive's own."""
    folders = Folders(["SHA256SUMS"])
    assert folders.file([(1, "group"), (1, "1")], "a") == "group/1/a"
    assert folders.file([(2, "Group"), (2, "1")], "a") == "Group (2)/1/a"
    assert folders.file([(1, "group"), (1, "1")], "A") == "group/1/A (2)"
    assert folders.file([(3, "sha256sums")], "a") == "sha256sums (2)/a"


# -- Contents --


def test_an_archive_has_all_files_and_their_sums(group: Any) -> None:
    """Under group, number and filename, with the time of the delivery."""
    delivery = deliver(group, {"a.txt": b"one", "empty": b"", "ø.txt": b"two"})
    zipped = opened(of_deliveries(Delivery.objects.all()))
    files = {name: zipped.read(name) for name in zipped.namelist()}
    top = "Anna & Bjarne/1"
    sums = files.pop("SHA256SUMS").decode()
    assert files == {f"{top}/a.txt": b"one", f"{top}/empty": b"", f"{top}/ø.txt": b"two"}
    assert sums == "".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()
    )
    info = zipped.getinfo(f"{top}/a.txt")
    told = timezone.localtime(delivery.time_of_delivery).timetuple()[:6]
    assert info.date_time == (*told[:5], told[5] // 2 * 2)
    assert info.compress_type == zipfile.ZIP_STORED


def test_what_is_missing_is_named(group: Any) -> None:
    """A file that is gone, and one of another size, are no members; the others are."""
    delivery = deliver(group, {"a": b"aaa", "b": b"bbb", "c": b"ccc"})
    gone, torn, _whole = delivery.files
    store: Any = store_for(gone)
    store.delete(gone.content.name)
    FileMeta.objects.filter(pk=torn.pk).update(size=99)
    archive = of_deliveries(Delivery.objects.all())
    assert sorted(archive.missing) == ["Anna & Bjarne/1/a", "Anna & Bjarne/1/b"]
    zipped = opened(archive)
    assert zipped.read("MISSING.txt") == b"Anna & Bjarne/1/a\nAnna & Bjarne/1/b\n"
    assert zipped.namelist() == ["Anna & Bjarne/1/c", "MISSING.txt", "SHA256SUMS"]


def test_a_row_without_a_size_has_that_of_the_store(group: Any) -> None:
    """It says nothing of its size, and is no less there; the limit counts it, too."""
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


def test_a_row_without_a_sum_gets_one(group: Any) -> None:
    """It is computed on the way."""
    deliver(group, {"a": b"aaa"})
    FileMeta.objects.update(sha256="")
    zipped = opened(of_files(FileMeta.objects.all()))
    assert zipped.read("SHA256SUMS").startswith(hashlib.sha256(b"aaa").hexdigest().encode())


@pytest.mark.parametrize("fault", ["vanishes", "shrinks", "changes"])
def test_a_file_that_fails_later_breaks_the_archive(group: Any, fault: str) -> None:
    """It was there when the archive was started: no archive ends without it."""
    delivery = deliver(group, {"a": b"aaa", "b": b"bbb"})
    row = list(delivery.files)[1]
    archive = of_deliveries(Delivery.objects.all())
    store: Any = store_for(row)
    store.delete(row.content.name)
    if fault != "vanishes":
        store.save(row.content.name, io.BytesIO(b"b" if fault == "shrinks" else b"bXb"))
    with pytest.raises(FileNotFoundError if fault == "vanishes" else ChecksumMismatch) as caught:
        b"".join(archive)
    assert row.content.name in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"bb", b"bbbb", b"b" * 100_000])
def test_file_without_checksum_of_another_size_breaks_the_archive(group: Any, data: bytes) -> None:
    """Its length was promised; nothing else shows that it is another file now."""
    row = deliver(group, {"b": b"bbb"}).files.get()
    FileMeta.objects.update(sha256="")
    archive = of_deliveries(Delivery.objects.all())
    store: Any = store_for(row)
    store.delete(row.content.name)
    store.save(row.content.name, io.BytesIO(data))
    sent: list[bytes] = []
    with pytest.raises(ChecksumMismatch, match="when the archive was started"):
        sent.extend(archive)
    assert len(b"".join(sent)) < archive.length


def test_too_many_files_or_bytes_are_refused_first(group: Any) -> None:
    """At the bound it is made, above it is not."""
    deliver(group, {"a": b"aaa", "b": b"bbb"})
    with override_settings(DELIVERY_STORE_ARCHIVE_MAX_FILES=2, DELIVERY_STORE_ARCHIVE_MAX_BYTES=6):
        opened(of_deliveries(Delivery.objects.all()))
    for name, limit in (("FILES", 1), ("BYTES", 5)):
        with (
            override_settings(**{f"DELIVERY_STORE_ARCHIVE_MAX_{name}": limit}),
            pytest.raises(ArchiveTooLarge, match=f"'{limit}'"),
        ):
            of_deliveries(Delivery.objects.all())


def test_a_folder_of_a_store_is_an_archive(group: Any) -> None:
    """Whatever lies in it, whether a row names it or not."""
    delivery = deliver(group, {"a": b"aaa"})
    store: Any = store_for(FileMeta)
    folder = store.layout.folder(delivery.pk)
    store.save(f"{folder}/notes.txt", io.BytesIO(b"x"))
    zipped = opened(of_folder(store, folder))
    name = delivery.files[0].content.name.rpartition("/")[2]
    assert zipped.namelist() == [*sorted([name, "notes.txt"]), "SHA256SUMS"]


def test_files_called_like_those_of_the_archive_are_numbered(tmp_path: Path, group: Any) -> None:
    """The sums and the list of what is missing are the archive's own."""
    store = FsHierDeliveryStore(str(tmp_path))
    for name in ("sha256sums", "MISSING.txt"):
        store.save(f"0/{name}", io.BytesIO(b"a student's"))
    zipped = opened(of_folder(store, "0"))
    assert zipped.namelist() == ["MISSING (2).txt", "sha256sums (2)", "SHA256SUMS"]
    for name in ("SHA256SUMS", "Missing.TXT"):
        Note.objects.create(filename=name, content=ContentFile(b"a student's", name))
    zipped = opened(of_files(Note.objects.all()))
    assert zipped.namelist() == ["SHA256SUMS (2)", "Missing (2).TXT", "SHA256SUMS"]


@pytest.mark.parametrize(("limit", "most"), [("FILES", 2), ("BYTES", 6)])
def test_folder_of_too_many_files_or_bytes_is_refused(
    limit: str, most: int, tmp_path: Path
) -> None:
    """Also where no row names them."""
    store = FsHierDeliveryStore(str(tmp_path))
    for name in ("a", "b"):
        store.save(f"0/{name}", io.BytesIO(b"xxx"))
    with override_settings(**{f"DELIVERY_STORE_ARCHIVE_MAX_{limit}": most}):
        opened(of_folder(store, "0"))
    with (
        override_settings(**{f"DELIVERY_STORE_ARCHIVE_MAX_{limit}": most - 1}),
        pytest.raises(ArchiveTooLarge, match=f"'{most - 1}'"),
    ):
        of_folder(store, "0")


def test_years_that_a_zip_does_not_know_are_the_nearest(tmp_path: Path) -> None:
    """A file without a date, on a disk, is dated 1970."""
    store = FsHierDeliveryStore(str(tmp_path))
    for name, year in (("0/a", 1970), ("0/b", 2150)):
        moment = datetime(year, 6, 15, tzinfo=zones.utc).timestamp()
        store.save(name, io.BytesIO(b"x"))
        os.utime(store.path(name), (moment, moment))
    zipped = opened(of_folder(store, "0"))
    assert [info.date_time[0] for info in zipped.infolist()[:2]] == [1980, 2107]


@pytest.mark.parametrize(
    ("foreign", "told"),
    [
        (b"back\\slash", "back_slash"),
        (b"ctl\x01\nb", "ctl__b"),
        (b"a\xff", "a_"),
    ],
)
def test_a_file_whose_name_no_store_takes_is_told_of_as_missing(
    foreign: bytes, told: str, tmp_path: Path
) -> None:
    """Somebody put it there beside the store; all others are in the archive."""
    store = FsHierDeliveryStore(str(tmp_path))
    store.save("0/notes.txt", io.BytesIO(b"x"))
    with (tmp_path / "0").joinpath(os.fsdecode(foreign)).open("wb") as file:
        file.write(b"foreign")
    archive = of_folder(store, "0")
    assert archive.missing == [told]
    zipped = opened(archive)
    assert zipped.namelist() == ["notes.txt", "MISSING.txt", "SHA256SUMS"]
    assert zipped.read("MISSING.txt").decode() == f"{told}\n"


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
    """CVE-2025-59682 and its like: no entry leads out, none is another's, all are there."""
    machine.need(machine.UNZIPPERS)
    names = _hostile()
    assert len(names) > 100
    deliver(group, {name: name.encode() for name in names})
    archive = of_deliveries(Delivery.objects.all())
    data = b"".join(archive)
    assert len(data) == archive.length
    (tmp_path / "a.zip").write_bytes(data)
    entries = zipfile.ZipFile(tmp_path / "a.zip").namelist()
    assert len(entries) == len(names) + 1
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


@isolate_apps("tests.testapp")
def test_a_file_of_no_delivery_lies_at_the_top() -> None:
    """Where the field may be NULL; its time is that of the row."""

    class Loose(AbstractFileMeta):
        delivery = models.ForeignKey(Delivery, models.CASCADE, null=True, related_name="+")

        class Meta:
            app_label = "testapp"

    row = Loose(filename="a.txt")
    assert Owners(Loose).of(row) == []
    assert date_of(row) == local_date(row.created)


# -- Who gets them --


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


def test_each_view_gives_a_whole_archive(candidate: Client, group: Any) -> None:
    """Its length is told, also to HEAD."""
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
        assert zipfile.ZipFile(io.BytesIO(data)).namelist()[0] == "Anna & Bjarne/1/a"


def test_name_of_group_is_escaped_in_header_of_its_archive(candidate: Client, group: Any) -> None:
    """It is the name of the zip, which is a file's on every system."""
    delivery = deliver(group, {"a": b"aaa"})
    AssignmentGroup.objects.update(name='a"b\r\nX: y/../\u00e9;')
    url = _urls(delivery, group)[1]
    for method in (candidate.get, candidate.head):
        assert method(url)["Content-Disposition"] == (
            'attachment; filename="a_b__X_ y_..___.zip"; '
            "filename*=UTF-8''a_b__X_%20y_.._%C3%A9_.zip"
        )


def test_the_line_of_an_archive_says_what_was_asked_for(
    candidate: Client, group: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """By the path, which has ids and no words."""
    caplog.set_level(logging.INFO, "devilry_storage.access")
    url = _urls(deliver(group, {"a": b"aaa"}), group)[0]
    response: Any = candidate.get(url)
    size = len(b"".join(response))
    response.close()
    (line,) = [record.getMessage() for record in caplog.records if record.name.endswith(".access")]
    assert f"file=archive:{url} method=GET way=archive bytes={size} outcome=complete" in line


def test_an_archive_is_as_private_as_its_files(candidate: Client, group: Any) -> None:
    """Nobody: the login page. A stranger: as if it did not exist."""
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
def test_a_file_that_its_model_hides_is_in_no_archive(
    permissions: list[str], group: Any, secrets: None
) -> None:
    """Whether the user comes to the delivery as a candidate, or by a permission."""
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
        assert zipped.namelist() == ["Anna & Bjarne/1/a", "SHA256SUMS"]


def test_whoever_sees_no_file_of_a_delivery_does_not_learn_of_it(
    group: Any, secrets: None
) -> None:
    """One permission to view files or deliveries shows what has files that are not hidden."""
    delivery = deliver(group, {"secret": b"bbb"})
    for codename in ("view_delivery", "view_filemeta"):
        client, user = Client(), make_user(codename)
        user.user_permissions.set(Permission.objects.filter(codename=codename))
        client.force_login(user)
        assert {client.get(url).status_code for url in _urls(delivery, group)} == {404}


@pytest.mark.parametrize("permissions", [["view_filemeta"], ["view_delivery", "view_filemeta"]])
def test_no_earlier_delivery_is_the_latest_because_a_file_was_deleted(
    permissions: list[str], group: Any
) -> None:
    """Whoever is shown the latest is never shown one that is outdated."""
    deliver(group, {"a": b"outdated"})
    deliver(group, {"b": b"bbb"}).files.get().delete()
    client, user = Client(), make_user("anna")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    response = client.get(reverse("devilry_storage:latest_archive", args=[LABEL]))
    if response.status_code == 200:
        assert zipfile.ZipFile(io.BytesIO(b"".join(response))).namelist() == []
    else:
        assert response.status_code == 404


class Joined(FileMetaQuerySet):
    """Rows that come once for each examiner, with what else a site reads of them."""

    def visible_to(self, user: Any) -> Any:
        mine = models.Q(delivery__assignment_group__candidates=user)
        mine |= models.Q(delivery__assignment_group__examiners=user)
        return self.filter(mine).only("filename").prefetch_related("delivery__copies")


def test_a_rule_of_the_site_may_join_and_defer_what_it_likes(
    candidate: Client, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is there once."""
    group.examiners.set([make_user(f"examiner{number}") for number in range(3)])
    delivery = deliver(group, {"a": b"aaa"})
    monkeypatch.setattr(FileMeta._default_manager, "_queryset_class", Joined)
    for url in _urls(delivery, group):
        zipped = zipfile.ZipFile(io.BytesIO(b"".join(candidate.get(url))))
        assert zipped.namelist() == ["Anna & Bjarne/1/a", "SHA256SUMS"]


def test_latest_is_the_last_finished_one_of_each_group_within_a_time(group: Any) -> None:
    """In one query; the time is from ``since`` on and before ``until``."""
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


def test_a_time_that_is_none_is_refused(candidate: Client, group: Any) -> None:
    """With words, and status 400."""
    deliver(group, {"a": b"aaa"})
    url = reverse("devilry_storage:latest_archive", args=[LABEL])
    assert candidate.get(url, {"since": "tonight"}).status_code == 400
    assert candidate.get(url, {"since": "2020-01-01", "until": "2100-01-01"}).status_code == 200
    assert candidate.get(url, {"until": "2020-01-01T10:00"}).status_code == 404


@isolate_apps("tests.testapp")
def test_what_no_group_delivers_has_no_archives_of_groups(rf: Any, db: None) -> None:
    """A model without ``assignment_group`` is none that such a URL can name."""

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
def test_archives_are_made_on_a_site_without_time_zones(db: None) -> None:
    """Its times are naive local ones; one with a zone in the query is the same moment there."""
    group = AssignmentGroup.objects.create(name="Anna & Bjarne")
    user, client = make_user("anna"), Client()
    group.candidates.add(user)
    client.force_login(user)
    delivery = deliver(group, {"a": b"aaa"})
    Delivery.objects.filter(pk=delivery.pk).update(time_of_delivery="2026-05-17 20:00")
    for url in _urls(delivery, group):
        zipped = zipfile.ZipFile(io.BytesIO(b"".join(client.get(url))))
        told = zipped.getinfo("Anna & Bjarne/1/a").date_time
        assert told == (2026, 5, 17, 20, 0, 0)
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
    ("zone", "name", "moment", "zones"),
    [
        ("Europe/Oslo", "since", "0001-01-01", True),
        ("America/Chicago", "until", "9999-12-31T23:59:59", True),
        ("UTC", "since", "0001-01-01T00:00+01:00", True),
        ("UTC", "since", "0001-01-01T00:00+01:00", False),
        ("UTC", "until", "9999-12-31T23:59:59-05:00", True),
        ("UTC", "until", "9999-12-31T23:59:59-05:00", False),
    ],
)
def test_a_time_at_the_edge_of_the_calendar_is_no_error_of_the_server(
    zone: str, name: str, moment: str, zones: bool, group: Any
) -> None:
    """One that has no date in UTC, or here, is refused as what is none."""
    client = Client()
    with override_settings(TIME_ZONE=zone, USE_TZ=zones):
        client.force_login(make_superuser())
        response = client.get(
            reverse("devilry_storage:latest_archive", args=[LABEL]), {name: moment}
        )
    assert response.status_code == 400


def test_an_archive_that_is_too_large_is_answered_with_words(
    candidate: Client, group: Any
) -> None:
    """Status 413, before the first byte."""
    delivery = deliver(group, {"a": b"aaa", "b": b"bbb"})
    with override_settings(DELIVERY_STORE_ARCHIVE_MAX_FILES=1):
        response = candidate.get(_urls(delivery, group)[0])
    assert response.status_code == 413
    assert b"more than '1' files" in response.content
