"""A temporary PostgreSQL server for one run of the tests, from the machine's binaries.

``DEVILRY_STORAGE_TEST_DATABASE=postgres`` runs the tests on it. The conftest starts it before
Django connects. Workers and children find it by libpq's variables (``PGHOST``, ``PGPORT``,
``PGUSER``, ``PGPASSWORD``). It listens only on 127.0.0.1, demands its password, never fsyncs, and
is removed after the run.

Tests that need PostgreSQL (row locks, a killed backend) have the marker ``postgres`` and are
skipped on SQLite. All other tests run on both databases.
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
"""The number of ports to try: another process may take a free port before the server does."""

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
    """Return why this machine cannot run a server, or None if it can."""
    if find_spec("psycopg") is None:
        return "missing component: PostgreSQL client: pip install 'psycopg[binary]'."
    if binaries() is None:
        return "missing component: PostgreSQL server: apt-get install postgresql."
    return None


def binaries() -> Path | None:
    """Return the folder of ``initdb`` and ``pg_ctl``: Debian's newest, or one on the PATH."""
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
        """Make and run the cluster, and return libpq's variables; RuntimeError if it fails."""
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
        """Crash the server, as ``pg_ctl stop -m immediate`` does, and restart it."""
        postmaster = (self._data / "postmaster.pid").read_text().split()[0]
        os.kill(int(postmaster), signal.SIGQUIT)
        self._run("pg_ctl", "restart", "--wait", "--mode=immediate")

    def stop(self) -> None:
        """Stop the server if it runs, and remove its files."""
        if (self._data / "postmaster.pid").exists():
            # The mode "fast" ends sessions that a failed test left open.
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
                    output = log.read_text() if log.exists() else ""
                    raise RuntimeError(f"{error}\n{output}") from error
            else:
                return port
        raise AssertionError("not reached")

    def _run(self, program: str, *arguments: str) -> None:
        """Run a program of the server on the cluster, but not as root, which it rejects."""
        folder = binaries()
        assert folder is not None, "Call missing() before you make a server."
        done = subprocess.run(
            [folder / program, *arguments, f"--pgdata={self._data}"],
            cwd=self.directory,
            # The server reads libpq's variables, which may name another server.
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
            user=self._owner,
            group=None if self._owner is None else pwd.getpwnam(self._owner).pw_gid,
            extra_groups=None if self._owner is None else [],
            stdin=subprocess.DEVNULL,
            # Not a pipe, which the server would inherit and keep open.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            output = (done.stderr or b"").decode(errors="replace")
            raise RuntimeError(
                f"{program} {arguments[0]!r} ended with {done.returncode}. {output}"
            )


def _folders() -> Iterator[Path]:
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(debian, key=lambda folder: float(folder.parent.name), reverse=True)
    found = shutil.which("initdb")
    if found:
        yield Path(found).resolve().parent


def _unprivileged_user() -> str | None:
    """Return the user that runs the server if this process is root, otherwise None."""
    if os.geteuid() != 0:
        return None
    users = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in users), None)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
