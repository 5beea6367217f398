"""What holds for the whole suite: the database server, the stores, the lines of the proofs."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import botocore.session
import django
import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings
from hypothesis import settings as hypothesis_settings

from .harness import (
    chosen,
    machine,
    postgres,
    proof_results,
    proofs,
    receivers,
    s3leaks,
    s3servers,
)
from .harness.http_proxy import HttpProxy

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

QUICK = "not slow and not servers and not browser and not postgres"
"""The marker expression of a run without options, as in tox.ini."""

HERE = Path(__file__).parent

# They have their own settings and need other packages: tox -e neighbours.
collect_ignore = ["neighbours"]

PLUGIN = "devilry_storage.testing.plugin"
if PLUGIN not in sys.modules:
    # The checkout is tested without being installed, so no entry point has loaded it.
    pytest_plugins = [PLUGIN]

# Load the description of S3 once, not for each client: it takes most of the time to make one.
botocore.session.create_loader = cache(botocore.session.create_loader)

# Examples have no deadline, because the machine may be slow.
hypothesis_settings.register_profile("tests", deadline=None, print_blob=True)
hypothesis_settings.load_profile("tests")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # In a background job of a shell, whose children could not be interrupted either.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if django.VERSION < (5, 0):
        config.addinivalue_line(
            "filterwarnings",
            "ignore:The DEFAULT_FILE_STORAGE setting is deprecated"
            ":django.utils.deprecation.RemovedInDjango51Warning",
        )
    if django.VERSION < (6, 0):
        # The ASGI handler does not close the request's body if the response breaks off.
        config.addinivalue_line(
            "filterwarnings", "ignore:Unclosed file <tempfile.Spooled:ResourceWarning"
        )
    if _is_worker(config):
        return
    proofs.collect_in(settings.DIRECTORY / "proofs")
    if settings.DATABASE == "postgres" and not postgres.missing():
        server = postgres.Server()
        os.environ.update(server.start())
        config.add_cleanup(server.stop)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--proof-results",
        type=Path,
        metavar="FILE",
        help="Append results of the slow proofs to this file; see tests/harness/proof_results.py.",
    )


def pytest_report_header() -> list[str]:
    run = f"{settings.DATABASE}, {settings.USER} user model, files: {chosen.KIND}"
    return [
        f"devilry-storage: Django {django.get_version()}, {run}",
        f"machine: {machine.describe()}",
    ]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore modules that need packages which a quick run does not install."""
    left_out = {HERE / "browser", HERE / "slow", HERE / "conformance" / "test_conformance_gcs.py"}
    return True if config.option.markexpr == QUICK and collection_path in left_out else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not proofs.is_full():
        only_full = [item for item in items if item.get_closest_marker("only_full")]
        config.hook.pytest_deselected(items=only_full)
        items[:] = [item for item in items if item not in only_full]
    on_postgres = settings.DATABASE == "postgres"
    nowhere = (postgres.missing() if on_postgres else None) or chosen.missing()
    elsewhere = "needs PostgreSQL: set DEVILRY_STORAGE_TEST_DATABASE=postgres."
    for item in items:
        if nowhere:
            item.add_marker(pytest.mark.skip(reason=nowhere))
        elif not on_postgres and item.get_closest_marker("postgres"):
            item.add_marker(pytest.mark.skip(reason=elsewhere))


def pytest_collection_finish() -> None:
    # Many tests call gc.collect(), which need not examine the imported modules.
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _fail_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _fail_in_ci((yield))


def _fail_in_ci(report: Report) -> Report:
    """In CI turn a skip because of a missing component into a failure."""
    if machine.in_ci() and report.skipped and _reason(report).startswith(machine.MISSING):
        report.outcome, report.longrepr = "failed", _reason(report)
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    # Group skips by reason, not by line: the conformance suite skips hundreds of cases.
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", ()))
    skipped = [f"SKIPPED [{count}] {reason}" for reason, count in sorted(reasons.items())]
    for title, lines in (("skipped", skipped), ("proofs", proofs.collected())):
        if lines:
            terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
    if config.option.proof_results:
        proof_results.append(config.option.proof_results, settings.DATABASE, proofs.collected())
    if config.option.markexpr == QUICK and chosen.KIND == "disk":
        terminalreporter.write_line(
            "Left out: tests that need PostgreSQL, a browser or servers of object stores, and "
            "slow proofs. Run them with: .venv/bin/pip install tox && .venv/bin/tox"
        )


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the reason of a skip."""
    reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Let the ids of each table on PostgreSQL begin at another number, so that none are equal."""
    from .harness.flushing import keep_permissions  # models: after django.setup()

    with django_db_blocker.unblock():
        keep_permissions()
        if settings.DATABASE != "postgres":
            return
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT setval(oid::regclass, 10000 * row_number() OVER (ORDER BY relname))"
                " FROM pg_class WHERE relkind = 'S'"
            )


@pytest.fixture(autouse=True)
def empty_stores() -> Iterator[None]:
    """Empty the stores after every test, because SQLite reuses ids."""
    for name in ("deliveries", "media"):
        (settings.DIRECTORY / name).mkdir(exist_ok=True)
    yield
    chosen.empty("deliveries", "handouts", "media", "notes", "papers", "readings", "reports")


@pytest.fixture(autouse=True)
def no_new_receivers() -> Iterator[None]:
    """Fail if a test leaves receivers of signals connected."""
    before = receivers.connected()
    yield
    assert receivers.connected() <= before


@pytest.fixture
def group(db: None) -> Any:
    """Return a group, which can deliver."""
    from devilry_storage.deliveries.models import AssignmentGroup

    return AssignmentGroup.objects.create(name="group")


@pytest.fixture
def without_downloads() -> Iterator[None]:
    """Use a site without the package's URLs."""
    with override_settings(ROOT_URLCONF="tests.urls_admin"):
        yield


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide files whose name starts with "secret" from all users."""
    from devilry_storage.abstract_models.filemeta import FileMetaQuerySet
    from devilry_storage.deliveries.models import FileMeta

    class Secretive(FileMetaQuerySet):
        def visible_to(self, user: Any) -> Any:
            return super().visible_to(user).exclude(filename__startswith="secret")

    monkeypatch.setattr(FileMeta._default_manager, "_queryset_class", Secretive)


@pytest.fixture(autouse=True)
def secrets_in_logs(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Fail if a test of a store on S3 logs a secret key or a signed URL at DEBUG.

    The list has the findings; a test that expects them empties it.
    """
    node = request.node
    if not node.get_closest_marker("servers") or node.get_closest_marker("slow"):
        yield []
        return
    with s3leaks.watched() as watcher:
        yield watcher.found
    assert watcher.found == []


@pytest.fixture(scope="module")
def proxy() -> Iterator[HttpProxy]:
    """Return a proxy in front of SeaweedFS that the module's tests share."""
    with HttpProxy(s3servers.need("seaweedfs").endpoint_url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def bucket() -> str:
    """Return a bucket on SeaweedFS that the module's tests share."""
    return s3servers.need("seaweedfs").bucket()
