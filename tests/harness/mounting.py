"""Mount file systems during a test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"


def remount(target: Path, options: str) -> None:
    """Change the options of a mount, for example to ``ro``."""
    _run("mount", "-o", f"remount,{options}", str(target))


@contextmanager
def mounted(source: str, target: Path, kind: str, options: str) -> Iterator[Path]:
    """Make a folder and mount a file system on it inside the block."""
    target.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", kind, "-o", options, source, str(target))
    try:
        yield target
    finally:
        _run("umount", str(target))


def tmpfs(target: Path, size: str) -> AbstractContextManager[Path]:
    """Mount a tmpfs of a size such as ``256k``."""
    return mounted("tmpfs", target, "tmpfs", f"size={size}")


def make_ext4(image: Path, mebibytes: int) -> None:
    """Make a file that contains an empty ext4 file system."""
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    _run("mkfs.ext4", "-q", "-F", str(image))


def loop_mounted(image: Path, target: Path) -> AbstractContextManager[Path]:
    """Mount the ext4 file system in a file."""
    return mounted(str(image), target, "ext4", "loop")
