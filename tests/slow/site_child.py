"""Run a site in a separate process: ``site_child.py FACTORY LOCATION prepare BYTES|wsgi|asgi``.

``FACTORY`` is the dotted path of a function that returns the store for ``LOCATION``, a folder or a
bucket. The environment selects the database.

- ``prepare`` creates the database, and a delivery with a file of one byte and a file of ``BYTES``
  bytes. It prints a line of JSON: the ``cookies`` of a user who may read the files, and their
  URLs, ``small`` and ``large``.
- ``wsgi`` and ``asgi`` serve the files. They print their port and then, for each line of standard
  input, a line of JSON (`state`). They exit when standard input ends.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from typing import Any

import django
from django.utils.module_loading import import_string


def say(what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def prepare(size: int) -> None:
    from django.core.management import call_command
    from django.test import Client

    from devilry_storage.deliveries.models import AssignmentGroup, Delivery
    from tests.harness.users import make_user
    from tests.slow.memory_child import Generated

    call_command("migrate", verbosity=0)
    user = make_user("candidate")
    group = AssignmentGroup.objects.create(name="group")
    group.candidates.add(user)
    delivery = Delivery.begin(group)
    small = delivery.add_file("small.bin", b"x")
    large = delivery.add_file("large.bin", Generated(size).chunks())
    delivery.finish()
    client = Client()
    client.force_login(user)
    cookies = client.cookies.output(attrs=[], header="", sep=";").strip()
    say({"cookies": cookies, "small": small.content.url, "large": large.content.url})


def state() -> dict[str, int]:
    """Return the peak resident memory in KiB, and the number of descriptors and threads."""
    from tests.slow.memory_child import peak_kib

    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    return {"peak": peak_kib(), "descriptors": descriptors, "threads": threading.active_count()}


def serve(kind: str) -> None:
    from tests.harness.http_servers import serving

    with serving(kind) as site:
        say(site.port)
        for _line in sys.stdin:
            say(state())


def main(factory: str, location: str, act: str, *size: str) -> None:
    django.setup()
    from devilry_storage.testing import override_deliverystore

    with override_deliverystore(import_string(factory)(location)):
        prepare(int(*size)) if act == "prepare" else serve(act)


if __name__ == "__main__":
    main(*sys.argv[1:])
