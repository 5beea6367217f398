"""Modes and groups of what is stored: as Django's, exact, and never by way of the umask."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.test import override_settings
from django.utils import timezone

from devilry_storage.testing._support.disk import in_processes

from ...harness.disk import DATA, KEY, NAME, folders_above, read, store_at, visible
from ...harness.machine import ROOT, need


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
    assert mode(root) == 0o750


OWN = [".devilry-storage", ".devilry-storage/tmp"]


@pytest.mark.parametrize("option", [0o750, 0o777, None])
def test_folders_of_temp_files_are_private(root: Path, umask: int, option: int | None) -> None:
    """Users who could write there could exchange a file that is being stored for another."""
    store_at(root, directory_permissions_mode=option).save(KEY, ContentFile(DATA))
    assert {mode(root / folder) for folder in OWN} == {0o700}


def test_folder_of_that_name_elsewhere_has_the_usual_mode(root: Path) -> None:
    """Only at the top it is the store's own."""
    store_at(root, directory_permissions_mode=0o750).save(f"a/{OWN[1]}/x", ContentFile(DATA))
    assert {mode(root / "a" / folder) for folder in OWN} == {0o750}


def test_folders_of_temp_files_keep_the_mode_that_they_have(root: Path) -> None:
    """Processes of several users may share them by their group; a save does not lock any out."""
    for folder in OWN:
        (root / folder).mkdir(parents=True)
        (root / folder).chmod(0o2770)
    store_at(root, directory_permissions_mode=0o750).save(KEY, ContentFile(DATA))
    assert {mode(root / folder) for folder in OWN} == {0o2770}


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A root that other users reach, which those in pytest's own folder are not."""
    need(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def as_user(number: int, act: Callable[[], Any]) -> Any:
    """Return what the act returns in a process of another user, in the group 23456."""

    def become_and_act() -> Any:
        os.setgroups([])
        os.setgid(23456)
        os.setuid(number)
        os.chdir("/")
        try:
            return act()
        except PermissionError as exception:
            return f"PermissionError: {exception}"

    (found,) = in_processes(become_and_act)
    return found


@pytest.mark.parametrize("modes", [(0o700, 0o700), (0o755, 0o700), (0o755, 0o755)])
def test_temp_files_of_another_user_name_the_remedy(
    open_root: Path, modes: tuple[int, int]
) -> None:
    """Another user of the site stored first: saving and purging say what to change."""
    store = store_at(open_root)
    store.save(KEY, ContentFile(DATA))
    for folder, folder_mode in zip(OWN, modes, strict=True):
        (open_root / folder).chmod(folder_mode)
    said = [as_user(12345, lambda: store.save(KEY, ContentFile(DATA)))]
    if modes[1] == 0o700:
        said.append(as_user(12345, lambda: list(store.remove_stale_uploads(timezone.now()))))
    for text in said:
        assert text.startswith("PermissionError")
        assert "User 12345" in text
        assert f"chmod 2770 {open_root / OWN[0]} {open_root / OWN[1]}" in text
        assert "as one user" in text


def test_users_of_one_group_share_a_store(open_root: Path) -> None:
    """With the modes that the manual names, each stores beside the other's files."""
    (open_root / OWN[1]).mkdir(parents=True)
    for folder in (open_root, *(open_root / name for name in OWN)):
        os.chown(folder, -1, 23456)
        folder.chmod(0o2770)
    store = store_at(open_root, file_permissions_mode=0o640, directory_permissions_mode=0o770)
    for user in (12345, 12346):
        assert as_user(user, lambda: store.save(f"0/1/1005/{os.getuid()}", ContentFile(DATA)))
    assert as_user(12346, lambda: read(store, "0/1/1005/12345").decode()) == DATA.decode()
    assert as_user(12345, lambda: store.delete("0/1/1005/12346")) is None
    assert visible(open_root) == ["0/1/1005/12345"]


def test_root_that_may_not_be_written_has_the_systems_error(open_root: Path) -> None:
    """The folder of temp files is not the reason, so its remedy would mislead."""
    open_root.chmod(0o755)
    store = store_at(open_root)

    said = as_user(12345, lambda: store.save(KEY, ContentFile(DATA)))
    assert "Permission denied" in said
    assert "2770" not in said


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
