"""A PostgreSQL server of our own for one run of the tests, from the machine's binaries.

``DEVILRY_STORAGE_TEST_DATABASE=postgres`` runs the suite on it: the conftest starts it before
Django looks for a database, and libpq's variables (``PGHOST``, ``PGPORT``, ``PGUSER``,
``PGPASSWORD``) tell workers and children where it is. It listens on 127.0.0.1 alone, takes no
connection without its password, never fsyncs, and is gone after the run.

A test that can do without PostgreSQL needs nothing of this: it runs on either database. One that
cannot (row locks, a killed backend) has the marker ``postgres`` and is skipped on SQLite.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

USER = "devilry_storage"
ATTEMPTS = 3
"""Ports that are tried: another process may take a free one before the server does."""

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 100
fsync = off
full_page_writes = off
synchronous_commit = off
"""


def missing() -> str | None:
    """Return why no server can be started here, None where one can."""
    if find_spec("psycopg") is None:
        return "missing component: PostgreSQL client: pip install 'psycopg[binary]'."
    if binaries() is None:
        return "missing component: PostgreSQL server: apt-get install postgresql."
    return None


def binaries() -> Path | None:
    """Return the folder of ``initdb`` and ``pg_ctl``: Debian's newest, else from the PATH."""
    return next((folder for folder in _folders() if (folder / "initdb").is_file()), None)


def address() -> tuple[str, int]:
    """Return host and port of the run's server, for a test that puts a proxy before it."""
    return os.environ["PGHOST"], int(os.environ["PGPORT"])


class Server:
    """A cluster in a temporary directory, started by `start` and removed by `stop`."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="devilry-storage-postgres-"))
        self.password = secrets.token_urlsafe()
        self._data = self.directory / "data"
        self._owner = _unprivileged_user()

    def start(self) -> dict[str, str]:
        """Make the cluster, run it, return libpq's variables; RuntimeError if it will not run."""
        try:
            self._make()
            port = self._serve()
        except BaseException:
            self.stop()
            raise
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "PGUSER": USER,
            "PGPASSWORD": self.password,
        }

    def crash(self) -> None:
        """Do at once what ``pg_ctl stop -m immediate`` would come to, and restart the server."""
        postmaster = (self._data / "postmaster.pid").read_text().split()[0]
        os.kill(int(postmaster), signal.SIGQUIT)
        self._run("pg_ctl", "restart", "--wait", "--mode=immediate")

    def stop(self) -> None:
        """End the server, by the process id that it wrote down, and remove its files."""
        if (self._data / "postmaster.pid").exists():
            # Sessions that a failed test left open are cut off.
            self._run("pg_ctl", "stop", "--wait", "--mode=fast")
        shutil.rmtree(self.directory)

    def _make(self) -> None:
        password = self.directory / "password"
        password.write_text(self.password)
        if self._owner is not None:
            shutil.chown(self.directory, self._owner)
            shutil.chown(password, self._owner)
        self._run(
            "initdb",
            f"--username={USER}",
            f"--pwfile={password}",
            "--auth=password",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        )

    def _serve(self) -> int:
        log = self.directory / "log"
        for attempt in range(1, ATTEMPTS + 1):
            port = _free_port()
            with (self._data / "postgresql.conf").open("a") as configuration:
                configuration.write(_CONFIGURATION.format(port=port))
            try:
                self._run("pg_ctl", "start", "--wait", f"--log={log}")
            except RuntimeError as error:
                if attempt == ATTEMPTS:
                    said = log.read_text() if log.exists() else ""
                    raise RuntimeError(f"{error}\n{said}") from error
            else:
                return port
        raise AssertionError("not reached")

    def _run(self, program: str, *arguments: str) -> None:
        """Run a program of the server on the cluster, never as root: it would refuse."""
        folder = binaries()
        assert folder is not None, "Ask missing() before a server is made."
        done = subprocess.run(
            [folder / program, *arguments, f"--pgdata={self._data}"],
            cwd=self.directory,
            # The server reads libpq's variables too: none of another server's.
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
            user=self._owner,
            group=None if self._owner is None else pwd.getpwnam(self._owner).pw_gid,
            extra_groups=None if self._owner is None else [],
            stdin=subprocess.DEVNULL,
            # Not a pipe: the server inherits it and would keep it open.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            said = (done.stderr or b"").decode(errors="replace")
            raise RuntimeError(f"{program} {arguments[0]!r} ended with {done.returncode}. {said}")


def _folders() -> Iterator[Path]:
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(debian, key=lambda folder: float(folder.parent.name), reverse=True)
    found = shutil.which("initdb")
    if found:
        yield Path(found).resolve().parent


def _unprivileged_user() -> str | None:
    """Return who runs the server where we are root, None where we are not."""
    if os.geteuid() != 0:
        return None
    users = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in users), None)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
