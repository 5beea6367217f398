"""Run Django's own tests with a delivery store in place of Django's storages.

Arguments: the store's class, the file of the results, the folder of Django's tests, the labels of
the tests. The results are a JSON object: for each test, the function's name and whether it passed.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import unittest
from pathlib import Path
from typing import Any

from django.core.files import storage
from django.test.runner import DiscoverRunner

from devilry_storage import storages, testing

RESULTS: dict[str, tuple[str, bool]] = {}


class Result(unittest.TextTestResult):
    """Writes down which tests passed."""

    def _record(self, test: Any, *, passed: bool) -> None:
        test = getattr(test, "test_case", test)  # of a subtest
        # The name of the class that defines it, which may be a base class of the test's.
        function = getattr(type(test), test._testMethodName, test)
        name = f"{function.__module__}.{function.__qualname__}"
        RESULTS[test.id()] = (name, passed and RESULTS.get(test.id(), (name, True))[1])

    def addSuccess(self, test: Any) -> None:  # noqa: N802  # unittest's
        super().addSuccess(test)
        self._record(test, passed=True)

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802  # unittest's
        super().addError(test, err)
        self._record(test, passed=False)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802  # unittest's
        super().addFailure(test, err)
        self._record(test, passed=False)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802  # unittest's
        super().addSubTest(test, subtest, err)
        self._record(test, passed=err is None)


def main(store: str, results: str, tests: str, *labels: str) -> None:
    for module in (storage, storage.filesystem):
        module.FileSystemStorage = getattr(storages, store)  # type: ignore[attr-defined]
    for module in (storage, storage.memory):
        module.InMemoryStorage = testing.MemoryDeliveryStore  # type: ignore[attr-defined]
    # Only for speed.
    os.fsync = lambda fd: None
    DiscoverRunner.get_resultclass = lambda self: Result  # type: ignore[method-assign]
    os.chdir(tests)
    sys.path.insert(0, tests)
    sys.argv = ["runtests.py", "--parallel=1", *labels]
    try:
        runpy.run_path("runtests.py", run_name="__main__")
    finally:
        Path(results).write_text(json.dumps(RESULTS))


if __name__ == "__main__":
    main(*sys.argv[1:])
