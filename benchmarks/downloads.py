"""Measure the CPU time of downloads relative to views that a site would write itself.

    PYTHONPATH=. python benchmarks/downloads.py [--rounds 7] [--only uvicorn] [--write]

It needs gunicorn and the extra ``tests-full``, and uses PostgreSQL if it is installed. The peer of
small files is a view that requires a login, gets the row and returns a ``FileResponse``, which
gunicorn sends by ``sendfile()``. The peer of large files is the SHA-256 alone.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import website
from comparing import Comparison, parser, run

MIB = 1 << 20
REQUESTS = 100


def main() -> None:
    """Parse the arguments, and measure and report each comparison."""
    options = parser(__doc__.splitlines()[0]).parse_args()
    versions = [f"{name} {metadata.version(name)}" for name in ("gunicorn", "uvicorn")]
    with website.prepared():
        run("downloads", comparisons(), options, versions)


def comparisons() -> Iterator[Comparison]:
    """Store a file of each size, and yield the comparisons of each server."""
    from django.contrib.auth.models import User

    from devilry_storage.deliveries.models import AssignmentGroup, Delivery

    user = User.objects.create_user("candidate")
    group = AssignmentGroup.objects.create(name="group")
    group.candidates.add(user)
    delivery = Delivery.begin(group)
    sizes = {"10 KiB": 10240, "10 MiB": 10 * MIB, "256 MiB": 256 * MIB}
    rows = {name: delivery.add_file(name, os.urandom(size)) for name, size in sizes.items()}
    delivery.finish()
    for kind, aim in (("gunicorn", 1.6), ("uvicorn", 1.5)):
        with website.started(kind, user) as server:
            row = rows["10 KiB"]
            name = f"10 KiB, {kind} / FileResponse"
            yield requests(name, server, row.content.url, f"/plain/{row.pk}/", aim)
            for size in ("10 MiB", "256 MiB"):
                yield hashing(f"{size}, {kind} / SHA-256", server, rows[size])
    with website.started("gunicorn", user, **{website.SERVE: "sendfile"}) as server:
        row = rows["10 KiB"]
        name = "X-Accel-Redirect, gunicorn / bare view"
        yield requests(name, server, row.content.url, f"/accel/{row.pk}/", 1.5)


def used(server: website.Server, url: str, times: int) -> float:
    """Return the CPU time of the server for these requests, in seconds."""
    start = server.cpu_time()
    for _ in range(times):
        server.get(url)
    return server.cpu_time() - start


def requests(
    name: str, server: website.Server, ours: str, peer: str, at_most: float
) -> Comparison:
    """Compare many requests for a small file."""
    return Comparison(
        name,
        lambda: used(server, ours, REQUESTS),
        lambda: used(server, peer, REQUESTS),
        at_most=at_most,
        measure=returned,
    )


def hashing(name: str, server: website.Server, row: Any) -> Comparison:
    """Compare requests for a large file with the hash of as many bytes."""
    times = max(1, 64 * MIB // row.size)
    data = os.urandom(MIB)

    def peer() -> float:
        start = time.process_time()
        for _ in range(times):
            digest = hashlib.sha256()
            for _ in range(row.size // MIB):
                digest.update(data)
            digest.digest()
        return time.process_time() - start

    return Comparison(
        name, lambda: used(server, row.content.url, times), peer, at_most=1.05, measure=returned
    )


def returned(act: Any) -> float:
    """Return what the act returns, which is its CPU time."""
    return float(act())


if __name__ == "__main__":
    main()
