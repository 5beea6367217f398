"""Try out a server: store files, read them back, and let pairs of writers race for one name.

All objects are below a folder of the store's own, which no listing shows, and are deleted again. A
process that is killed leaves them.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from secrets import token_hex
from threading import Barrier

from ...exceptions import StoreFailure
from ...names import RESERVED
from ..pools import Pool
from ..protocols import Finding
from . import checksums
from .bucket import Bucket
from .errors import FAILURES, ConditionFailed
from .reading import Ranges
from .writing import SMALLEST_PART, Publication, Transfer, abort, named_part, unfinished

PAIRS = 20

# Sizes in bytes of small files. The largest is sent as a file, see `Bucket`.
_SIZES = (0, 1000, 100_000)

# A body that is sent as aws-chunked begins with the length of a chunk.
_FRAMING = re.compile(rb"[0-9a-fA-F]+(;chunk-signature=\w+)?\r\n")

_ANOTHER = "use another server"
_THROUGH_HERE = "set the option server_side_copy=False, which copies through this machine"
_CHECK_BUCKET = "check the permissions and the Object Lock of the bucket"


@dataclass
class Probe:
    """One run. ``buckets`` are the same bucket at each endpoint; the first one is the store's."""

    _buckets: Sequence[Bucket]
    _publication: Callable[..., Publication]
    _transfer: Transfer
    _server_side_copy: bool
    _folder: str = field(default_factory=lambda: f"{RESERVED}/probe/{token_hex(8)}")
    _names: list[str] = field(default_factory=list)
    _stored: list[bytes] = field(default_factory=list)

    @property
    def _bucket(self) -> Bucket:
        return self._buckets[0]

    def findings(self) -> Iterator[Finding]:
        """Yield the result of each trial. A request that the server refuses is a result."""
        unneeded = "is conditional and atomic (the store needs neither)"
        copies = _THROUGH_HERE if self._server_side_copy else ""
        trials: list[tuple[str, Callable[[], None], str]] = [
            ("small files are read as they were stored", self._small, _ANOTHER),
            ("files in parts are read as they were stored", self._parts, _ANOTHER),
            ("listings have all files", self._listings, _ANOTHER),
            ("files can be copied right after their upload", self._copies, copies),
            ("deleted files are gone", self._deletions, _CHECK_BUCKET),
            ("put_object is conditional and atomic", partial(self._race, self._put), _ANOTHER),
            (f"complete_multipart_upload {unneeded}", partial(self._race, self._complete), ""),
            (f"copy_object {unneeded}", partial(self._race, self._copy), ""),
            ("delete_object honours If-Match (not needed)", self._conditional_deletion, ""),
        ]
        try:
            responds = _finding("every endpoint responds", self._endpoints, "check the URLs")
            yield responds
            for trial in trials if responds.holds else ():
                yield _finding(*trial)
        finally:
            remedy = f"delete the objects below {self._bucket.key(self._folder)!r}"
            cleaned = _finding("the files of the probe can be deleted", self._clean, remedy)
        yield cleaned

    # -- Trials, which raise StoreFailure --

    def _endpoints(self) -> None:
        for bucket in self._buckets:
            self._exists(self._folder, bucket)

    def _small(self) -> None:
        name = self._name()
        for size in _SIZES * 5:
            data = os.urandom(size)
            self._publication(name, "", "").put(data, create=False)
            self._compare(name, data)

    def _parts(self) -> None:
        self._compare(*self._uploaded(SMALLEST_PART + 1000))

    def _listings(self) -> None:
        names = {self._bucket.key(self._new(b"listed")) for _ in range(5)}
        prefix = self._bucket.key(f"{self._folder}/")
        # Pages of two, because a long listing has several.
        pages = self._bucket.pages("list_objects_v2", Prefix=prefix, MaxKeys=2)
        missing = names - {entry["Key"] for page in pages for entry in page.get("Contents", ())}
        if missing:
            raise StoreFailure(f"{len(missing)} of {len(names)} files are missing")

    def _copies(self) -> None:
        for _ in range(3):
            source, data = self._uploaded(1000)
            name = self._name()
            self._publication(name, "", "").copy(source, len(data))
            self._compare(name, data)

    def _deletions(self) -> None:
        one, other = self._new(b"one"), self._new(b"other")
        self._bucket.call("delete_object", one)
        self._bucket.call("delete_objects", Delete={"Objects": [{"Key": self._bucket.key(other)}]})
        for operation, name in (("delete_object", one), ("delete_objects", other)):
            if self._exists(name):
                raise StoreFailure(f"after {operation} the file still exists")

    def _conditional_deletion(self) -> None:
        name = self._new(b"kept")
        try:
            self._bucket.call("delete_object", name, IfMatch='"0123456789abcdef"')
        except ConditionFailed:
            return
        raise StoreFailure("the condition is ignored")

    def _race(self, prepare: Callable[[Bucket, str, bytes], Callable[[], object]]) -> None:
        """Let two writers create one name at the same time, and a third one afterwards."""
        lost = failed = 0
        for number in range(PAIRS):
            name, gate, writers = self._name(), Barrier(2), []
            for side in range(3):
                bucket = self._buckets[(number + side) % len(self._buckets)]
                data = b"%d of %d" % (side, number)
                # A second attempt, because the first may be one to which Ceph responds oddly.
                writers.append((data, prepare(replace(bucket, attempts=2), name, data)))
            with Pool(2) as pool:
                running = [(data, pool.submit(_succeeds, act, gate)) for data, act in writers[:2]]
            stored = [data for data, future in running if future.result()]
            stored += [data for data, act in writers[2:] if _succeeds(act)]
            failed += not stored
            lost += any(self._read(self._bucket, name) != data for data in stored)
        if lost:
            raise StoreFailure(f"in {lost} of {PAIRS} races a file that was stored is lost")
        if failed:
            raise StoreFailure(f"in {failed} of {PAIRS} races no writer succeeded")

    # -- Writers --

    def _put(self, bucket: Bucket, name: str, data: bytes) -> Callable[[], object]:
        sent = {"Body": data, **checksums.of_part(bucket.client, data)}
        return partial(bucket.call, "put_object", name, **sent, IfNoneMatch="*")

    def _complete(self, bucket: Bucket, name: str, data: bytes) -> Callable[[], object]:
        algorithm = checksums.of_parts(bucket.client)
        upload: str = bucket.call("create_multipart_upload", name, **algorithm)["UploadId"]
        sent = {"Body": data, **checksums.of_part(bucket.client, data)}
        part = bucket.call("upload_part", name, UploadId=upload, PartNumber=1, **sent)
        parts = {"Parts": [named_part(1, {**sent, **part})]}
        ours = {"UploadId": upload, "MultipartUpload": parts, "IfNoneMatch": "*"}
        # An upload that fails stays unfinished, and is aborted with the others at the end.
        return partial(bucket.call, "complete_multipart_upload", name, **ours)

    def _copy(self, bucket: Bucket, name: str, data: bytes) -> Callable[[], object]:
        source = bucket.copy_source(self._new(data))
        return partial(bucket.call, "copy_object", name, **source, IfNoneMatch="*")

    # -- Helpers --

    def _name(self) -> str:
        self._names.append(f"{self._folder}/{len(self._names)}")
        return self._names[-1]

    def _new(self, data: bytes) -> str:
        name = self._name()
        self._publication(name, "", "").put(data, create=False)
        return name

    def _uploaded(self, size: int) -> tuple[str, bytes]:
        name, data = self._name(), os.urandom(size)
        transfer = replace(self._transfer, part_length=SMALLEST_PART)
        replace(self._publication(name, "", ""), transfer=transfer).upload([data])
        return name, data

    def _exists(self, name: str, bucket: Bucket | None = None) -> bool:
        try:
            return bool((bucket or self._bucket).call("head_object", name))
        except FileNotFoundError:
            return False

    def _read(self, bucket: Bucket, name: str) -> bytes:
        with bucket.call("get_object", name)["Body"] as body:
            data: bytes = body.read()
        return data

    def _compare(self, name: str, data: bytes) -> None:
        """Read the file at each endpoint, whole and in part."""
        for bucket in self._buckets:
            found = self._read(bucket, name)
            if found != data and found in self._stored:
                raise StoreFailure("after a file was replaced, its old bytes are read")
            if len(found) > len(data) and _FRAMING.match(found):
                raise StoreFailure("the framing of aws-chunked is stored as content")
            # They compare the server's checksum, if it has one.
            ranges = Ranges(bucket, name)
            whole, part = (b"".join(ranges.stream(*limits)) for limits in ((), (5, 9)))
            if not found == whole == data or part != data[5:9]:
                raise StoreFailure(f"of {len(data)} bytes, others are read than were stored")
        self._stored.append(data)

    def _clean(self) -> None:
        failures = [
            _finding(name, partial(self._bucket.call, "delete_object", name), "")
            for name in self._names
        ]
        for name, upload in unfinished(self._bucket, f"{self._folder}/"):
            abort(self._bucket, name, upload["UploadId"])
        if faults := [finding.sentence for finding in failures if not finding.holds]:
            raise StoreFailure(f"{len(faults)} remain, such as {faults[0]}")


def _finding(sentence: str, trial: Callable[[], None], remedy: str) -> Finding:
    try:
        trial()
    except (OSError, ValueError, *FAILURES) as exception:
        return Finding(f"{sentence}: {exception}", False, remedy)
    return Finding(sentence, True)


def _succeeds(act: Callable[[], object], gate: Barrier | None = None) -> bool:
    """Return whether a writer created the name; False if another one has done so."""
    if gate:
        gate.wait(10)
    try:
        act()
    except ConditionFailed:
        return False
    return True
