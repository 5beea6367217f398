"""``manage.py deliverystore_info``: see :mod:`devilry_storage.store_info`."""

from argparse import ArgumentParser
from collections.abc import Sequence
from itertools import chain
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router
from django.template.defaultfilters import filesizeformat

from devilry_storage.registry import (
    ConfiguredStore,
    configured_stores,
    ordinary_stores,
    unconfigured,
)
from devilry_storage.store_info import StoreInfo, describe, probed, recognised


class Command(BaseCommand):
    """Show the stores that the models use, their locations and their capabilities."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--probe",
            action="store_true",
            help=(
                "Test whether each store's server does what the store relies on, and look for "
                "unfinished uploads. Writes files that no listing shows, and deletes them."
            ),
        )
        parser.add_argument(
            "--endpoint",
            action="append",
            default=[],
            metavar="URL",
            help="Another URL of the same server, which --probe also uses; may be repeated.",
        )

    def handle(self, *, probe: bool, endpoint: Sequence[str] = (), **options: Any) -> None:
        if endpoint and not probe:
            raise CommandError("--endpoint is for a probe: add --probe.")
        problems = 0
        for configured in configured_stores() + ordinary_stores():
            problems += self._show(configured, endpoint, probe=probe)
            self.stdout.write("")
        for model, problem in unconfigured():
            problems += 1
            self.stdout.write(f"{model._meta.label}: {problem}\n")
        if problems:
            noun = "problem" if problems == 1 else "problems"
            raise CommandError(f"{problems} {noun} found (see above).")

    def _show(self, configured: ConfiguredStore, endpoints: Sequence[str], *, probe: bool) -> int:
        """Print the description of a store, and return the number of problems."""
        try:
            self.stdout.write("\n".join(_lines(describe(configured))))
            return self._probe(configured, endpoints) if probe else 0
        except Exception as exception:  # noqa: BLE001  # a store of the site's own
            name = type(configured.store).__name__
            self.stdout.write(f"  The store cannot be checked ({name}): {exception}")
            return 1

    def _probe(self, configured: ConfiguredStore, endpoints: Sequence[str]) -> int:
        """Print the findings about a store, and return the number of problems."""
        problems = 0
        # Only models of files keep marks of their stores.
        known = (recognised(model, router.db_for_write(model)) for model in configured.models[:1])
        for sentence, holds, remedy in chain(probed(configured.store, endpoints), *known):
            problems += bool(remedy)
            advice = f" ({remedy})" if remedy else ""
            self.stdout.write(f"  {'yes' if holds else 'no '}  {sentence}{advice}")
        return problems


def _lines(info: StoreInfo) -> list[str]:
    capabilities = [flag for flag, holds in info.flags.items() if holds]
    lacking = [flag for flag, holds in info.flags.items() if not holds]
    lines = [
        ", ".join(info.models + info.fields),
        f"  alias         {info.alias or '(none)'}",
        f"  backend       {info.backend}",
        f"  location      {info.location}",
        f"  capabilities  {', '.join(capabilities) or 'none'}",
    ]
    if lacking:
        lines.append(f"  lacks         {', '.join(lacking)}")
    if info.free is not None:
        lines.append(f"  free          {filesizeformat(info.free)}")
    lines += [
        f"  option        {option} = {value}" for option, value in sorted(info.options.items())
    ]
    return lines
