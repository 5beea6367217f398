"""A server of S3 on this machine, for as long as the demo needs one.

SeaweedFS, which keeps what S3 promises, else moto, which runs wherever Python does. It listens on
free ports of 127.0.0.1, keeps its data in a temp folder, and takes both along when it ends.
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

#: In order of preference: names of servers, and how people write them.
TITLES = {"seaweedfs": "SeaweedFS", "moto": "moto"}

BUCKET = "deliveries"

_PATIENCE = 60.0  # seconds; a quick machine needs 1 to 3
_REMEDY = 'Install what the demo needs: python -m pip install -e ".[demo]".'


class NoServer(Exception):
    """No server can be had here; the words say why, and what to do."""


@dataclass(frozen=True)
class Server:
    """A running server: where it is, and the variables that make it the project's store."""

    title: str
    port: int
    folder: Path
    access_key: str
    secret_key: str = field(repr=False)
    #: Why a server that would have been preferred does not run.
    instead_of: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs in its environment to keep its deliveries here."""
        return {
            "DELIVERY_STORE": "s3",
            "AWS_STORAGE_BUCKET_NAME": BUCKET,
            "AWS_S3_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            # The rows go when the bytes go.
            "EXAMPLE_DATA": str(self.folder / "example"),
            # Nothing of what the user has for other buckets, and no way round by a proxy.
            "AWS_CONFIG_FILE": os.devnull,
            "no_proxy": "*",
        }

    def is_gone(self) -> bool:
        """Return whether nobody listens there any more, and the data are removed."""
        with socket.socket() as probe:
            answered = probe.connect_ex(("127.0.0.1", self.port)) == 0
        return not answered and not self.folder.exists()

    def client(self) -> Any:
        """Return a plain client of boto3, as any other program would use one."""
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
    """Run the first of these servers that can be had, with an empty bucket, during the block.

    It is ended however the block is left: by an exception, Ctrl-C, SIGTERM or SIGHUP, too. Raises
    NoServer where none can be had.
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
    """Let signals that would end this process at once raise SystemExit instead."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    ending = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) == signal.SIG_DFL  # not where nohup has it ignored
    ]
    for number in ending:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ending:
            signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True)
class _Call:
    """How a server is called, and what it would leave behind."""

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
                # A new bucket begins with one file of SeaweedFS's, not with seven.
                "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
            },
            start_new_session=True,  # Ctrl-C is for us, who end it
        )
    try:
        yield process
    finally:
        process.kill()  # asked politely, SeaweedFS takes half a minute
        process.wait()


def _log(server: Server) -> Path:
    return server.folder / "log"


def _make_bucket(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server makes a bucket and takes a file into it."""
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
            said = _log(server).read_text(errors="replace").splitlines()[-3:]
            raise NoServer(
                f"{server.title} does not start ({exception}; it said: {' / '.join(said)})."
            ) from exception
        return


# -- How they are called --


def _seaweedfs(folder: Path) -> _Call:
    # That of the environment first, which need not be on the PATH.
    beside = Path(sys.executable).parent
    weed = shutil.which("weed", path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")
    if weed is None:
        raise NoServer("SeaweedFS is missing: there is no program 'weed'.")
    parts = ("master", "volume", "filer", "s3")
    ports = _free_ports(2 * len(parts))
    http, grpc = ports[: len(parts)], ports[len(parts) :]
    given = {
        "dir": folder,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        **{f"{part}.port": port for part, port in zip(parts, http, strict=True)},
        **{f"{part}.port.grpc": port for part, port in zip(parts, grpc, strict=True)},
        # Relative: the path of a socket may have 107 characters.
        "filer.localSocket": "filer.sock",
        "s3.localSocket": "s3.sock",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.autoCreateBucket": "false",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 128,
        "volume.max": 100,
    }
    options = [f"-{name}={value}" for name, value in given.items()]
    return _Call(
        http[-1],
        [weed, "server", "-filer", "-s3", *options],
        # Where it puts them, whatever TMPDIR says.
        [
            Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock")  # noqa: S108
            for part, port in zip(parts, grpc, strict=True)
        ],
    )


def _moto(folder: Path) -> _Call:
    if None in (find_spec("moto"), find_spec("flask"), find_spec("flask_cors")):
        raise NoServer("moto is missing, or what its server needs: flask, flask-cors.")
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
