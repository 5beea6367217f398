"""The example project: what its demo claims is true, and its server serves it."""

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

#: What the demo does on S3 is another module's matter.
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


def test_default_source_is_at_least_200_real_files_of_mixed_size_and_type(shown: Shown) -> None:
    """The demo delivers what lies on the machine: small, large and empty, text, code, images."""
    sizes = [path.stat().st_size for path in source_files()]
    assert shown.figure(r"delivered +(\d+) files") == len(sizes) >= 200
    assert min(sizes) == 0
    assert max(sizes) > 100_000
    assert {".py", ".html", ".js", ".css", ".svg", ".po", ".mo"} <= {
        path.suffix for path in source_files()
    }


def test_files_come_in_several_deliveries_of_several_groups(shown: Shown) -> None:
    """Every delivery is finished, and numbered in its group."""
    deliveries = shown.rows(
        "SELECT assignment_group_id, number, successful FROM devilry_deliveries_delivery"
    )
    # The one whose writer was killed came last.
    assert shown.figure(r"in (\d+) deliveries") == len(deliveries) - 1 >= 2
    assert all(successful for *_, successful in deliveries)
    for group in {group for group, *_ in deliveries}:
        numbers = sorted(number for of, number, _ in deliveries if of == group)
        assert numbers == list(range(1, len(numbers) + 1))
    assert len({group for group, *_ in deliveries}) >= 2


def test_store_holds_the_bytes_of_the_source_under_the_keys_of_the_rows(shown: Shown) -> None:
    """Hashed here, without the package: every source file is there, and so is every row's."""
    for name, size, digest in shown.rows(ROWS):
        assert (shown.store / name).stat().st_size == size
        assert sha256(shown.store / name) == digest
    wanted = Counter(sha256(path) for path in source_files())
    stored = Counter(sha256(path) for path in keys(shown.store))
    assert not wanted - stored
    assert (stored - wanted).total() == 1  # the file of the killed writer, delivered again


def test_every_file_is_verified(shown: Shown) -> None:
    """The summary says that all were read back, and none was different."""
    delivered = shown.figure(r"delivered +(\d+) files")
    assert shown.figure(r"verified +(\d+) files") == delivered
    assert shown.figure(r"(\d+) different") == 0


def test_killed_writer_leaves_a_temp_file_and_nothing_torn(shown: Shown) -> None:
    """SIGKILL came while a temp file was there; under keys lies what rows and tombstones name."""
    (temp_file,) = (shown.store / ".devilry-storage" / "tmp").iterdir()
    assert temp_file.stat().st_size >= 1_000_000
    assert shown.figure(r"(\d+) torn files visible") == 0
    named = {name for name, *_ in shown.rows(ROWS) + shown.rows(TOMBSTONES)}
    assert {str(path.relative_to(shown.store)) for path in keys(shown.store)} == named
    assert "by SIGKILL, with" in shown.printed
    assert "'thesis.pdf' is still being stored" in shown.printed


def test_deleted_file_has_a_tombstone_and_keeps_its_bytes(shown: Shown) -> None:
    """The row is gone; tombstone and bytes stay until they are due."""
    ((name, size, digest),) = shown.rows(TOMBSTONES)
    assert shown.figure(r"deleted +1 file; (\d+) tombstone, .* in the store: yes") == 1
    assert name not in {row[0] for row in shown.rows(ROWS)}
    assert (shown.store / name).stat().st_size == size
    assert sha256(shown.store / name) == digest


def test_key_tree_and_file_table_are_printed(shown: Shown) -> None:
    """The tree gives each folder's deliveries; the table name, size, key and SHA-256."""
    tree = shown.printed.partition("3. Where the bytes lie")[2]
    for line in ("0/  deliveries 0 to 99", "2/  deliveries 20 to 29", "1/  delivery 1"):
        assert line in tree
    name, size, digest = shown.rows(f"{ROWS} AND filename = 'apps.py'")[0]
    assert re.search(rf"apps\.py +{size} bytes +{name} +{digest[:10]}\.\.\.", shown.printed)


def test_progress_without_a_terminal_is_one_plain_line(shown: Shown) -> None:
    """A log gets no escape sequences, and the bar once, at its end."""
    total = shown.figure(r"delivered +(\d+) files")
    assert "\x1b" not in shown.printed
    assert "\r" not in shown.printed
    assert len(re.findall(r"\d+/\d+ files", shown.printed)) == 1
    assert f"100% {total}/{total} files" in shown.printed


@pytest.fixture(scope="module")
def shown_twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shown, Shown]:
    """Two runs with a folder of odd names, in which lie their data and those of another demo."""
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


def test_demo_starts_from_nothing_again_and_takes_a_folder_of_odd_names(
    shown_twice: tuple[Shown, Shown],
) -> None:
    """A second run removes what the first one made; what cannot be a filename is left out."""
    first, again = shown_twice
    names = again.rows("SELECT filename FROM devilry_deliveries_filemeta")
    assert again.figure(r"delivered +(\d+) files") == 4
    assert "left out: 'new\\nline' is not a valid filename" in again.printed
    # Two were called sub-same; the demo deleted the larger one, and added its thesis.
    assert sorted(name for (name,) in names) == [
        "empty",
        "sub [red]-å.txt",
        "sub-same",
        "thesis.pdf",
    ]
    assert "0/0/1/1" in {name for name, *_ in again.rows(ROWS)}
    assert first.password() != again.password()


def test_data_of_any_demo_is_left_out_of_the_source(shown_twice: tuple[Shown, Shown]) -> None:
    """A folder that holds its own demo's data, or another's, gives what was there before."""
    for shown in shown_twice:
        assert shown.figure(r"delivered +(\d+) files") == 4


def test_folder_that_the_demo_did_not_make_is_refused_and_left_alone(tmp_path: Path) -> None:
    """The demo empties its data folder, and no other."""
    (tmp_path / "db.sqlite3").write_text("precious")
    ran = run(tmp_path, "demo")
    assert ran.returncode == 1
    assert f"did not make '{tmp_path}'" in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["db.sqlite3"]
    assert (tmp_path / "db.sqlite3").read_text() == "precious"


@pytest.mark.parametrize(
    ("source", "words"),
    [("none", "is not a folder"), ("", "has no files"), ("data", "is the demo's own data")],
)
def test_source_without_files_is_refused_before_anything_is_removed(
    tmp_path: Path, source: str, words: str
) -> None:
    """A mistake in --source costs nothing."""
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
    """The server of the demo's data."""
    with serving(shown.data, tmp_path_factory.mktemp("server") / "log") as server:
        yield server


def test_server_shows_the_deliveries_of_the_demo_to_the_admin(
    shown: Shown, server: Server
) -> None:
    """The user and the password that the demo printed open the admin of its database."""
    browser = server.admin(shown.password())
    files = read(browser, f"{server.url}{FILES}?q=apps.py")
    tombstones = read(browser, f"{server.url}{GONE}")
    ((name, *_),) = shown.rows(f"{ROWS} AND filename = 'apps.py'")
    assert name in files
    ((name, *_),) = shown.rows(TOMBSTONES)
    assert name in tombstones


def test_server_lets_student_and_examiner_in_with_the_printed_password(
    shown: Shown, server: Server
) -> None:
    """The student sees what the group delivered; the examiner downloads a file of it."""
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


def test_demo_ends_by_naming_the_pages_and_who_sees_them(shown: Shown) -> None:
    """The site, the admin, and for each kind of people a user with a password."""
    *_, ending = shown.printed.partition("Look at it yourself")
    assert "http://127.0.0.1:8000/  " in ending
    assert "http://127.0.0.1:8000/admin/  " in ending
    assert ending.index("runserver") < ending.index("http:") < ending.index("user anna")
    assert len({shown.password(user) for user in ("anna", "eva", "admin")}) == 1


def test_server_says_that_the_demo_comes_first(tmp_path: Path) -> None:
    """Without a database there is nothing to serve from the disk."""
    ran = run(tmp_path / "data", "runserver", "--noreload")
    assert ran.returncode == 1
    assert "run the command 'demo' first" in ran.stderr
    assert not (tmp_path / "data").exists()


def test_memory_server_delivers_the_samples_itself_and_takes_them_along(tmp_path: Path) -> None:
    """Rows and bytes live and die with the server's process; its admin shows the deliveries."""
    with serving(tmp_path / "data", tmp_path / "log", DELIVERY_STORE="memory") as server:
        log = server.log.read_text()
        password = the_one(r"Log in as 'admin' with the password '(\S+)'", log)
        second = run(tmp_path / "data", "runserver", DELIVERY_STORE="memory")
        files = read(server.admin(password), f"{server.url}{FILES}")
        groups = read(server.site("anna", password), f"{server.url}/")
    assert "Anna and Bjarne" in groups
    assert second.returncode == 1
    assert "Another demo or server is at work" in second.stderr
    delivered = the_one(r"Delivered (\d+) files to a store in memory", log)
    assert int(delivered) == len(source_files())
    assert f"{delivered} files" in files
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        ".made-by-the-demo",
        "memory.lock",
    ]


# -- The kinds of store --


def test_unknown_kind_of_store_is_refused_with_those_there_are(tmp_path: Path) -> None:
    """A typing mistake in DELIVERY_STORE is not a store on disk."""
    ran = run(tmp_path / "data", "check", DELIVERY_STORE="s4")
    assert ran.returncode == 1
    assert "DELIVERY_STORE is 's4': set it to one of disk, memory, s3." in ran.stderr


def test_demo_in_memory_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """Nothing of it would be there to be served afterwards."""
    ran = run(tmp_path / "data", "demo", DELIVERY_STORE="memory")
    assert ran.returncode == 1
    assert "unset DELIVERY_STORE" in ran.stderr
    assert not (tmp_path / "data").exists()
