"""A site with the package's views and plain ones beside them, on a server in a child process.

Servers import this module. `started` runs one, with the database of the caller.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
from django.conf import settings

FOLDER = "DEVILRY_STORAGE_BENCHMARK_FOLDER"
SERVE = "DEVILRY_STORAGE_BENCHMARK_SERVE"
HANDLER = "DEVILRY_STORAGE_BENCHMARK_HANDLER"
MIB = 1 << 20
HERE = Path(__file__).parent
DEFAULT_HANDLER = "django.core.files.uploadhandler.TemporaryFileUploadHandler"

SERVERS = {
    "gunicorn": ["--workers=1", "--timeout=600", "--bind=127.0.0.1:{}", "website:wsgi()"],
    "uvicorn": ["--port={}", "--log-level=error", "--lifespan=off", "--factory", "website:asgi"],
}


def configure() -> None:
    """Configure Django for the folder in the environment, on PostgreSQL if libpq's are set."""
    folder = Path(os.environ[FOLDER])
    database: dict[str, Any] = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": folder / "db.sqlite3",
    }
    if "PGHOST" in os.environ:
        database = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres"}
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        DATABASES={"default": {**database, "CONN_MAX_AGE": None}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DELIVERY_STORE_SERVE=os.environ.get(SERVE, "stream"),
        DELIVERY_STORE_UPLOAD_MAX_BYTES=1 << 40,
        DELIVERY_STORE_UPLOAD_MAX_TOTAL_BYTES=1 << 40,
        FILE_UPLOAD_HANDLERS=[
            "django.core.files.uploadhandler.MemoryFileUploadHandler",
            os.environ.get(HANDLER, DEFAULT_HANDLER),
        ],
        # Beside the files, so that a FileField renames its temporary file.
        FILE_UPLOAD_TEMP_DIR=str(folder),
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "devilry_storage",
            "devilry_storage.deliveries",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        ROOT_URLCONF="website_urls",
        SECRET_KEY="benchmark",
        SENDFILE_BACKEND="django_sendfile.backends.nginx",
        SENDFILE_ROOT=str(folder / "store"),
        SENDFILE_URL="/the-store",
        STORAGES={
            "default": {
                "BACKEND": "django.core.files.storage.FileSystemStorage",
                "OPTIONS": {"location": folder / "plain"},
            },
            "deliveries": {
                "BACKEND": "devilry_storage.storages.FsHierDeliveryStore",
                "OPTIONS": {"location": str(folder / "store")},
            },
        },
        USE_TZ=True,
    )
    django.setup()


def wsgi() -> Any:
    """Return the application for a WSGI server."""
    from django.core.wsgi import get_wsgi_application

    configure()
    return get_wsgi_application()


def asgi() -> Any:
    """Return the application for an ASGI server."""
    from django.core.asgi import get_asgi_application

    configure()
    return get_asgi_application()


@contextmanager
def prepared() -> Iterator[Path]:
    """Give a folder for a site; Django is configured, and the database has its tables."""
    from tests.harness import postgres

    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="devilry-storage-benchmark-"))
        stack.callback(shutil.rmtree, folder)
        if postgres.missing() is None:
            server = postgres.Server()
            os.environ.update(server.start())
            stack.callback(server.stop)
        os.environ[FOLDER] = str(folder)
        configure()
        from django.core.management import call_command
        from django.db import connections

        stack.callback(connections.close_all)
        call_command("migrate", verbosity=0)
        yield folder


@dataclass(frozen=True)
class Server:
    """A running server with one process, and the cookie of a user who is logged in."""

    port: int
    cookie: str

    def get(self, path: str) -> int:
        """Send a GET request, and return the number of bytes of the response."""
        return self.request("GET", path)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> int:
        """Send a request; raise RuntimeError unless it succeeds."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=600, blocksize=1 << 20
        )
        with closing(connection) as client:
            client.request(method, path, body, {"Cookie": self.cookie, **headers})
            response = client.getresponse()
            if response.status not in {200, 302}:
                raise RuntimeError(f"{path!r}: status {response.status}: {response.read()!r}")
            received = 0
            buffer = bytearray(MIB)
            while count := response.readinto(buffer):
                received += count
            return received

    def cpu_time(self) -> float:
        """Return the CPU time of the server's process so far, in seconds."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)) as client:
            client.request("GET", "/cpu/")
            return float(client.getresponse().read())


@contextmanager
def started(kind: str, user: Any, **variables: str) -> Iterator[Server]:
    """Run a server of :data:`SERVERS` with these environment variables."""
    from django.test import Client

    client = Client()
    client.force_login(user)
    cookie = client.cookies.output(attrs=[], header="", sep=";").strip()
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    child = subprocess.Popen(
        [sys.executable, "-m", kind, *(argument.format(port) for argument in SERVERS[kind])],
        env={**os.environ, **variables, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        server = Server(port, cookie)
        for attempt in range(100):
            try:
                server.cpu_time()
                break
            except ConnectionRefusedError:
                if attempt == 99 or child.poll() is not None:
                    raise
                time.sleep(0.1)
        yield server
    finally:
        child.terminate()
        child.wait()
