"""Components that a test may need: mounts, loop devices, tracing and others.

A proof that needs a missing component is skipped, and the reason says how to get it. With
``DEVILRY_STORAGE_CI=1`` the conftest turns such skips into failures, so that CI runs every proof.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import signal
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytest

LINUX = sys.platform == "linux"
# Arguments of os.mknod() for a copy of /dev/zero.
ZERO = stat.S_IFCHR | 0o666
ZERO_DEVICE = os.makedev(1, 5) if LINUX else 0

_PTRACE_SEIZE = 0x4206
_PR_SET_PTRACER = 0x59616D61
_PR_SET_PTRACER_ANY = -1
_LOOP_CTL_GET_FREE = 0x4C82


MISSING = ("missing component: ", "not possible here: ")
"""Beginnings of skip reasons that are failures in CI."""


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def is_root() -> bool:
    """Return whether this process has the rights of root (Linux)."""
    return LINUX and os.geteuid() == 0


@functools.cache
def mounts_allowed() -> bool:
    """Try to mount a tmpfs, and return whether it is possible."""
    if not is_root():
        return False
    folder = tempfile.mkdtemp(prefix="devilry-storage-probe-")
    try:
        target = os.fsencode(folder)
        if _libc().mount(b"tmpfs", target, b"tmpfs", 0, b"size=64k") != 0:
            return False
        _libc().umount2(target, 0)
        return True
    finally:
        os.rmdir(folder)


@functools.cache
def device_nodes_allowed() -> bool:
    """Try to make a device node, and return whether it is possible."""
    if not is_root():
        return False
    with tempfile.TemporaryDirectory(prefix="devilry-storage-probe-") as folder:
        try:
            os.mknod(f"{folder}/zero", ZERO, ZERO_DEVICE)
        except OSError:
            return False
    return True


@functools.cache
def loop_mounts_allowed() -> bool:
    """Return whether mounts are allowed and a loop device is available."""
    if not mounts_allowed():
        return False
    import fcntl  # not on Windows, where mounts are never allowed

    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
        os.close(os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    finally:
        os.close(control)
    return True


def let_anyone_trace_me() -> None:
    """Let sibling processes trace this one, even if Yama allows only ancestors."""
    _libc().prctl(_PR_SET_PTRACER, ctypes.c_ulong(_PR_SET_PTRACER_ANY), 0, 0, 0)


@functools.cache
def ptrace_allowed() -> bool:
    """Try to trace a process, and return whether it is possible."""
    if not LINUX:
        return False
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # CPython warns of fork() with threads; this child uses none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        return int(_libc().ptrace(_PTRACE_SEIZE, child, None, None)) == 0
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)


@dataclass(frozen=True)
class Component:
    """Something that a machine may lack: a check, tools, and how to get it."""

    name: str
    allowed: Callable[[], bool]
    remedy: str
    tools: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Return why the component cannot be used, or None if it can."""
        absent = [tool for tool in self.tools if shutil.which(tool) is None]
        if self.allowed() and not absent:
            return None
        lacks = f" (no {', '.join(absent)})" if absent else ""
        return f"missing component: {self.name}{lacks}: {self.remedy}"


ROOT = Component("root", is_root, "run the tests as root on Linux.")
MOUNTS = Component(
    "mounts",
    mounts_allowed,
    "run the tests as root on Linux, in a container with --privileged.",
    ("mount", "umount"),
)
LOOP_MOUNTS = Component(
    "loop mounts",
    loop_mounts_allowed,
    "run the tests as root on Linux (in a container with --privileged) with e2fsprogs installed.",
    ("mount", "umount", "mkfs.ext4"),
)
PTRACE = Component(
    "ptrace",
    ptrace_allowed,
    "install strace; in a container add --cap-add=SYS_PTRACE.",
    ("strace",),
)
DEVICES = Component(
    "device nodes",
    device_nodes_allowed,
    "run the tests as root on Linux, in a container with --cap-add=MKNOD.",
)
CHROMIUM = Component("Chromium", lambda: True, "install Debian's package chromium.", ("chromium",))
NGINX = Component("nginx", lambda: True, "install Debian's package nginx-light.", ("nginx",))
APACHE = Component(
    "Apache",
    lambda: True,
    "install Debian's packages apache2 and libapache2-mod-xsendfile.",
    ("apache2",),
)
UNPACKING = Component(
    "programs that unpack archives",
    lambda: True,
    "install Debian's packages libarchive-tools, p7zip-full and unzip.",
    ("bsdtar", "unzip", "7z"),
)
JAVA = Component(
    "Java", lambda: True, "install Debian's package openjdk-17-jdk-headless.", ("java", "javac")
)
PROC = Component("/proc", lambda: LINUX, "run the tests on Linux.")
COMPONENTS = (
    *(LOOP_MOUNTS, PTRACE, MOUNTS, DEVICES, ROOT, PROC),
    *(CHROMIUM, NGINX, APACHE, UNPACKING, JAVA),
)


def in_ci() -> bool:
    """Return whether a test that needs a component may not be skipped."""
    return os.environ.get("DEVILRY_STORAGE_CI") == "1"


def need(*components: Component) -> None:
    """Skip the test if a component is missing."""
    for component in components:
        if reason := component.missing():
            pytest.skip(reason)


def describe() -> str:
    """Describe the machine's components in one line."""
    words = {True: "allowed", False: "not allowed"}
    return ", ".join(f"{component.name}: {words[component.allowed()]}" for component in COMPONENTS)
