"""The PostgreSQL server of the run, and child processes that share rows with a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from . import children, postgres

NAME_OF_GROUP = """
import django; django.setup()
from django.contrib.auth.models import Group
print(Group.objects.get().name)
"""


@pytest.mark.django_db(transaction=True)
def test_child_with_the_environment_sees_committed_rows() -> None:
    """A child process reads the rows that the test committed, on every database."""
    Group.objects.create(name="examiners")
    child = subprocess.run(
        [sys.executable, "-c", NAME_OF_GROUP],
        env=children.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout == "examiners\n"


@pytest.mark.postgres
@pytest.mark.django_db
def test_server_belongs_to_the_run() -> None:
    """The cluster is temporary; no other server of the machine is used."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        directory = Path(cursor.fetchone()[0])
    assert directory.parent.name.startswith("devilry-storage-postgres-")


@pytest.mark.servers
@pytest.mark.skipif(postgres.missing() is not None, reason=str(postgres.missing()))
def test_stopped_server_leaves_nothing() -> None:
    """A running server demands its password; a stopped one has neither a port nor files."""
    import psycopg

    server = postgres.Server()
    variables = server.start()
    where = f"host={variables['PGHOST']} port={variables['PGPORT']} user={variables['PGUSER']}"
    try:
        with psycopg.connect(where, dbname="postgres", password=server.password) as session:
            assert session.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(where, dbname="postgres", password="guessed")
    finally:
        server.stop()
    assert not server.directory.exists()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(where, dbname="postgres", password=server.password)
