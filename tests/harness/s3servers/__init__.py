"""Real S3 servers for the tests, as processes on free ports of 127.0.0.1.

``seaweedfs`` behaves like S3, ``moto`` is fast, and ``rclone`` ignores If-None-Match. ``ceph``
ignores it except in PutObject; only full proofs use it. `get` starts a server at its first call;
workers and children of the process find it in their environment. It ends with the process that
started it, even if that is killed.
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
    """The address of a running server, and the access key of a user with all rights."""

    name: str
    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = REGION

    def client(self) -> Any:
        """Return this process's boto3 client, which has short timeouts."""
        return _client(self, os.getpid())

    def bucket(self) -> str:
        """Make a bucket with a new name, and return the name."""
        name = f"deliveries-{uuid.uuid4().hex}"
        self.client().create_bucket(Bucket=name)
        return name

    def options(self, bucket: str) -> dict[str, Any]:
        """Return the ``OPTIONS`` of a storage with this bucket."""
        return {
            "bucket_name": bucket,
            "endpoint_url": self.endpoint_url,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "region_name": self.region,
            "addressing_style": "path",
        }


def missing(name: str) -> str | None:
    """Return why this machine cannot run this server, or None if it can."""
    return programs.PROGRAMS[name].missing()


def need(name: str) -> Server:
    """Return the running server, or skip the test if it is missing."""
    if reason := missing(name):
        pytest.skip(reason)
    return get(name)


def get(name: str) -> Server:
    """Return the running server; start it at the first call. RuntimeError if it does not start."""
    with _lock:
        variable = f"DEVILRY_STORAGE_TEST_S3_{name.upper()}"
        if variable not in os.environ:
            os.environ[variable] = json.dumps(asdict(_started(name)))
        return Server(**json.loads(os.environ[variable]))


def own(name: str) -> Server:
    """Start a server that is not shared with other tests; skip the test if it is missing."""
    need(name)
    return _started(name)


class Restartable:
    """A server that is not shared, and that can be killed and restarted."""

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
    # One for each process: a fork must not share the connections of its parent.
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
            proxies={},  # ignore the environment
        ),
    )
