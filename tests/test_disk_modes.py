"""Modes and groups of what is stored: as Django's, exact, and never by way of the umask."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.test import override_settings

from .disk import DATA, KEY, NAME, folders_above, store_at
from .machine import ROOT, need


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture(params=[0o000, 0o022, 0o027, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    try:
        yield request.param
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_0644_whatever_the_umask(root: Path, umask: int) -> None:
    """As in Django; a save over an existing name and a replaced file too."""
    root.mkdir(mode=0o755)
    store = store_at(root)
    names = [store.save(KEY, ContentFile(DATA)), store.save(KEY, ContentFile(DATA))]
    with store.open(NAME, "wb") as writer:
        writer.write(DATA)
    assert {mode(root / name) for name in (*names, NAME)} == {0o644}


def test_file_permissions_mode_is_exact_whatever_the_umask(root: Path, umask: int) -> None:
    """The option gives the mode, the umask takes nothing away (CVE-2026-25674)."""
    store = store_at(root, file_permissions_mode=0o640, directory_permissions_mode=0o750)
    store.save(KEY, ContentFile(DATA))
    assert mode(root / KEY) == 0o640


@pytest.mark.parametrize("option", [0o640, None])
def test_temp_file_is_private_until_it_has_its_mode(root: Path, option: int | None) -> None:
    """Else another user could open it before, and read what is written later."""
    seen: list[int] = []

    class Content(ContentFile):  # type: ignore[type-arg]  # not generic at run time
        def chunks(self, chunk_size: int | None = None) -> Iterator[Any]:
            seen.extend(mode(path) for path in (root / ".devilry-storage/tmp").iterdir())
            yield DATA

    store = store_at(root, file_permissions_mode=option)
    store.save(KEY, Content(b""))
    assert seen == [0o600]


def test_directory_permissions_mode_is_exact_for_intermediate_folders_too(
    root: Path, umask: int
) -> None:
    """Every folder that a save makes has the mode, not only the innermost (CVE-2020-24583)."""
    store = store_at(root, directory_permissions_mode=0o750)
    store.save(KEY, ContentFile(DATA))
    assert {mode(folder) for folder in folders_above(root, KEY)} == {0o750}
    assert {mode(folder) for folder in folders_above(root, ".devilry-storage/tmp/x")} == {0o750}


def test_folders_that_are_there_keep_their_mode(root: Path) -> None:
    """An administrator's own choice is not undone by the next save."""
    (root / "0").mkdir(parents=True)
    (root / "0").chmod(0o711)
    store_at(root, directory_permissions_mode=0o750).save(KEY, ContentFile(DATA))
    assert mode(root / "0") == 0o711
    assert mode(root / "0" / "1") == 0o750


def test_without_a_mode_folders_follow_the_umask(root: Path, umask: int) -> None:
    """As mkdir does, and as Django does."""
    root.mkdir()
    root.chmod(0o755)
    store_at(root).save(KEY, ContentFile(DATA))
    assert {mode(folder) for folder in folders_above(root, KEY)} == {0o777 & ~umask}


@override_settings(FILE_UPLOAD_PERMISSIONS=None)
def test_without_a_mode_files_follow_the_umask(root: Path, umask: int) -> None:
    """No option and no setting: as open() does."""
    store_at(root).save(KEY, ContentFile(DATA))
    assert mode(root / KEY) == 0o666 & ~umask


def test_the_settings_of_django_give_the_modes(root: Path) -> None:
    """FILE_UPLOAD_PERMISSIONS and FILE_UPLOAD_DIRECTORY_PERMISSIONS, read when they are used."""
    store = store_at(root)
    with override_settings(FILE_UPLOAD_PERMISSIONS=0o600, FILE_UPLOAD_DIRECTORY_PERMISSIONS=0o700):
        store.save(KEY, ContentFile(DATA))
    assert mode(root / KEY) == 0o600
    assert {mode(folder) for folder in folders_above(root, KEY)} == {0o700}


def test_the_umask_is_never_touched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to all threads of the process: another thread's file would get ours."""

    def forbidden(mask: int) -> int:
        raise AssertionError("the store set the umask")

    monkeypatch.setattr(os, "umask", forbidden)
    store = store_at(root, file_permissions_mode=0o640, directory_permissions_mode=0o750)
    assert store.save(KEY, ContentFile(DATA)) == KEY


@pytest.mark.parametrize("root_mode", [0o755, 0o2775])
def test_what_is_stored_gets_the_roots_group(root: Path, root_mode: int) -> None:
    """A web server in the root's group reads all of it, with and without setgid folders."""
    need(ROOT)
    group = os.getgid() + 12345
    root.mkdir()
    os.chown(root, -1, group)
    root.chmod(root_mode)
    store = store_at(root, file_permissions_mode=0o640, directory_permissions_mode=0o750)
    store.save(KEY, ContentFile(DATA))
    with store.open(NAME, "wb") as writer:
        writer.write(DATA)
    made = [root / KEY, root / NAME, *folders_above(root, KEY), *folders_above(root, NAME)]
    assert {path.stat().st_gid for path in made} == {group}


def test_group_that_may_not_be_given_fails_no_save(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Django: the file stays usable to the user that stored it."""
    need(ROOT)
    root.mkdir()
    os.chown(root, -1, os.getgid() + 12345)

    def refuse(fd: int, user: int, group: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchown", refuse)
    assert store_at(root).save(KEY, ContentFile(DATA)) == KEY


def test_folders_below_a_setgid_root_stay_setgid(root: Path) -> None:
    """directory_permissions_mode does not take the bit that the file system handed down."""
    root.mkdir()
    root.chmod(0o2775)
    store_at(root, directory_permissions_mode=0o750).save(KEY, ContentFile(DATA))
    assert {mode(folder) for folder in folders_above(root, KEY)} == {0o2750}
