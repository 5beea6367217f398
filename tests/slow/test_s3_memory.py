"""Little memory on S3: a transfer holds some parts, however long the file is."""

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
    """Measure all acts, `save` first, because `stream` and `read` need what it stores."""
    need(PROC)
    server = s3servers.need(s3stores.SERVER)
    with (
        bucket_location(server, s3stores.default) as one_byte,
        bucket_location(server, s3stores.default) as big,
    ):
        return peaks_over_limit(make, (one_byte.bucket, big.bucket), ACTS, size, LIMIT_KIB)


@pytest.mark.parametrize("mebibytes", [512, 1024])
def test_a_long_file_goes_through_every_way_in_and_out_in_little_memory(mebibytes: int) -> None:
    """512 MiB and 1 GiB take less than 64 MiB over one byte: in three ways in, in two out.

    Saved from a source that makes its chunks and from a file on disk, written to ``write_open``;
    streamed, and read in pieces; with the options that a store has unless it is given others.
    """
    over = over_on_s3(s3stores.default, count(mebibytes, mebibytes // 8) * MEBIBYTE)
    name = "s3-memory-512mib" if mebibytes == 512 else "s3-memory-1gib"
    report(name, tried=len(ACTS), hit=len(ACTS), bad=over)


def test_the_measurement_finds_a_store_on_s3_that_holds_whole_files() -> None:
    """The same harness fails on a store that holds what passes through, in all five acts."""
    assert len(over_on_s3(s3stores.hoarder, 128 * MEBIBYTE)) == len(ACTS)
