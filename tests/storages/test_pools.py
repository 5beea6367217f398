"""Work that is done by threads, and by the calling thread where no thread can start."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import wait

import pytest

from devilry_storage.storages.pools import Pool

from ..harness import children

LATE = """
import atexit, sys, threading, time, django
django.setup()
from django.db import connections
from devilry_storage.deliveries.models import AssignmentGroup, Delivery
from devilry_storage.resolving import store_for

def broken():
    yield b"x"
    raise OSError("source")

def work():
    try:
        deliver()
    finally:
        connections.close_all()

def deliver():
    while sys.argv[1] == "thread" and threading.main_thread().is_alive():
        time.sleep(0.01)
    time.sleep(0.1)
    # Imported only now, with its libraries.
    from devilry_storage.archive import of_deliveries
    store = store_for(Delivery.filemeta_model())
    type(store).parallel_reads = 4
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="late"))
    names = [f"{number}.txt" for number in range(20)]
    delivery.add_files({name: name.encode() for name in names})
    try:
        delivery.add_files({"bad.txt": broken(), **{f"after {name}": b"" for name in names}})
    except OSError as exception:
        print(exception, len(list(store.scan(store.layout.folder(delivery.pk)))))
    print(b"".join(of_deliveries(Delivery.objects.filter(pk=delivery.pk))).count(b"19.txt"))
    if sys.argv[2] == "s3":
        from devilry_storage.storages.s3.writing import in_parallel
        print(len(in_parallel(lambda number, piece: {"PartNumber": number}, "abcdef", 3)))

if sys.argv[1] == "thread":
    threading.Thread(target=work).start()
else:
    atexit.register(work)
"""


MIDWAY = """
import threading, time, django
django.setup()
from collections import deque
from devilry_storage.archive.entries import Member
from devilry_storage.archive.readahead import read_members
from devilry_storage.storages.pools import Pool

class Store:
    parallel_reads = 2

    def stream(self, name):
        yield name.encode()

def work():
    members = deque(Member(f"{number}.txt", str(number), 1, "", ()) for number in range(9))
    contents = read_members(Store(), members)
    with Pool(3) as pool:
        print(next(contents).member.name, *pool.map(abs, range(5)))
        started.set()
        while not pool._shutdown:  # as long as the main thread is alive
            time.sleep(0.01)
        print(*pool.map(abs, range(5)))
        print(*(content.data.decode() for content in contents))

started = threading.Event()
threading.Thread(target=work).start()
started.wait(10)
"""


def test_pool_in_use_continues_after_the_main_thread_has_ended() -> None:
    """Its threads end then, and submit() says that the pool was shut down."""
    child = subprocess.run(
        [sys.executable, "-c", MIDWAY],
        env=children.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = ["0 0 1 2 3 4", "0 1 2 3 4", "1 2 3 4 5 6 7 8"]
    assert child.stdout.splitlines() == lines, child.stderr
    assert child.stderr == ""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["thread", "atexit"])
def test_work_continues_after_the_main_thread_has_ended(where: str) -> None:
    """Pools refuse it then. After a failure, no further file is stored."""
    try:
        import boto3  # noqa: F401
    except ImportError:
        s3 = ""
    else:
        s3 = "s3"
    child = subprocess.run(
        [sys.executable, "-c", LATE, where, s3],
        env=children.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # In the archive, the name is in two headers, in the list of checksums and in the content.
    assert child.stdout.split("\n")[:2] == ["source 20", "4"], child.stderr
    assert child.stdout.split("\n")[2:3] == (["6"] if s3 else [""])
    assert child.stderr == ""


def test_one_worker_is_the_calling_thread() -> None:
    """Its exceptions are those of the future, as in a pool of several threads."""
    for workers, is_calling in ((1, True), (2, False)):
        with Pool(workers) as pool:
            found = pool.submit(threading.get_ident)
            failed = pool.submit(int, "x")
            assert list(pool.map(int, "123")) == [1, 2, 3]
        assert (found.result() == threading.get_ident()) is is_calling
        assert isinstance(failed.exception(), ValueError)


def test_several_workers_work_at_once() -> None:
    meeting = threading.Barrier(3)
    with Pool(3) as pool:
        wait([pool.submit(meeting.wait, 5) for _ in range(3)])
    assert not meeting.broken


@pytest.mark.parametrize("allowed", [0, 1])
def test_work_is_done_if_the_system_starts_no_more_threads(
    monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    """By the threads that it has started, or by the calling thread; each piece once."""
    real = threading.Thread.start
    started: list[threading.Thread] = []
    done: list[int] = []

    def start(self: threading.Thread) -> None:
        if len(started) >= allowed:
            raise RuntimeError("can't start new thread")
        started.append(self)
        real(self)

    with monkeypatch.context() as patched, Pool(4) as pool:
        patched.setattr(threading.Thread, "start", start)
        futures = [pool.submit(done.append, number) for number in range(20)]
        wait(futures)
    assert sorted(done) == list(range(20))


def test_other_errors_of_a_pool_propagate() -> None:
    pool = Pool(2)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(time.time)
