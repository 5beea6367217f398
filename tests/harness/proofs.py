"""Slow proofs: the number of attempts, and reports of the results.

A proof tries something many times, such as killing a writer. It reports the number of attempts,
of attempts that met the case in question, and of broken promises::

    tried = count(full=1000, ci=50)
    ...
    report("sigkill", tried=tried, hit=hit, bad=torn)

`report` records the line, and fails if the promise was broken or if there were too few attempts.
``tox -e proofs`` runs all proofs with their full counts and writes the results into the tables of
the manual's page of guarantees. ``tox -e proofs-ci`` runs them with fewer attempts and writes
nothing. Both fail if a proof of `PROOFS` reported nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MODE = "DEVILRY_STORAGE_PROOFS"
"""Environment variable: ``full`` for the full counts, ``ci`` (the default) for fewer."""

LINES = "DEVILRY_STORAGE_PROOF_LINES"
"""Environment variable: the file with the lines of a run, including workers and children."""


class Proof(NamedTuple):
    """A proof's subject, and its minimum attempts and hits with the full counts."""

    case: str
    tried: int
    hit: int
    only_postgres: bool = False
    """Whether it needs PostgreSQL; other proofs of rows run on SQLite as well."""
    only_full: bool = False
    """Whether it runs only with the full counts: it measures time or needs many attempts."""


PROOFS = {
    "sigkill": Proof("SIGKILL during a save to disk", 1000, 300),
    "sigkill-upload": Proof("SIGKILL while an upload is received and saved", 1000, 300),
    "race-in-memory": Proof("two small uploads race for one name", 300, 150),
    "race-temp-file": Proof("two large uploads race for one name", 300, 150),
    "delete-against-save": Proof("a delivery's last file is deleted, another is saved", 500, 150),
    "inject-faults": Proof("a system call of a save fails", 30, 30),
    "inject-faults-upload": Proof("a system call of a received upload fails", 30, 30),
    "power-cut": Proof("power is cut when save() returns", 30, 30),
    "power-cut-upload": Proof("power is cut when a received upload is saved", 30, 30),
    "memory-512mib": Proof("512 MiB are saved, streamed, read in little memory", 3, 3),
    "system-calls-of-a-save": Proof("a save with 100,000 files in the store", 2, 2),
    "system-calls-of-a-page": Proof("a page of a store with 100,000 files", 4, 4),
    "s3-race-2-small": Proof("2 writers of one name, small objects", 40, 20),
    "s3-race-8-small": Proof("8 writers of one name, small objects", 40, 20),
    "s3-race-2-parts": Proof("2 writers of one name, multipart uploads", 40, 20),
    "s3-race-8-parts": Proof("8 writers of one name, multipart uploads", 40, 20),
    "s3-race-2-copies": Proof("2 copies to one key", 40, 20),
    "s3-ceph-race-small": Proof(
        "2 writers of one name on Ceph, small objects", 40, 20, only_full=True
    ),
    "s3-ceph-race-parts": Proof(
        "2 writers of one name on Ceph, multipart uploads", 40, 20, only_full=True
    ),
    "s3-ceph-race-copies": Proof("2 copies to one key on Ceph", 40, 20, only_full=True),
    "s3-sigkill": Proof("SIGKILL during a multipart upload", 100, 30),
    "s3-memory-512mib": Proof("512 MiB to and from S3 in little memory", 5, 5),
    "s3-memory-1gib": Proof("1 GiB to and from S3 in little memory", 5, 5),
    "s3-lost-reply-put": Proof("the reply to PutObject is lost", 100, 100),
    "s3-lost-reply-complete": Proof("the reply to CompleteMultipartUpload is lost", 40, 40),
    "s3-lost-reply-copy": Proof("the reply to CopyObject is lost", 40, 40),
    "s3-lost-refusal": Proof("the reply that a name is taken is lost", 40, 40),
    "s3-cut-up": Proof("the connection is cut during an upload", 60, 60),
    "s3-cut-down": Proof("the connection is cut during a download", 60, 60),
    "s3-bit-flip-single": Proof("a bit of a small download changes", 100, 100),
    "s3-bit-flip-parts": Proof("a bit of a large download changes", 100, 100),
    "s3-bit-flip-up": Proof("a bit of an upload changes", 40, 40),
    "s3-503-burst": Proof("a burst of 503", 48, 48),
    "s3-delay": Proof("replies are late", 30, 30),
    "s3-black-hole": Proof("the server is silent", 29, 29),
    "db-add-autocommit": Proof("two files are added to one delivery", 40, 24),
    "db-add-transaction": Proof("the same inside transactions of the caller", 40, 24),
    "db-finish-add": Proof("finish() against add_file()", 60, 24),
    "db-finish-add-files": Proof("finish() against add_files()", 60, 24),
    "db-finish-repeatable-read": Proof(
        "finish() at REPEATABLE READ against new files", 60, 24, only_postgres=True
    ),
    "db-finish-finish": Proof("finish() against finish() in one group", 40, 24),
    "db-finish-copy": Proof("finish() against copy() into one group", 40, 24),
    "db-replace-replace": Proof("two replacements of one file", 40, 24),
    "db-replace-delete": Proof("a replacement against a delete", 40, 24),
    "db-stale-save": Proof("save() of an instance that is out of date", 60, 24),
    "db-delete-delete": Proof("two deletes with no retention", 40, 24),
    "db-delete-newest": Proof("a delete of the newest file against another", 40, 24),
    "db-delete-store": Proof("a delivery is deleted while files are stored", 80, 48),
    "db-delete-many": Proof("many files are deleted and otherwise changed", 72, 24),
    "db-delete-adopt": Proof("a delete against adopt()", 60, 24),
    "db-add-add": Proof("one filename is added twice", 40, 24),
    "db-takeover": Proof("an abandoned row is taken over twice", 40, 24),
    "db-purge-reuse": Proof("a purge against a new use of the key", 80, 48),
    "db-purge-purge": Proof("two purges", 40, 24),
    "db-purge-adopt": Proof("a purge against adopt()", 60, 24),
    "db-adopt-adopt": Proof("one name is adopted twice", 40, 24),
    "db-restore-purge": Proof("a restore against a purge", 60, 24),
    "db-restore-restore": Proof("one tombstone is restored twice", 40, 24),
    "db-restore-store": Proof("a restore against a store under the same id", 60, 24),
    "db-restore-finish": Proof("a restore against finish()", 60, 24),
    "db-failing-statement": Proof("a statement fails", 250, 150),
    "db-lost-reply-to-commit": Proof("the reply to COMMIT is lost", 40, 24, only_postgres=True),
    "db-lost-commit": Proof("COMMIT is lost", 40, 24, only_postgres=True),
    "db-lost-reply": Proof("the reply to a statement is lost", 150, 100, only_postgres=True),
    "db-backend-killed": Proof("the database session is terminated", 84, 24, only_postgres=True),
    "db-server-restarted": Proof(
        "the database server is restarted at once", 28, 7, only_postgres=True
    ),
    "db-purge-session-lost": Proof(
        "the database session of a purge is lost", 300, 240, only_postgres=True
    ),
    "db-purge-stopped": Proof("a purge is stopped and goes on later", 100, 100),
    "db-purge-killed": Proof("a purge is killed", 300, 300),
    "db-purge-pairs": Proof(
        "a name gets a row or a tombstone in an open transaction", 480, 340, only_postgres=True
    ),
    "protocol-model": Proof("a random schedule of the deletion protocol's model", 20_000, 6_000),
    "full-stack-disk": Proof("8 workers on disk are killed while servers crash", 200, 100),
    "full-stack-s3": Proof("8 workers on S3 are killed while servers crash", 200, 100),
    "full-stack-lost-commits": Proof("the database loses acknowledged commits", 16, 2),
    "archive-70000-members": Proof("an archive of 70,000 files is unpacked", 70_000, 70_000),
    "archive-4-gib": Proof("a file of 4 GiB in an archive", 4, 4),
    "archive-damaged": Proof("programs unpack an archive with damaged files", 5, 5),
    "archive-java": Proof("Java unpacks an archive with damaged files", 2, 2, only_full=True),
    "archive-names": Proof("a random name in an archive, on many systems", 36_000, 20_000),
    "archive-client-gone": Proof("the client leaves during an archive", 20, 20),
    "slow-clients-wsgi": Proof("slow clients hold no database connection (WSGI)", 50, 50),
    "slow-clients-asgi": Proof("slow clients hold no database connection (ASGI)", 50, 50),
    "admin-scale": Proof("pages of the admin with 3,000,000 files", 82, 400, only_full=True),
    "download-disk-memory": Proof("1 GiB from disk in little memory", 2, 2),
    "download-disk-client-gone": Proof("the client leaves during a download from disk", 24, 24),
    "download-s3-memory": Proof("1 GiB from S3 in little memory", 2, 2),
    "download-s3-client-gone": Proof("the client leaves during a download from S3", 24, 24),
    "store-browser-disk": Proof("time of a page with 100,000 files on disk", 4, 4, only_full=True),
    "store-browser-s3": Proof("time of a page with 30,000 files on S3", 4, 4, only_full=True),
}


def is_full() -> bool:
    """Return whether the proofs run with their full counts; raise ValueError for unknown modes."""
    mode = os.environ.get(MODE) or "ci"
    if mode not in {"full", "ci"}:
        raise ValueError(f"{MODE} is {mode!r}: set it to 'full' or 'ci'.")
    return mode == "full"


def count(full: int, ci: int) -> int:
    """Return the number of attempts."""
    return full if is_full() else ci


def report(name: str, *, tried: int, hit: int, bad: Sequence[object]) -> None:
    """Record the results of a proof, which are printed at the end of the run.

    ``hit`` is the number of attempts that met the case in question, such as a kill while a
    temporary file exists. ``bad`` describes every attempt that broke the promise. Raises
    AssertionError if there is one, or if there were too few attempts or hits.
    """
    proof = PROOFS[name]
    say(f"proof {name}: tried {tried}, hit {hit}, bad {len(bad)}")
    assert not bad, f"{name}: {bad}"
    if is_full():
        least_tried, least_hit = proof.tried, float(proof.hit)
    else:  # With few attempts the share of hits varies more, so half of it is enough.
        least_tried, least_hit = 1, proof.hit * tried / proof.tried / 2
    assert tried >= least_tried, f"{name}: only {tried} attempts, not {least_tried}"
    assert hit >= least_hit, f"{name}: only {hit} of {tried} attempts met the case"


def say(line: str) -> None:
    """Print a line at the end of the run, among the lines of the proofs."""
    collector = os.environ.get(LINES)
    if collector is None:
        sys.stdout.write(f"{line}\n")
        return
    with Path(collector).open("ab", buffering=0) as lines:
        lines.write(f"{line}\n".encode())


def collect_in(file: Path) -> None:
    """Collect the lines of this process and its children in a file."""
    file.touch()
    os.environ[LINES] = str(file)


def collected() -> list[str]:
    """Return the lines of this run so far."""
    collector = os.environ.get(LINES)
    return Path(collector).read_text().splitlines() if collector else []
