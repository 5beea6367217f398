"""Modes and groups of stored files and their folders."""

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


def test_files_have_mode_0644_by_default(root: Path, umask: int) -> None:
    """Alternative names and rewritten files, too."""
    root.mkdir(mode=0o755)
    store = store_at(root)
    names = [store.save(KEY, ContentFile(DATA)), store.save(KEY, ContentFile(DATA))]
    with store.open(NAME, "wb") as writer:
        writer.write(DATA)
    assert {mode(root / name) for name in (*names, NAME)} == {0o644}


def test_modes_of_options_are_exact(root: Path, umask: int) -> None:
    """The umask takes no bit away (CVE-2026-25674), nor from parent folders (CVE-2020-24583)."""
    store = store_at(root, file_permissions_mode=0o640, directory_permissions_mode=0o750)
    store.save(KEY, ContentFile(DATA))
    assert mode(root / KEY) == 0o640
    assert {mode(folder) for folder in (root, *folders_above(root, KEY))} == {0o750}


@pytest.mark.parametrize("option", [0o640, None])
def test_temp_file_is_private_while_it_is_written(root: Path, option: int | None) -> None:
    """Another user could open it before, and read what is written later."""
    seen: list[int] = []

    class Content(ContentFile):  # type: ignore[type-arg]  # not generic at run time
        def chunks(self, chunk_size: int | None = None) -> Iterator[Any]:
            seen.extend(mode(path) for path in (root / ".devilry-storage/tmp").iterdir())
            yield DATA

    store = store_at(root, file_permissions_mode=option)
    store.save(KEY, Content(b""))
    assert seen == [0o600]


OWN = [".devilry-storage", ".devilry-storage/tmp"]


@pytest.mark.parametrize("option", [0o750, 0o777, None])
def test_temp_folders_are_private(root: Path, umask: int, option: int | None) -> None:
    """Users who can write there could replace a file that is being stored."""
    store_at(root, directory_permissions_mode=option).save(KEY, ContentFile(DATA))
    assert {mode(root / folder) for folder in OWN} == {0o700}


def test_reserved_name_in_a_subfolder_is_not_private(root: Path) -> None:
    store_at(root, directory_permissions_mode=0o750).save(f"a/{OWN[1]}/x", ContentFile(DATA))
    assert {mode(root / "a" / folder) for folder in OWN} == {0o750}


def test_existing_folders_keep_their_mode(root: Path) -> None:
    """An administrator's own choice, such as to share the temp folders with a group."""
    (root / "0").mkdir(parents=True)
    (root / "0").chmod(0o711)
    for folder in OWN:
        (root / folder).mkdir(parents=True)
        (root / folder).chmod(0o2770)
    store_at(root, directory_permissions_mode=0o750).save(KEY, ContentFile(DATA))
    assert {mode(root / folder) for folder in OWN} == {0o2770}
    assert (mode(root / "0"), mode(root / "0" / "1")) == (0o711, 0o750)


@pytest.fixture
def open_root() -> Iterator[Path]:
    """Return a root that other users can reach, outside of pytest's private folder."""
    need(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def as_user(number: int, act: Callable[[], Any]) -> Any:
    """Return the result of ``act`` in a process of another user, in the group 23456."""

    def become_and_act() -> Any:
        os.setgroups([])
        os.setgid(23456)
        os.setuid(number)
        os.chdir("/")
        try:
            return act()
        except PermissionError as exception:
            return f"PermissionError: {exception}"

    (result,) = in_processes(become_and_act)
    return result


@pytest.mark.parametrize("modes", [(0o700, 0o700), (0o755, 0o700), (0o755, 0o755)])
def test_denied_temp_folder_names_the_remedy(open_root: Path, modes: tuple[int, int]) -> None:
    """Another user of the site stored first. Saving and purging say what to change."""
    store = store_at(open_root)
    store.save(KEY, ContentFile(DATA))
    for folder, folder_mode in zip(OWN, modes, strict=True):
        (open_root / folder).chmod(folder_mode)
    messages = [as_user(12345, lambda: store.save(KEY, ContentFile(DATA)))]
    if modes[1] == 0o700:
        messages.append(as_user(12345, lambda: list(store.remove_stale_uploads(timezone.now()))))
    for message in messages:
        assert message.startswith("PermissionError")
        assert "User 12345" in message
        assert f"chmod 2770 {open_root / OWN[0]} {open_root / OWN[1]}" in message
        assert "as one user" in message


def test_users_of_one_group_share_a_store(open_root: Path) -> None:
    """With the modes that the manual recommends."""
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


def test_unwritable_root_raises_the_system_error(open_root: Path) -> None:
    """The temp folder is not the reason, so its remedy would mislead."""
    open_root.chmod(0o755)
    store = store_at(open_root)
    message = as_user(12345, lambda: store.save(KEY, ContentFile(DATA)))
    assert "Permission denied" in message
    assert "2770" not in message


@override_settings(FILE_UPLOAD_PERMISSIONS=None)
def test_modes_follow_the_umask_by_default(root: Path, umask: int) -> None:
    """Without options and settings, as mkdir() and open() do."""
    root.mkdir()
    root.chmod(0o755)
    store_at(root).save(KEY, ContentFile(DATA))
    assert {mode(folder) for folder in folders_above(root, KEY)} == {0o777 & ~umask}
    assert mode(root / KEY) == 0o666 & ~umask


def test_settings_give_the_modes(root: Path) -> None:
    """They are read at each use."""
    store = store_at(root)
    with override_settings(FILE_UPLOAD_PERMISSIONS=0o600, FILE_UPLOAD_DIRECTORY_PERMISSIONS=0o700):
        store.save(KEY, ContentFile(DATA))
    assert mode(root / KEY) == 0o600
    assert {mode(folder) for folder in folders_above(root, KEY)} == {0o700}


def test_save_does_not_set_the_umask(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to all threads of the process."""

    def forbidden(mask: int) -> int:
        raise AssertionError("the store set the umask")

    monkeypatch.setattr(os, "umask", forbidden)
    store = store_at(root, file_permissions_mode=0o640, directory_permissions_mode=0o750)
    assert store.save(KEY, ContentFile(DATA)) == KEY


@pytest.mark.parametrize("root_mode", [0o755, 0o2775])
def test_files_and_folders_get_the_group_of_the_root(root: Path, root_mode: int) -> None:
    """So that a web server in that group reads them, with and without setgid folders."""
    need(ROOT)
    group = os.getgid() + 12345
    root.mkdir()
    os.chown(root, -1, group)
    root.chmod(root_mode)
    store = store_at(root, file_permissions_mode=0o640, directory_permissions_mode=0o750)
    store.save(KEY, ContentFile(DATA))
    with store.open(NAME, "wb") as writer:
        writer.write(DATA)
    paths = [root / KEY, root / NAME, *folders_above(root, KEY), *folders_above(root, NAME)]
    assert {path.stat().st_gid for path in paths} == {group}


def test_save_ignores_a_denied_chown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Django. The file stays usable for its owner."""
    need(ROOT)
    root.mkdir()
    os.chown(root, -1, os.getgid() + 12345)

    def refuse(fd: int, user: int, group: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchown", refuse)
    assert store_at(root).save(KEY, ContentFile(DATA)) == KEY


def test_setgid_bit_is_inherited(root: Path) -> None:
    """directory_permissions_mode does not remove the inherited bit."""
    root.mkdir()
    root.chmod(0o2775)
    store_at(root, directory_permissions_mode=0o750).save(KEY, ContentFile(DATA))
    assert {mode(folder) for folder in folders_above(root, KEY)} == {0o2750}
