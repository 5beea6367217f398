"""What holds for the whole suite: the database server, the stores, the lines of the proofs."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import django
import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings
from hypothesis import settings as hypothesis_settings

from . import chosen, machine, postgres, proofs, s3leaks, s3servers
from .http_proxy import HttpProxy

PLUGIN = "devilry_storage.testing.plugin"
if PLUGIN not in sys.modules:
    # The checkout is tested without being installed, so no entry point has loaded it.
    pytest_plugins = [PLUGIN]

# A loaded machine is no failure: examples have no deadline.
hypothesis_settings.register_profile("tests", deadline=None, print_blob=True)
hypothesis_settings.load_profile("tests")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in a background job of a shell, whose children could not be interrupted either.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if django.VERSION < (5, 0):
        config.addinivalue_line(
            "filterwarnings",
            "ignore:The DEFAULT_FILE_STORAGE setting is deprecated"
            ":django.utils.deprecation.RemovedInDjango51Warning",
        )
    if django.VERSION < (6, 0):
        # Its handler of ASGI does not close the body of a request whose response broke off.
        config.addinivalue_line(
            "filterwarnings", "ignore:Unclosed file <tempfile.Spooled:ResourceWarning"
        )
    if _is_worker(config):
        return
    proofs.collect_in(settings.DIRECTORY / "proofs")
    if settings.DATABASE == "postgres":
        _start_postgres(config)
    if (reason := chosen.missing()) and machine.in_ci():
        raise pytest.UsageError(reason)


def _start_postgres(config: pytest.Config) -> None:
    reason = postgres.missing()
    if reason is None:
        server = postgres.Server()
        os.environ.update(server.start())
        config.add_cleanup(server.stop)
    elif machine.in_ci():
        raise pytest.UsageError(reason)


def pytest_report_header() -> list[str]:
    run = f"{settings.DATABASE}, {settings.USER} user model, files: {chosen.KIND}"
    return [
        f"devilry-storage: Django {django.get_version()}, {run}",
        f"machine: {machine.describe()}",
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_postgres = settings.DATABASE == "postgres"
    nowhere = (postgres.missing() if on_postgres else None) or chosen.missing()
    elsewhere = "needs PostgreSQL: set DEVILRY_STORAGE_TEST_DATABASE=postgres (tox -e postgres)."
    for item in items:
        if nowhere:
            item.add_marker(pytest.mark.skip(reason=nowhere))
        elif not on_postgres and item.get_closest_marker("postgres"):
            item.add_marker(pytest.mark.skip(reason=elsewhere))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # By reason, not by line as pytest would: the conformance suite skips hundreds.
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", ()))
    skipped = [f"SKIPPED [{count}] {reason}" for reason, count in sorted(reasons.items())]
    for title, lines in (("skipped", skipped), ("proofs", proofs.collected())):
        if lines:
            terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why a test was skipped."""
    said = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return said.removeprefix("Skipped: ")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Ids on PostgreSQL are large, and no two tables have the same: none is right by luck."""
    if settings.DATABASE != "postgres":
        return
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT setval(oid::regclass, 10000 * row_number() OVER (ORDER BY relname))"
            " FROM pg_class WHERE relkind = 'S'"
        )


@pytest.fixture(autouse=True)
def empty_stores() -> Iterator[None]:
    """Every test begins with the suite's stores empty: SQLite hands out ids again and again."""
    for name in ("deliveries", "media"):
        (settings.DIRECTORY / name).mkdir(exist_ok=True)
    yield
    chosen.empty("deliveries", "handouts", "media", "notes", "papers")


@pytest.fixture
def without_downloads() -> Iterator[None]:
    """A site that does not include the package's URLs."""
    with override_settings(ROOT_URLCONF="tests.urls_admin"):
        yield


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site whose model of files hides some of them from everybody."""
    from devilry_storage.deliveries.models import FileMeta
    from devilry_storage.models.filemeta import FileMetaQuerySet

    class Secretive(FileMetaQuerySet):
        def visible_to(self, user: Any) -> Any:
            return super().visible_to(user).exclude(filename__startswith="secret")

    monkeypatch.setattr(FileMeta._default_manager, "_queryset_class", Secretive)


@pytest.fixture(autouse=True)
def secrets_in_logs(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Whatever a test lets a store on S3 do, its log at DEBUG shows no secret key and no URL.

    The list has what was found; a test that means it to be found empties it.
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
    """A proxy before SeaweedFS, which a module's tests share."""
    with HttpProxy(s3servers.need("seaweedfs").endpoint_url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def bucket() -> str:
    """A bucket on SeaweedFS, which a module's tests share."""
    return s3servers.need("seaweedfs").bucket()
