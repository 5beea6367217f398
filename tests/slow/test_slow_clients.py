"""Clients that read slowly: they occupy no transaction and no database connection."""

from __future__ import annotations

import time

import pytest
from django.db import connection, connections

from devilry_storage.deliveries.models import AssignmentGroup, Delivery
from devilry_storage.testing import override_deliverystore
from tests.harness.http_servers import KINDS, serving
from tests.harness.proofs import report
from tests.harness.users import make_user

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

CLIENTS = 50
SIZE = 16 << 20

OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def others() -> int:
    """Return the number of other database connections."""
    with connection.cursor() as cursor:
        cursor.execute(OTHERS)
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("kind", KINDS)
def test_slow_clients_use_no_database_connection(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty clients use none, not even an idle one, on a site with ATOMIC_REQUESTS."""
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    group = AssignmentGroup.objects.create(name="group")
    user = make_user("candidate")
    group.candidates.add(user)
    with override_deliverystore():
        delivery = Delivery.begin(group)
        row = delivery.add_file("long.bin", bytes(SIZE))
        delivery.finish()
        with serving(kind) as running:
            site = running.logged_in(user)
            clients = [site.begin(row.content.url, room=4096) for _ in range(CLIENTS)]
            begun = sum(client.recv(12).startswith(b"HTTP/1") for client in clients)
            deadline = time.monotonic() + 60
            while (held := others()) and time.monotonic() < deadline:
                time.sleep(0.05)
            for client in clients:
                client.close()
    report(
        f"slow-clients-{kind}",
        tried=CLIENTS,
        hit=begun,
        bad=[f"{held} connections"] if held else [],
    )
    assert begun == CLIENTS
