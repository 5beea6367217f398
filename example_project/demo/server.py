"""An S3 server on this machine, while the demo needs one.

It is SeaweedFS, which behaves like S3, or else moto, which only needs Python. The server listens
on free ports of 127.0.0.1. Its data are in a temporary folder, which is removed when it stops.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

#: Names and titles of the servers, in order of preference.
TITLES = {"seaweedfs": "SeaweedFS", "moto": "moto"}

BUCKET = "deliveries"

_PATIENCE = 60.0  # seconds; a fast machine needs 1 to 3
_REMEDY = 'Install the requirements of the demo: python -m pip install -e ".[demo]".'


class NoServer(Exception):
    """No server can run here. The message has the reason and the remedy."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    title: str
    port: int
    folder: Path
    access_key: str
    secret_key: str = field(repr=False)
    #: Why a preferred server does not run.
    instead_of: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables for a process that uses this server as its store."""
        return {
            "DELIVERY_STORE": "s3",
            "AWS_STORAGE_BUCKET_NAME": BUCKET,
            "AWS_S3_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            # The database is removed with the files.
            "EXAMPLE_DATA": str(self.folder / "example"),
            # Ignore the user's configuration of other buckets, and proxies.
            "AWS_CONFIG_FILE": os.devnull,
            "no_proxy": "*",
        }

    def is_gone(self) -> bool:
        """Return whether the server has stopped and its data are removed."""
        with socket.socket() as probe:
            is_listening = probe.connect_ex(("127.0.0.1", self.port)) == 0
        return not is_listening and not self.folder.exists()

    def client(self) -> Any:
        """Return a boto3 client that does not use the package."""
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(
                connect_timeout=2,
                read_timeout=20,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                proxies={},
            ),
        )


@contextmanager
def running(names: Sequence[str] = tuple(TITLES)) -> Iterator[Server]:
    """Run the first available server, with an empty bucket, during the block.

    The server is stopped at the end of the block, also after an exception, Ctrl-C, SIGTERM or
    SIGHUP. Raises NoServer if no server is available.
    """
    if None in (find_spec("boto3"), find_spec("storages")):
        raise NoServer(f"boto3 or django-storages is missing. {_REMEDY}")
    reasons: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(_unwinding_signals())
        for name in names:
            try:
                server = stack.enter_context(_started(name, " ".join(reasons)))
            except NoServer as exception:
                reasons.append(str(exception))
            else:
                break
        else:
            raise NoServer(" ".join([*reasons, _REMEDY]))
        yield server


@contextmanager
def _unwinding_signals() -> Iterator[None]:
    """Raise SystemExit on signals that would otherwise terminate the process immediately."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) == signal.SIG_DFL  # not if nohup ignores it
    ]
    for number in numbers:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True)
class _Call:
    """The command of a server, its port, and files that it leaves behind."""

    port: int
    command: list[str]
    leftovers: list[Path] = field(default_factory=list)


@contextmanager
def _started(name: str, instead_of: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix=f"devilry-storage-demo-{name}-") as folder:
        call = _CALLS[name](Path(folder))
        server = Server(
            TITLES[name],
            call.port,
            Path(folder),
            access_key=f"DEMO{secrets.token_hex(8).upper()}",
            secret_key=secrets.token_hex(20),
            instead_of=instead_of,
        )
        with ExitStack() as stack:
            for leftover in call.leftovers:
                stack.callback(leftover.unlink, missing_ok=True)
            process = stack.enter_context(_process(call, server))
            _make_bucket(server, process)
            yield server


@contextmanager
def _process(call: _Call, server: Server) -> Iterator[subprocess.Popen[bytes]]:
    with _log(server).open("wb") as log:
        process = subprocess.Popen(
            call.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=server.folder,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(server.folder),
                "TMPDIR": str(server.folder),
                "AWS_ACCESS_KEY_ID": server.access_key,
                "AWS_SECRET_ACCESS_KEY": server.secret_key,
                # SeaweedFS creates one volume for a new bucket instead of seven.
                "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
            },
            start_new_session=True,  # Ctrl-C must not reach it: the block stops it
        )
    try:
        yield process
    finally:
        process.kill()  # with SIGTERM, SeaweedFS would take half a minute
        process.wait()


def _log(server: Server) -> Path:
    return server.folder / "log"


def _make_bucket(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Create the bucket. Waits until the server can store a file."""
    from botocore.exceptions import BotoCoreError, ClientError

    client, until = server.client(), time.monotonic() + _PATIENCE
    while True:
        try:
            with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
            client.delete_object(Bucket=BUCKET, Key="ready")
        except (BotoCoreError, ClientError) as exception:
            if process.poll() is None and time.monotonic() < until:
                time.sleep(0.1)
                continue
            lines = _log(server).read_text(errors="replace").splitlines()[-3:]
            raise NoServer(
                f"{server.title} does not start ({exception}; its output: {' / '.join(lines)})."
            ) from exception
        return


# -- Commands --


def _seaweedfs(folder: Path) -> _Call:
    # First in the virtual environment, which may not be in the PATH.
    scripts = Path(sys.executable).parent
    weed = shutil.which("weed", path=f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}")
    if weed is None:
        raise NoServer("SeaweedFS is missing: the program 'weed' was not found.")
    parts = ("master", "volume", "filer", "s3")
    ports = _free_ports(2 * len(parts))
    http, grpc = ports[: len(parts)], ports[len(parts) :]
    settings = {
        "dir": folder,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        **{f"{part}.port": port for part, port in zip(parts, http, strict=True)},
        **{f"{part}.port.grpc": port for part, port in zip(parts, grpc, strict=True)},
        # Relative, because paths of sockets are limited to 107 characters.
        "filer.localSocket": "filer.sock",
        "s3.localSocket": "s3.sock",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.autoCreateBucket": "false",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 128,
        "volume.max": 100,
    }
    options = [f"-{name}={value}" for name, value in settings.items()]
    return _Call(
        http[-1],
        [weed, "server", "-filer", "-s3", *options],
        # SeaweedFS ignores TMPDIR for these.
        [
            Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock")  # noqa: S108
            for part, port in zip(parts, grpc, strict=True)
        ],
    )


def _moto(folder: Path) -> _Call:
    if None in (find_spec("moto"), find_spec("flask"), find_spec("flask_cors")):
        raise NoServer("moto is missing, or flask or flask-cors, which its server needs.")
    (port,) = _free_ports(1)
    return _Call(port, [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)])


_CALLS = {"seaweedfs": _seaweedfs, "moto": _moto}


def _free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(listener.getsockname()[1]) for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()
