"""``manage.py deliverystore_info``: see :mod:`devilry_storage.store_info`."""

from __future__ import annotations

from argparse import ArgumentParser
from itertools import chain
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router
from django.template.defaultfilters import filesizeformat

from devilry_storage.registry import ConfiguredStore, configured_stores, unconfigured
from devilry_storage.store_info import StoreInfo, describe, probed, recognised


class Command(BaseCommand):
    """Tell which stores the models use, where they are and what they can do."""

    help = "Tell which stores the models use, where they are, and what they can do."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--probe",
            action="store_true",
            help=(
                "Ask each store's server whether it does what the store relies on, and look for "
                "unfinished uploads. Writes a marker that no listing shows."
            ),
        )

    def handle(self, *, probe: bool, **options: Any) -> None:
        troubles = 0
        for configured in configured_stores():
            self.stdout.write("\n".join(_lines(describe(configured))))
            if probe:
                troubles += self._probe(configured)
            self.stdout.write("")
        for model, problem in unconfigured():
            troubles += 1
            self.stdout.write(f"{model._meta.label}: {problem}\n")
        if troubles:
            raise CommandError(f"{troubles} things are not as they should be: see above.")

    def _probe(self, configured: ConfiguredStore) -> int:
        """Print what was found out; return of how much something has to be done about."""
        troubles = 0
        model = configured.models[0]
        known = recognised(model, router.db_for_write(model))
        try:
            for sentence, holds, remedy in chain(probed(configured.store), known):
                troubles += bool(remedy)
                advice = f" ({remedy})" if remedy else ""
                self.stdout.write(f"  {'yes' if holds else 'no '}  {sentence}{advice}")
        except OSError as exception:
            troubles += 1
            self.stdout.write(f"  The store cannot be asked: {exception}")
        return troubles


def _lines(info: StoreInfo) -> list[str]:
    able = [flag for flag, holds in info.flags.items() if holds]
    unable = [flag for flag, holds in info.flags.items() if not holds]
    lines = [
        ", ".join(info.models),
        f"  alias     {info.alias or '(none)'}",
        f"  backend   {info.backend}",
        f"  place     {info.place}",
        f"  can       {', '.join(able) or 'nothing of what is asked'}",
    ]
    if unable:
        lines.append(f"  cannot    {', '.join(unable)}")
    if info.free is not None:
        lines.append(f"  free      {filesizeformat(info.free)}")
    lines += [f"  option    {option} = {value}" for option, value in sorted(info.options.items())]
    return lines
