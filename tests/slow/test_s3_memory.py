"""Memory of transfers to and from S3: a few parts, whatever the length of the file."""

from __future__ import annotations

import pytest

from tests.harness import s3servers
from tests.harness.machine import PROC, need
from tests.harness.proofs import count, report

from . import s3stores
from .locations import bucket_location
from .measuring import MEBIBYTE, Make, peaks_over_limit
from .memory_child import ACTS

pytestmark = pytest.mark.slow

LIMIT_KIB = 64 * 1024


def over_on_s3(make: Make, size: int) -> list[str]:
    """Measure all acts, `save` first, because `stream` and `read` need the stored file."""
    need(PROC)
    server = s3servers.need(s3stores.SERVER)
    with (
        bucket_location(server, s3stores.default) as one_byte,
        bucket_location(server, s3stores.default) as big,
    ):
        return peaks_over_limit(make, (one_byte.bucket, big.bucket), ACTS, size, LIMIT_KIB)


@pytest.mark.parametrize("mebibytes", [512, 1024])
def test_transfers_of_large_files_take_little_memory(mebibytes: int) -> None:
    """Each act takes less than 64 MiB more with 512 MiB or 1 GiB than with one byte.

    The file is saved from generated chunks and from a file on disk, written with ``write_open``,
    streamed, and read in pieces. The store has its default options.
    """
    over = over_on_s3(s3stores.default, count(mebibytes, mebibytes // 8) * MEBIBYTE)
    name = "s3-memory-512mib" if mebibytes == 512 else "s3-memory-1gib"
    report(name, tried=len(ACTS), hit=len(ACTS), bad=over)


def test_harness_detects_a_store_on_s3_that_loads_whole_files() -> None:
    """The same harness fails in all five acts on a store that loads whole files."""
    assert len(over_on_s3(s3stores.loads_whole_files, 128 * MEBIBYTE)) == len(ACTS)
