"""Measure uploads by a form relative to a FileField of Django.

    PYTHONPATH=. python benchmarks/uploads.py [--rounds 7] [--size 256] [--only handler] [--write]

It needs gunicorn and the extra ``tests-full``, and uses PostgreSQL if it is installed. The peer
stores the same request by ``FileSystemStorage``, which renames Django's temporary file. The store
on disk is durable: it syncs the file before it responds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import website
from comparing import Comparison, parser, run, wall_time

MIB = 1 << 20
BOUNDARY = "frontier"
HANDLER = "devilry_storage.uploads.DeliveryUploadHandler"


def main() -> None:
    """Parse the arguments, and measure and report each comparison."""
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--size", type=int, default=256, help="MiB of the upload")
    options = arguments.parse_args()
    with website.prepared() as folder:
        body = write_body(folder / "request", options.size)
        versions = [f"gunicorn {metadata.version('gunicorn')}"]
        run("uploads", comparisons(folder, body, options.size), options, versions)


def write_body(path: Path, size: int) -> Path:
    """Write the body of a request with one file of ``size`` MiB, and return its path."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{{}}"{{}}\r\n\r\n'
    with path.open("wb") as file:
        file.write(head.format("uploads", '; filename="a.bin"').encode())
        for _ in range(size):
            file.write(os.urandom(MIB))
        file.write(f"\r\n{head.format('end', '')}end\r\n--{BOUNDARY}--\r\n".encode())
    return path


def comparisons(folder: Path, body: Path, size: int) -> Iterator[Comparison]:
    """Yield the comparisons, with Django's handler and with the package's own."""
    from django.contrib.auth.models import User

    from devilry_storage.deliveries.models import AssignmentGroup

    user = User.objects.create_user("candidate")
    group = AssignmentGroup.objects.create(name="group")
    group.candidates.add(user)
    kind = f"multipart/form-data; boundary={BOUNDARY}"

    def remove() -> None:
        # Not the store's own folder, by which it is recognised.
        for found in (*folder.glob("store/[0-9]*"), folder / "plain"):
            shutil.rmtree(found, ignore_errors=True)
        os.sync()

    with website.started("gunicorn", user) as plain:

        def send(server: website.Server, path: str) -> None:
            length = {"Content-Type": kind, "Content-Length": f"{body.stat().st_size}"}
            with body.open("rb") as file:
                server.request("POST", f"/{path}/{group.pk}/", file, **length)

        def compared(name: str, server: website.Server, at_most: float | None) -> Comparison:
            return Comparison(
                f"{size} MiB, {name} / FileField",
                lambda: send(server, "deliver"),
                lambda: send(plain, "upload"),
                at_most=at_most,
                measure=wall_time,
                prepare=remove,
            )

        yield compared("DeliveryForm, Django's handler", plain, None)
        with website.started("gunicorn", user, **{website.HANDLER: HANDLER}) as server:
            yield compared("DeliveryForm, DeliveryUploadHandler", server, 1.0)


if __name__ == "__main__":
    main()
