"""Looks into everything that is logged for what nobody may read there."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

#: Who logs what a store on S3 does. What they say goes on to others as before, but for the
#: libraries' DEBUG: pytest would keep all of it.
OURS = ("devilry_storage", "django", "storages")
THEIRS = ("botocore", "boto3", "s3transfer", "urllib3")

#: Two records of three, which only name the functions that are called.
DULL = "botocore.hooks"

#: What makes a URL work for whoever has it.
SIGNATURE = "X-Amz-Signature"


def secret_keys() -> list[str]:
    """Return the secret keys of the servers that run for these tests."""
    servers = [
        json.loads(value)
        for name, value in os.environ.items()
        if name.startswith("DEVILRY_STORAGE_TEST_S3_")
    ]
    return [str(server["secret_key"]) for server in servers]


class Watcher(logging.Handler):
    """Notes the records that have a forbidden word in them; ``records`` counts all of them."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        super().__init__(logging.DEBUG)
        self._words = tuple(words)
        self.records = 0
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        self.look(self.format(record), f"{record.name}.{record.funcName}")

    def look(self, text: str, where: str) -> None:
        """Note each forbidden word of a text, without the word itself."""
        for word in (*self._words, *secret_keys(), SIGNATURE, SIGNATURE.lower()):
            position = text.find(word)
            if position >= 0:
                self.found.append(f"{where}: {text[max(0, position - 60) : position]}...")


@contextmanager
def watched(
    words: Iterable[str] = (), theirs: Iterable[str] = THEIRS, dull: str = DULL
) -> Iterator[Watcher]:
    """Watch what is logged at DEBUG within the block, but for one logger."""
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
