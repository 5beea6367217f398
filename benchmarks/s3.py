"""Measure the speed of the S3 store on SeaweedFS relative to peers in the same run.

    PYTHONPATH=. python benchmarks/s3.py [--rounds 7] [--files 100] [--large 64]

It needs the extra ``tests``. Peer and store alternate, with open connections. A ratio of 2 means
twice as fast as the peer. Quote the median of the ratios; absolute figures depend on the machine
and its load.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import django
from botocore.config import Config
from django.conf import settings

MIB = 1 << 20

Act = Callable[[int], object]
"""Does one piece of work, given a unique number."""


class Comparison(NamedTuple):
    """The same work done by the package and by a peer, in pieces, with a number of threads."""

    name: str
    ours: Act
    peer: Act
    aim: float | None
    threads: int = 1
    pieces: int = 100


def main() -> None:
    """Parse the arguments, start the server, and measure and report each comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--files", type=int, default=100, help="files of 10 KiB in a round")
    parser.add_argument("--large", type=int, default=64, help="MiB of a large file")
    parser.add_argument("--only", default="", help="comparisons whose name contains this")
    options = parser.parse_args()
    settings.configure(USE_TZ=True)
    django.setup()
    folder = Path(tempfile.mkdtemp(prefix="devilry-storage-benchmark-"))
    try:
        print(f"{options.files} files of 10 KiB, {options.rounds} rounds; higher is faster")
        print(f"{'':58}{'ours/s':>9}{'peer/s':>9}{'ratio':>7}{'  min-max':>14}{'aim':>8}")
        for comparison in Bench(folder, options.files, options.large).comparisons():
            if options.only in comparison.name:
                _report(comparison, options.rounds)
    finally:
        shutil.rmtree(folder)


_numbers = itertools.count()


def _report(comparison: Comparison, rounds: int) -> None:
    ours, peers = [], []
    with ThreadPoolExecutor(comparison.threads) as pool:

        def speed(act: Act, pieces: int) -> float:
            numbers = [next(_numbers) for _ in range(pieces)]
            start = time.perf_counter()
            list(pool.map(act, numbers))
            return pieces / (time.perf_counter() - start)

        for act in (comparison.peer, comparison.ours):
            speed(act, 2 * comparison.threads)  # opens connections and fills caches
        for _ in range(rounds):
            peers.append(speed(comparison.peer, comparison.pieces))
            ours.append(speed(comparison.ours, comparison.pieces))
    ratios = [mine / theirs for mine, theirs in zip(ours, peers, strict=True)]
    print(
        f"{comparison.name:58}"
        f"{statistics.median(ours):9.1f}{statistics.median(peers):9.1f}"
        f"{statistics.median(ratios):7.2f}"
        f"{min(ratios):8.2f}-{max(ratios):.2f}"
        + (f"{f'≥ {comparison.aim}':>8}" if comparison.aim is not None else ""),
        flush=True,
    )


class Bench:
    """A server with a bucket, the package's store, and the peers."""

    def __init__(self, folder: Path, files: int, large: int) -> None:
        from storages.backends.s3 import S3Storage

        from devilry_storage.storages import S3DeliveryStore
        from tests.harness import s3servers

        server = s3servers.get("seaweedfs")
        self.folder = folder
        self.files = files
        self.large = large
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
        yield from self._deletes()
        yield from self._large()
        yield from self._others()

    # -- Small files --

    def _save(self, store: Any) -> Act:
        from django.core.files.base import ContentFile

        return lambda number: store.save(f"0/0/{number}/{number}", ContentFile(self.data))

    def _put(self, number: int) -> None:
        digest = hashlib.sha256(self.data)
        self.client.put_object(
            Bucket=self.bucket,
            Key=f"0/0/{number}/{number}",
            Body=self.data,
            IfNoneMatch="*",
            ContentType="application/octet-stream",
            ChecksumSHA256=b64encode(digest.digest()).decode(),
            Metadata={"sha256": digest.hexdigest(), "devilry-token": "0" * 32},
        )

    def _read(self, store: Any) -> Act:
        def read(number: int) -> None:
            with store.open(self.name) as file:
                file.read()

        return read

    def _get(self, number: int) -> None:
        self.client.get_object(Bucket=self.bucket, Key=self.name)["Body"].read()

    def _presign(self, number: int) -> None:
        parameters = {"Bucket": self.bucket, "Key": self.name}
        self.client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=60)

    def _small(self) -> Iterator[Comparison]:
        from django.core.files.base import ContentFile

        self.name = self.store.save("to/be/read", ContentFile(self.data))
        save, peers = self._save(self.store), self._save(self.theirs)
        for threads, faster in ((1, 1.4), (8, 1.8)):
            how = threads, self.files
            yield Comparison(f"save / put_object, {threads} threads", save, self._put, 0.8, *how)
            yield Comparison(f"save / S3Storage, {threads} threads", save, peers, faster, *how)
        read, peers = self._read(self.store), self._read(self.theirs)
        for threads, faster in ((1, 2.5), (8, 5.0)):
            how = threads, self.files
            yield Comparison(
                f"open+read / get_object, {threads} threads", read, self._get, 0.85, *how
            )
            yield Comparison(
                f"open+read / S3Storage, {threads} threads", read, peers, faster, *how
            )
        yield Comparison(
            "url / boto3's presign, 32 threads",
            lambda number: self.store.url(self.name, expire=60),
            self._presign,
            0.8,
            32,
            20 * self.files,
        )

    # -- Deletes --

    def _deletes(self) -> Iterator[Comparison]:
        def filled() -> list[str]:
            names = [f"1/0/{next(_numbers)}/1" for _ in range(1000)]
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(self._put_at, names))
            return names

        # Filled before the measurement.
        waiting: list[list[str]] = []

        def prepared() -> list[str]:
            return waiting.pop() if waiting else filled()

        def at_once(number: int) -> None:
            assert self.store.delete_many(prepared()) == {}

        def one_by_one(number: int) -> None:
            for name in prepared():
                self.client.delete_object(Bucket=self.bucket, Key=name)

        waiting += [filled() for _ in range(2 * 7 + 4)]
        yield Comparison("delete_many of 1,000 / one by one", at_once, one_by_one, 5.0, pieces=1)

    def _put_at(self, name: str) -> None:
        self.client.put_object(Bucket=self.bucket, Key=name, Body=b"x")

    # -- Large files --

    def _large(self) -> Iterator[Comparison]:
        from django.core.files import File

        source = self.folder / "large.bin"
        source.write_bytes(os.urandom(self.large * MIB))
        target = self.folder / "received.bin"

        def up(number: int) -> None:
            with source.open("rb") as file:
                name = self.store.save(f"large/{number}", File(file))
            self.store.delete(name)

        def their_up(number: int) -> None:
            self.client.upload_file(str(source), self.bucket, f"large/{number}")
            self.client.delete_object(Bucket=self.bucket, Key=f"large/{number}")

        with source.open("rb") as file:
            name = self.store.save("large/to-be-read", File(file))

        def down(number: int) -> None:
            with target.open("wb") as file:
                for chunk in self.store.stream(name):
                    file.write(chunk)

        def their_down(number: int) -> None:
            self.client.download_file(self.bucket, name, str(target))

        yield Comparison(f"save {self.large} MiB / s3transfer", up, their_up, 0.9, pieces=1)
        yield Comparison(f"stream {self.large} MiB / s3transfer", down, their_down, 0.9, pieces=1)

    # -- Other clients --

    def _others(self) -> Iterator[Comparison]:
        try:
            import obstore
            from obstore.store import S3Store
        except ImportError:
            print("obstore is not installed: not compared")
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

            def put(number: int) -> None:
                obstore.put(theirs, f"0/0/{number}/{number}", self.data, mode="create")

            def get(number: int) -> None:
                obstore.get(theirs, self.name).bytes()

            for threads in (1, 8):
                how = None, threads, self.files
                yield Comparison(
                    f"save / obstore, {threads} threads", self._save(self.store), put, *how
                )
                yield Comparison(
                    f"open+read / obstore, {threads} threads", self._read(self.store), get, *how
                )
        if shutil.which("s5cmd") is None:
            print("s5cmd is not installed: not compared")
            return
        yield self._s5cmd()

    def _s5cmd(self) -> Comparison:
        from django.core.files.base import ContentFile

        tree = self.folder / "tree"
        tree.mkdir()
        for number in range(self.files):
            (tree / str(number)).write_bytes(self.data)
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": self.server.access_key,
            "AWS_SECRET_ACCESS_KEY": self.server.secret_key,
            "S3_ENDPOINT_URL": self.server.endpoint_url,
        }

        def theirs(number: int) -> None:
            command = ["s5cmd", "cp", f"{tree}/", f"s3://{self.bucket}/s5cmd/{number}/"]
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)

        def ours(number: int) -> None:
            with ThreadPoolExecutor(8) as pool:
                list(
                    pool.map(
                        lambda file: self.store.save(
                            f"ours/{number}/{file}", ContentFile(self.data)
                        ),
                        range(self.files),
                    )
                )

        return Comparison(
            f"save {self.files} files, 8 threads / s5cmd", ours, theirs, None, pieces=1
        )


if __name__ == "__main__":
    main()
