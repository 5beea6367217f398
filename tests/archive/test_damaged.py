"""Archives with missing and damaged files: they have all other files, and report these."""

from __future__ import annotations

import errno
import io
import logging
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import models
from django.test import Client
from django.urls import reverse
from django.utils.translation import get_language, override

from devilry_storage.archive import of_deliveries, zipping
from devilry_storage.archive.readahead import SMALL
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import StoreDenied, StoreUnavailable
from devilry_storage.fields import StoredName
from devilry_storage.resolving import store_for
from devilry_storage.signals import file_damaged

from ..harness import machine
from ..harness.users import make_superuser
from . import unpacking
from .damaging import BAD_SECTOR, FAULTS, LARGE, Site, differences, failing

SIZES = {"a/small": 5000, "a/large": LARGE, "b/empty": 0, "b/small": 100, "b/large": 2 * SMALL}


@pytest.fixture
def reported() -> Iterator[dict[str, str]]:
    """Return name and reason of each signal ``file_damaged`` during the test."""
    found: dict[str, str] = {}

    def receive(store: Any, name: str, reason: str, **kwargs: Any) -> None:
        assert kwargs["sender"] is type(store)
        found[name] = reason

    file_damaged.connect(receive)
    yield found
    file_damaged.disconnect(receive)


def report_of(data: bytes) -> tuple[str, set[str]]:
    """Return the report of an archive, and the paths in it."""
    with zipfile.ZipFile(io.BytesIO(data)) as zipped:
        text = zipped.read("REPORT.txt").decode()
        assert zipped.namelist()[0] == "REPORT.txt"
    return text, {line[2:] for line in text.splitlines() if line.startswith("  ")}


@pytest.mark.parametrize("parallel_reads", [1, 4])
@pytest.mark.parametrize("when", ["before", "later"])
@pytest.mark.parametrize("fault", FAULTS)
def test_archive_has_all_files_but_the_damaged_ones(
    fault: str,
    when: str,
    parallel_reads: int,
    tmp_path: Path,
    reported: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whether they were damaged before or after the archive was started."""
    site = Site(tmp_path / "store", SIZES, parallel_reads=parallel_reads)
    bad = {"a/small", "a/large"}
    if when == "before":
        for path in bad:
            site.damage(path, fault)
    archive = site.archive()
    length = archive.length
    if when == "later":
        for path in bad:
            site.damage(path, fault)
    data = b"".join(archive)
    assert len(data) == length
    (tmp_path / "a.zip").write_bytes(data)
    names = {site.name_of(path) for path in bad}
    assert reported.keys() == names
    logged = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert {name for name in names if any(repr(name) in line for line in logged)} == names
    is_missing = when == "before" and fault in {"vanished", "symlink"}
    listed = bad if is_missing else {"a/small.DAMAGED", "a/large"}
    assert report_of(data)[1] == listed
    assert set(archive.missing if is_missing else archive.damaged) == listed
    for name in ("forward", "python"):
        folder = tmp_path / name
        folder.mkdir()
        code = unpacking.UNPACKERS[name](tmp_path / "a.zip", folder)
        assert code == (name == "python" and not is_missing)
        assert differences(site, bad, folder) == []
        assert unpacking.failed_sums(folder) == bad


def test_damaged_members_keep_what_can_be_read(tmp_path: Path) -> None:
    """Zeros follow up to the expected length. Other content is cut off."""
    site = Site(tmp_path, dict.fromkeys(("flipped", "short", "grown", "sector"), 10000))
    failing(site.store, {site.name_of("sector"): (4000, BAD_SECTOR)})
    archive = site.archive()
    for path in ("flipped", "short", "grown"):
        site.damage(path, path)
    found = dict(unpacking.read_forward(b"".join(archive)))
    contents = {path: found[f"{path}.DAMAGED"] for path in site.contents}
    assert contents["short"] == site.contents["short"][:5000] + bytes(5000)
    assert contents["sector"] == site.contents["sector"][:4000] + bytes(6000)
    assert contents["grown"] == b"more" + site.contents["grown"][:-4]
    assert len(contents["flipped"]) == 10_000


def test_empty_file_that_grows_or_vanishes_is_damaged(tmp_path: Path) -> None:
    site = Site(tmp_path, {"grown": 0, "vanished": 0, "intact": 0})
    archive = site.archive()
    site.damage("grown", "grown")
    site.damage("vanished", "vanished")
    found = dict(unpacking.read_forward(b"".join(archive)))
    assert set(archive.damaged) == {"grown.DAMAGED", "vanished.DAMAGED"}
    assert {path: data for path, data in found.items() if "." not in path} == {
        "intact": b"",
        "SHA256SUMS": found["SHA256SUMS"],
    }


def test_file_without_checksum_is_compared_by_length(tmp_path: Path) -> None:
    """SHA256SUMS has the computed checksum, or zeros, which no file has, if it is damaged."""
    site = Site(tmp_path, {"intact": 10, "short": 10, "large": LARGE, "vanished": 10})
    site.members = [member._replace(sha256="") for member in site.members]
    site.damage("short", "short")
    site.damage("vanished", "vanished")
    data = b"".join(archive := site.archive())
    assert len(data) == archive.length
    text, listed = report_of(data)
    assert listed == {"short.DAMAGED", "vanished"}
    assert "not verified" in text
    (tmp_path / "a.zip").write_bytes(data)
    folder = tmp_path / "unpacked"
    unpacking.UNPACKERS["python"](tmp_path / "a.zip", folder)
    assert unpacking.failed_sums(folder) == {"short", "vanished"}


@pytest.mark.parametrize("sha256", ["x", "é" * 64, "0" * 63, "0" * 65])
def test_invalid_recorded_checksum_means_damaged(sha256: str, tmp_path: Path) -> None:
    """It does not change the length."""
    site = Site(tmp_path, {"a": 10, "b": 10})
    site.members[0] = site.members[0]._replace(sha256=sha256)
    data = b"".join(archive := site.archive())
    assert len(data) == archive.length
    assert archive.damaged == ["a.DAMAGED"]


def test_recorded_checksum_may_have_capital_letters(tmp_path: Path) -> None:
    site = Site(tmp_path, {"a": 10})
    site.members[0] = site.members[0]._replace(sha256=site.members[0].sha256.upper())
    assert report_of(b"".join(site.archive()))[1] == set()


def test_report_says_that_all_was_verified(tmp_path: Path) -> None:
    site = Site(tmp_path, {"a": 10, "b": LARGE})
    text, _listed = report_of(b"".join(site.archive()))
    assert text.strip() == "All files were verified: their contents are what was stored."
    assert len(text) < 100


def test_report_is_in_the_language_of_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although it is sent later, maybe in another thread."""
    monkeypatch.setattr(zipping, "_", lambda text: f"{get_language()}: {text}")
    site = Site(tmp_path, {"a": 10})
    with override("nb"):
        archive = site.archive()
    data = b"".join(archive)
    assert len(data) == archive.length
    assert report_of(data)[0].startswith("nb: All files")


@pytest.mark.parametrize("parallel_reads", [1, 4])
def test_unavailable_store_breaks_the_archive(parallel_reads: int, tmp_path: Path) -> None:
    """An outage does not damage files: the client must try again."""
    site = Site(tmp_path, {"a": 10, "b": 10, "c": LARGE}, parallel_reads=parallel_reads)
    for path in ("b", "c"):
        failing(site.store, {site.name_of(path): (0, StoreUnavailable("no response"))})
        with pytest.raises(StoreUnavailable):
            b"".join(site.archive())


def delivered_twice(count: int) -> str:
    """Make two deliveries of a group with this number of files; return the folder of the first."""
    group = AssignmentGroup.objects.create(name="g")
    deliveries = [Delivery.begin(group) for _ in range(2)]
    for delivery in deliveries:
        delivery.add_files({f"{number}.txt": b"x" for number in range(count)})
        delivery.finish()
    folder: str = deliveries[0].files[0].content.name.rpartition("/")[0]
    return folder


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("fault", ["symlink", "file", "vanished"])
def test_folder_that_was_replaced_has_missing_files(
    count: int, fault: str, tmp_path: Path, db: None
) -> None:
    """Files of other deliveries are in the archive. A folder with one file is not listed."""
    store: Any = store_for(FileMeta)
    folder = Path(store.path(delivered_twice(count)))
    folder.rename(tmp_path / "elsewhere")
    if fault == "symlink":
        folder.symlink_to(tmp_path / "elsewhere")
    elif fault == "file":
        folder.write_bytes(b"")
    archive = of_deliveries(Delivery.objects.all())
    data = b"".join(archive)
    assert len(data) == archive.length
    assert archive.missing == [f"g/1/{number}.txt" for number in range(count)]
    names = [path for path, _content in unpacking.read_forward(data)]
    assert names[:-2] == [f"g/2/{number}.txt" for number in range(count)]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.EUCLEAN, errno.ELOOP])
def test_folder_that_the_disk_cannot_read_has_damaged_files(
    error: int, count: int, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with one file is not listed. The files can be read nevertheless, or are damaged."""
    broken = delivered_twice(count)

    def fail(original: Any) -> Any:
        def act(store: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            if name.startswith(broken):
                raise OSError(error, os.strerror(error))
            return original(store, name, *args, **kwargs)

        return act

    kind = type(store_for(FileMeta))
    for method in ("scan", "size", "stream"):
        monkeypatch.setattr(kind, method, fail(getattr(kind, method)))
    archive = of_deliveries(Delivery.objects.all())
    data = b"".join(archive)
    assert len(data) == archive.length
    assert archive.missing == []
    assert archive.damaged == [f"g/1/{number}.txt.DAMAGED" for number in range(count)]


@pytest.mark.parametrize("exception", [StoreDenied("403"), StoreUnavailable("no response")])
def test_store_that_cannot_be_asked_has_no_archive(
    exception: Exception, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is known to be missing or damaged."""
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="g"))
    delivery.add_file("a", b"a")
    monkeypatch.setattr(type(store_for(FileMeta)), "size", Mock(side_effect=exception))
    with pytest.raises(type(exception)):
        of_deliveries(Delivery.objects.all())


def test_row_with_an_empty_name_has_no_file(db: None) -> None:
    """Another application may have written it."""
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="g"))
    delivery.add_files({"a": b"a", "b": b"b"})
    models.QuerySet(FileMeta).filter(filename="a").update(content=StoredName(""))
    archive = of_deliveries(Delivery.objects.all())
    names = [path for path, _content in unpacking.read_forward(b"".join(archive))]
    assert [name.rpartition("/")[2] for name in names] == ["b", "SHA256SUMS", "REPORT.txt"]


def test_row_with_invalid_name_is_missing(db: None) -> None:
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="g"))
    delivery.add_files({"a": b"a", "b": b"b"})
    delivery.finish()
    rows = models.QuerySet(FileMeta).filter(filename="a")
    rows.update(content=StoredName("../../outside"))
    archive = of_deliveries(Delivery.objects.all())
    assert archive.missing == ["g/1/a"]
    assert next(unpacking.read_forward(b"".join(archive)))[0] == "g/1/b"


def test_file_named_like_a_damaged_one_is_renamed(tmp_path: Path, db: None) -> None:
    """Students cannot imitate the ending, and no two members have the same name."""
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="g.damaged"))
    delivery.add_files(
        {"a": b"a", "a.DAMAGED": b"b", "a.ＤＡＭＡＧＥＤ": b"c", "x.damaged ": b"d"}
    )
    delivery.finish()
    store: Any = store_for(FileMeta)
    name = delivery.files.get(filename="a").content.name
    store.delete(name)
    store.save(name, io.BytesIO(b"A"))
    with zipfile.ZipFile(io.BytesIO(b"".join(of_deliveries(Delivery.objects.all())))) as zipped:
        names = [path.removeprefix("g.damaged_/1/") for path in zipped.namelist()]
    assert names == [
        *("REPORT.txt", "a.DAMAGED_", "a.ＤＡＭＡＧＥＤ_ (2)", "x.damaged_", "SHA256SUMS"),
        "a.DAMAGED",
    ]


@pytest.mark.parametrize("count", [0, 1, 8])
def test_unpackers_extract_and_report(count: int, tmp_path: Path) -> None:
    """Each program extracts all other files. Those that verify checksums report large ones."""
    machine.need(machine.UNPACKING)
    sizes = {f"{n % 7}/{n}": LARGE if n % 15 == 0 else 100 * (n % 10 != 1) for n in range(48)}
    site = Site(tmp_path / "store", sizes)
    faults = list(FAULTS)
    bad = {path: faults[n % 5] for n, path in enumerate(list(sizes)[: 5 * count : 5])}
    archive = site.archive()
    for path, fault in bad.items():
        site.damage(path, fault)
    data = b"".join(archive)
    assert len(data) == archive.length
    (tmp_path / "a.zip").write_bytes(data)
    assert len(report_of(data)[1]) == len(bad)
    for name, unpack in unpacking.UNPACKERS.items():
        folder = tmp_path / name
        folder.mkdir()
        code = unpack(tmp_path / "a.zip", folder)
        assert (code != 0) == (name != "forward" and count > 0), name
        assert differences(site, set(bad), folder) == [], name
        assert unpacking.failed_sums(folder) == set(bad), name


def test_response_has_the_announced_length(db: None, caplog: pytest.LogCaptureFixture) -> None:
    """The same for HEAD, which reads no file. The log has the keys."""
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
    delivery.add_files({"a": b"aaa", "b": b"bbb", "c": b"c" * LARGE})
    delivery.finish()
    store: Any = store_for(FileMeta)
    rows = {row.filename: row for row in delivery.files}
    for filename in ("a", "c"):
        name = rows[filename].content.name
        store.delete(name)
        store.save(name, io.BytesIO(b"x" * rows[filename].size))
    client = Client()
    client.force_login(make_superuser())
    url = reverse(
        "devilry_storage:delivery_archive", args=["devilry_deliveries.delivery", delivery.pk]
    )
    head = client.head(url)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    response: Any = client.get(url)
    data = b"".join(response)
    response.close()
    assert response["Content-Length"] == head["Content-Length"] == str(len(data))
    assert report_of(data)[1] == {"group/1/a.DAMAGED", "group/1/c"}
    for filename in ("a", "c"):
        assert f"Damaged in an archive: {rows[filename].content.name!r}" in caplog.text
