"""The example project: the results of the demo, and its server."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib import admin

from ..harness.example_site import (
    FILES,
    GONE,
    ROWS,
    TOMBSTONES,
    Server,
    Shown,
    read,
    run,
    serving,
    the_one,
)

SOURCE = Path(admin.__file__).parent

#: test_demo_s3 tests the demo on S3.
DEMO = ("demo", "--s3-server", "none")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    data = tmp_path_factory.mktemp("example") / "data"
    ran = run(data, *DEMO)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    return Shown(data, ran.stdout)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def keys(store: Path) -> list[Path]:
    files = (path for path in store.rglob("*") if path.is_file())
    return [path for path in files if ".devilry-storage" not in path.parts]


def source_files() -> list[Path]:
    files = (path for path in SOURCE.rglob("*") if path.is_file())
    return [path for path in files if "__pycache__" not in path.parts]


def test_default_source_has_many_real_files(shown: Shown) -> None:
    """Small, large and empty files: text, code and images."""
    sizes = [path.stat().st_size for path in source_files()]
    assert shown.figure(r"delivered +(\d+) files") == len(sizes) >= 200
    assert min(sizes) == 0
    assert max(sizes) > 100_000
    assert {".py", ".html", ".js", ".css", ".svg", ".po", ".mo"} <= {
        path.suffix for path in source_files()
    }


def test_files_are_delivered_by_several_groups(shown: Shown) -> None:
    """Every delivery is finished and numbered within its group."""
    deliveries = shown.rows(
        "SELECT assignment_group_id, number, successful FROM devilry_deliveries_delivery"
    )
    # The delivery of the killed process is the last one.
    assert shown.figure(r"in (\d+) deliveries") == len(deliveries) - 1 >= 2
    assert all(successful for *_, successful in deliveries)
    for group in {group for group, *_ in deliveries}:
        numbers = sorted(number for of, number, _ in deliveries if of == group)
        assert numbers == list(range(1, len(numbers) + 1))
    assert len({group for group, *_ in deliveries}) >= 2


def test_store_contains_the_source_files(shown: Shown) -> None:
    """Hashed without the package. Every source file and every row's file exists."""
    for name, size, digest in shown.rows(ROWS):
        assert (shown.store / name).stat().st_size == size
        assert sha256(shown.store / name) == digest
    wanted = Counter(sha256(path) for path in source_files())
    stored = Counter(sha256(path) for path in keys(shown.store))
    assert not wanted - stored
    assert (stored - wanted).total() == 1  # the file of the killed writer, delivered again


def test_every_file_is_verified(shown: Shown) -> None:
    """According to the summary, all files were read back unchanged."""
    delivered = shown.figure(r"delivered +(\d+) files")
    assert shown.figure(r"verified +(\d+) files") == delivered
    assert shown.figure(r"(\d+) different") == 0


def test_killed_process_leaves_only_a_temporary_file(shown: Shown) -> None:
    """All other files in the store are named by rows and tombstones."""
    (temp_file,) = (shown.store / ".devilry-storage" / "tmp").iterdir()
    assert temp_file.stat().st_size >= 1_000_000
    assert shown.figure(r"(\d+) incomplete files visible") == 0
    named = {name for name, *_ in shown.rows(ROWS) + shown.rows(TOMBSTONES)}
    assert {str(path.relative_to(shown.store)) for path in keys(shown.store)} == named
    assert "by SIGKILL, with" in shown.printed
    assert "'thesis.pdf' is still being stored" in shown.printed


def test_deleted_file_has_a_tombstone_and_keeps_its_bytes(shown: Shown) -> None:
    """Only the row is deleted."""
    ((name, size, digest),) = shown.rows(TOMBSTONES)
    assert shown.figure(r"deleted +1 file; (\d+) tombstone, .* in the store: yes") == 1
    assert name not in {row[0] for row in shown.rows(ROWS)}
    assert (shown.store / name).stat().st_size == size
    assert sha256(shown.store / name) == digest


def test_key_tree_and_file_table_are_printed(shown: Shown) -> None:
    """The tree shows deliveries by folder, the table name, size, key and SHA-256."""
    tree = shown.printed.partition("3. Stored files")[2]
    for line in ("0/  deliveries 0 to 99", "2/  deliveries 20 to 29", "1/  delivery 1"):
        assert line in tree
    name, size, digest = shown.rows(f"{ROWS} AND filename = 'apps.py'")[0]
    assert re.search(rf"apps\.py +{size} bytes +{name} +{digest[:10]}\.\.\.", shown.printed)


def test_progress_without_a_terminal_is_one_plain_line(shown: Shown) -> None:
    """Logs get no escape sequences and only the final state of the bar."""
    total = shown.figure(r"delivered +(\d+) files")
    assert "\x1b" not in shown.printed
    assert "\r" not in shown.printed
    assert len(re.findall(r"\d+/\d+ files", shown.printed)) == 1
    assert f"100% {total}/{total} files" in shown.printed


@pytest.fixture(scope="module")
def shown_twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shown, Shown]:
    """Two runs with a folder of unusual names, which also contains the data of two demos."""
    source = tmp_path_factory.mktemp("odd")
    (source / "sub [red]").mkdir()
    (source / "sub [red]" / "å.txt").write_text("å")
    (source / "sub").mkdir()
    (source / "sub" / "same").write_text("one")
    (source / "sub-same").write_text("other")
    (source / "empty").touch()
    (source / "new\nline").touch()
    (source / "link").symlink_to("/etc/passwd")
    (source / ".hidden").touch()
    (source / "other").mkdir()
    (source / "other" / ".made-by-the-demo").touch()
    (source / "other" / "db.sqlite3").write_text("of another demo")
    data = source / "data"
    first, second = (run(data, *DEMO, "--source", source) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    return Shown(data, first.stdout), Shown(data, second.stdout)


def test_second_demo_replaces_the_data_of_the_first(shown_twice: tuple[Shown, Shown]) -> None:
    """Files with invalid names are left out."""
    first, again = shown_twice
    names = again.rows("SELECT filename FROM devilry_deliveries_filemeta")
    assert again.figure(r"delivered +(\d+) files") == 4
    assert "left out: 'new\\nline' is not a valid filename" in again.printed
    # Two files became sub-same. The demo deleted the larger one, and added its thesis.
    assert sorted(name for (name,) in names) == [
        "empty",
        "sub [red]-å.txt",
        "sub-same",
        "thesis.pdf",
    ]
    assert "0/0/1/1" in {name for name, *_ in again.rows(ROWS)}
    assert first.password() != again.password()


def test_data_of_any_demo_is_left_out_of_the_source(shown_twice: tuple[Shown, Shown]) -> None:
    """The number of delivered files is the same in both runs."""
    for shown in shown_twice:
        assert shown.figure(r"delivered +(\d+) files") == 4


def test_demo_rejects_a_foreign_data_folder(tmp_path: Path) -> None:
    """It empties only folders that it has created."""
    (tmp_path / "db.sqlite3").write_text("precious")
    ran = run(tmp_path, "demo")
    assert ran.returncode == 1
    assert f"did not create '{tmp_path}'" in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["db.sqlite3"]
    assert (tmp_path / "db.sqlite3").read_text() == "precious"


@pytest.mark.parametrize(
    ("source", "words"),
    [("none", "is not a folder"), ("", "has no files"), ("data", "is the demo's own data")],
)
def test_invalid_source_removes_nothing(tmp_path: Path, source: str, words: str) -> None:
    """A mistake in --source does not delete the data of an earlier demo."""
    data = tmp_path / "data"
    data.mkdir()
    (data / ".made-by-the-demo").touch()
    (data / "db.sqlite3").write_text("of an earlier demo")
    ran = run(data, "demo", "--source", tmp_path / source)
    assert ran.returncode == 1
    assert words in ran.stderr
    assert (data / "db.sqlite3").read_text() == "of an earlier demo"


# -- The server --


@pytest.fixture(scope="module")
def server(shown: Shown, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the data of the demo."""
    with serving(shown.data, tmp_path_factory.mktemp("server") / "log") as server:
        yield server


def test_admin_shows_the_deliveries_of_the_demo(shown: Shown, server: Server) -> None:
    """With the printed user and password."""
    browser = server.admin(shown.password())
    files = read(browser, f"{server.url}{FILES}?q=apps.py")
    tombstones = read(browser, f"{server.url}{GONE}")
    ((name, *_),) = shown.rows(f"{ROWS} AND filename = 'apps.py'")
    assert name in files
    ((name, *_),) = shown.rows(TOMBSTONES)
    assert name in tombstones


def test_student_and_examiner_can_log_in(shown: Shown, server: Server) -> None:
    """The student sees the group's deliveries, and the examiner downloads a file."""
    student = server.site("anna", shown.password("anna"))
    assert "Anna and Bjarne" in read(student, f"{server.url}/")
    assert 'type="file"' in read(student, f"{server.url}/groups/1/")
    delivery = read(student, f"{server.url}/deliveries/1/")
    examiner = server.site("eva", shown.password("eva"))
    assert "Chandra" in read(examiner, f"{server.url}/")
    link = re.search(r'class="name" href="(/[^"]+)"', delivery)
    assert link
    with examiner.open(f"{server.url}{link[1]}") as download:
        assert hashlib.sha256(download.read()).hexdigest() in delivery
    style = re.search(r'rel="stylesheet" href="(/[^"]+)"', delivery)
    assert style
    assert "color-scheme" in read(student, f"{server.url}{style[1]}")


def test_demo_prints_urls_and_users(shown: Shown) -> None:
    """The URLs of the site and the admin, and a user of each kind with the password."""
    *_, ending = shown.printed.partition("Try it yourself")
    assert "http://127.0.0.1:8000/  " in ending
    assert "http://127.0.0.1:8000/admin/  " in ending
    assert ending.index("runserver") < ending.index("http:") < ending.index("user anna")
    assert len({shown.password(user) for user in ("anna", "eva", "admin")}) == 1


def test_server_requires_the_demo(tmp_path: Path) -> None:
    """Without a database there is nothing to serve."""
    ran = run(tmp_path / "data", "runserver", "--noreload")
    assert ran.returncode == 1
    assert "run the command 'demo' first" in ran.stderr
    assert not (tmp_path / "data").exists()


def test_memory_server_delivers_samples_and_discards_them(tmp_path: Path) -> None:
    """Rows and files exist as long as the server. The admin shows the deliveries."""
    with serving(tmp_path / "data", tmp_path / "log", DELIVERY_STORE="memory") as server:
        log = server.log.read_text()
        password = the_one(r"Log in as 'admin' with the password '(\S+)'", log)
        second = run(tmp_path / "data", "runserver", DELIVERY_STORE="memory")
        files = read(server.admin(password), f"{server.url}{FILES}")
        groups = read(server.site("anna", password), f"{server.url}/")
    assert "Anna and Bjarne" in groups
    assert second.returncode == 1
    assert "Another demo or server is using" in second.stderr
    delivered = the_one(r"Delivered (\d+) files to a store in memory", log)
    assert int(delivered) == len(source_files())
    assert f"{delivered} files" in files
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        ".made-by-the-demo",
        "memory.lock",
    ]


# -- The kinds of store --


def test_unknown_kind_of_store_is_rejected(tmp_path: Path) -> None:
    """The message lists the kinds."""
    ran = run(tmp_path / "data", "check", DELIVERY_STORE="s4")
    assert ran.returncode == 1
    assert "DELIVERY_STORE is 's4': set it to one of disk, memory, s3." in ran.stderr


def test_demo_in_memory_is_rejected(tmp_path: Path) -> None:
    """Its files could not be served afterwards. Nothing is created."""
    ran = run(tmp_path / "data", "demo", DELIVERY_STORE="memory")
    assert ran.returncode == 1
    assert "unset DELIVERY_STORE" in ran.stderr
    assert not (tmp_path / "data").exists()
