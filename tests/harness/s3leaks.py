"""Look for secrets in log records."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

#: The loggers of a store on S3. Records of THEIRS are not propagated, because pytest would keep
#: all of their DEBUG records.
OURS = ("devilry_storage", "django", "storages")
THEIRS = ("botocore", "boto3", "s3transfer", "urllib3")

#: The logger of two thirds of the records, which only name called functions.
DULL = "botocore.hooks"

#: The parameter that makes a URL work for everyone who has it.
SIGNATURE = "X-Amz-Signature"


def secret_keys() -> list[str]:
    """Return the secret keys of the running servers."""
    servers = [
        json.loads(value)
        for name, value in os.environ.items()
        if name.startswith("DEVILRY_STORAGE_TEST_S3_")
    ]
    return [str(server["secret_key"]) for server in servers]


class Watcher(logging.Handler):
    """A handler that collects records with secrets; ``records`` is the number of all records."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        super().__init__(logging.DEBUG)
        self._words = tuple(words)
        self.records = 0
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        self.look(self.format(record), f"{record.name}.{record.funcName}")

    def look(self, text: str, where: str) -> None:
        """Collect the text before each secret, without the secret itself."""
        for word in (*self._words, *secret_keys(), SIGNATURE, SIGNATURE.lower()):
            position = text.find(word)
            if position >= 0:
                self.found.append(f"{where}: {text[max(0, position - 60) : position]}...")


@contextmanager
def watched(
    words: Iterable[str] = (), theirs: Iterable[str] = THEIRS, dull: str = DULL
) -> Iterator[Watcher]:
    """Watch all records at DEBUG inside the block, except for one logger's."""
    watcher = Watcher(words)
    with ExitStack() as stack:
        for name in (*OURS, *theirs):
            stack.enter_context(_at_debug(name, watcher, passed_on=name in OURS))
        if dull:
            stack.enter_context(_silent(dull))
        yield watcher


@contextmanager
def _at_debug(name: str, handler: logging.Handler, *, passed_on: bool) -> Iterator[None]:
    logger = logging.getLogger(name)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = propagate and passed_on
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@contextmanager
def _silent(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
