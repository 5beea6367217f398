"""The page of S3 documents the options as defined in the code."""

from __future__ import annotations

import inspect
import re

from devilry_storage.storages import S3DeliveryStore
from devilry_storage.storages.s3.bucket import Bucket
from devilry_storage.storages.s3.options import CONNECT_TIMEOUT, HONOURED, READ_TIMEOUT, REFUSED
from devilry_storage.storages.s3.writing import Transfer

from ..harness.manual import DOCS
from ..harness.s3_options import SETTINGS

PAGE = (DOCS / "s3.rst").read_text(encoding="utf-8")


def _table(title: str) -> list[list[str]]:
    """Return the rows of a table without its header, as lists of cells."""
    text = PAGE.partition(f".. list-table:: {title}")[2]
    lines = re.match(r"[^\n]*\n(( {3}[^\n]*)?\n)+", text)
    assert lines, title
    rows = re.split(r"^ {3}\* - ", lines[0], flags=re.MULTILINE)[1:]
    cells = [re.split(r"^ {5}- ", row, flags=re.MULTILINE) for row in rows]
    return [[" ".join(cell.split()) for cell in row] for row in cells[1:]]


def _settings(option: str) -> str:
    return ", ".join(f"``{setting}``" for setting in SETTINGS[option]) or "none"


def test_honoured_options_are_documented() -> None:
    """With their settings, in the order of the code."""
    shown = [row[:2] for row in _table("Honoured")]
    assert shown == [[f"``{option}``", _settings(option)] for option in HONOURED]


def test_rejected_options_are_documented() -> None:
    """With their settings, the accepted value, and the reason in the error message."""
    shown = _table("Refused")
    assert shown == [
        [f"``{option}``", _settings(option), f"``{harmless!r}``", why]
        for option, (harmless, why) in REFUSED.items()
    ]


def test_timeouts_match_the_code() -> None:
    """Seconds, number of attempts, and the maximum time."""
    text = " ".join(PAGE.partition("\nTimeouts and retries\n")[2].partition("\nVerify")[0].split())
    assert f"has {CONNECT_TIMEOUT} seconds to open, and {READ_TIMEOUT} seconds" in text
    assert f"sent {Bucket.attempts} times in all (``attempts``)" in text
    assert f"after {Bucket.deadline:.0f} seconds (``deadline``)" in text
    assert f"after {Bucket.deadline + CONNECT_TIMEOUT + READ_TIMEOUT:.0f} seconds." in text


def test_threshold_and_part_size_match_the_code() -> None:
    """The table of costs and the memory usage depend on them."""
    mib = 1 << 20
    text = " ".join(PAGE.partition("\nWhat it costs\n")[2].split())
    assert f"up to the threshold ({Transfer.threshold // mib} MiB)" in text
    assert f"its parts (of {Transfer.part_length // mib} MiB)" in text
    assert Transfer.concurrency == 3
    assert "of which three are in flight" in text


def test_additional_options_are_documented() -> None:
    """Options that django-storages does not have, with their defaults."""
    own = inspect.signature(S3DeliveryStore.__init__).parameters.values()
    text = PAGE.partition("Our own options:")[2].partition("What it costs")[0]
    for option in own:
        if option.kind is option.KEYWORD_ONLY:
            default = "" if option.default is None else f" = {option.default}"
            assert re.search(rf"``{option.name}: \w+{default}``", text), option
