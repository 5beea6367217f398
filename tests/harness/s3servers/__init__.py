"""Real S3 servers for the tests, each a process on free ports of 127.0.0.1.

``seaweedfs`` keeps what S3 promises, ``moto`` is the quick one, ``rclone`` ignores If-None-Match.
`get` starts one when it is first asked for; workers and children of the process that did so find
it in their environment. It ends with that process, however that ends.
"""

from __future__ import annotations

import functools
import json
import os
import threading
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from . import keeping, programs

REGION = "us-east-1"

_lock = threading.Lock()


@dataclass(frozen=True)
class Server:
    """A running server: where it is, and who may do everything there."""

    name: str
    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = REGION

    def client(self) -> Any:
        """Return this process's boto3 client of S3, whose calls end in seconds."""
        return _client(self, os.getpid())

    def bucket(self) -> str:
        """Make a bucket of a name that was never used, and return the name."""
        name = f"deliveries-{uuid.uuid4().hex}"
        self.client().create_bucket(Bucket=name)
        return name

    def options(self, bucket: str) -> dict[str, Any]:
        """Return the options of a storage over this bucket, as ``STORAGES`` wants them."""
        return {
            "bucket_name": bucket,
            "endpoint_url": self.endpoint_url,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "region_name": self.region,
            "addressing_style": "path",
        }


def missing(name: str) -> str | None:
    """Return why this server cannot be started here, None where it can."""
    return programs.PROGRAMS[name].missing()


def need(name: str) -> Server:
    """Return the server; skip the test where it is missing."""
    if reason := missing(name):
        pytest.skip(reason)
    return get(name)


def get(name: str) -> Server:
    """Return the running server, started if nobody has yet; RuntimeError if it will not run."""
    with _lock:
        variable = f"DEVILRY_STORAGE_TEST_S3_{name.upper()}"
        if variable not in os.environ:
            os.environ[variable] = json.dumps(asdict(_started(name)))
        return Server(**json.loads(os.environ[variable]))


def own(name: str) -> Server:
    """Return a server that nobody else talks to, for another setup; skip or fail as `need`."""
    need(name)
    return _started(name)


class Restartable:
    """A server of one's own that can be killed and started again."""

    def __init__(self, name: str) -> None:
        need(name)
        key, secret = _credentials()
        self._server = keeping.Restartable(programs.PROGRAMS[name], key, secret)
        self.server = _server(name, self._server.port, key, secret)
        self.start()

    def start(self) -> None:
        self._server.start(lambda: _try(self.server))

    def kill(self) -> None:
        self._server.kill()

    def stop(self) -> None:
        self._server.stop()


def _started(name: str) -> Server:
    key, secret = _credentials()

    def try_it(port: int) -> None:
        _try(_server(name, port, key, secret))

    port = keeping.start(programs.PROGRAMS[name], key, secret, try_it)
    return _server(name, port, key, secret)


def _credentials() -> tuple[str, str]:
    return f"ACCESSKEY{uuid.uuid4().hex[:11].upper()}", f"secret-key-{uuid.uuid4().hex}"


def _server(name: str, port: int, key: str, secret: str) -> Server:
    return Server(name, f"http://127.0.0.1:{port}", key, secret)


def _try(server: Server) -> None:
    client, bucket = server.client(), server.bucket()
    client.put_object(Bucket=bucket, Key="ready", Body=b"ready")
    assert client.get_object(Bucket=bucket, Key="ready")["Body"].read() == b"ready"


@functools.lru_cache
def _client(server: Server, process: int) -> Any:
    # One a process: a fork must not share its parent's connections.
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
        config=Config(
            connect_timeout=2,
            read_timeout=10,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            proxies={},  # none, whatever the environment says
        ),
    )
