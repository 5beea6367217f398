"""``manage.py deliverystore_identity``: see :mod:`devilry_storage.identity`."""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, connections

from devilry_storage.exceptions import StoreInUse
from devilry_storage.identity import MarkedStore, Status, accept, marked, status
from devilry_storage.registry import configured_stores, sharing


class Command(BaseCommand):
    """Show the mark of each store, and which sites may remove files from it, or let this site."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--accept",
            action="store_true",
            help=(
                "Let this site remove files, and remember the mark. A missing mark is made. Other "
                "sites keep their permissions."
            ),
        )
        parser.add_argument(
            "--force",
            action="store_true",
            help=(
                "Accept the store although the files of the newest rows are missing, or although "
                "another site has removed files in the last 7 days."
            ),
        )
        parser.add_argument(
            "--store", metavar="ALIAS", help="Only the store with this alias (or model label)."
        )
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, help="The database whose rows are stored."
        )

    def handle(
        self, *, accept: bool, force: bool, store: str | None, database: str, **options: Any
    ) -> None:
        if database not in connections:
            raise CommandError(
                f"Database {database!r} is unknown: use one of {', '.join(connections)}."
            )
        if force and not accept:
            raise CommandError("--force is for --accept: use both options.")
        stores = [marked(configured.models[0], database) for configured in configured_stores()]
        found = [
            candidate for candidate in stores if candidate and store in {None, candidate.alias}
        ]
        if not found:
            which = "No store" if store is None else f"No store {store!r}"
            raise CommandError(f"{which} with an identity is used by a model of files.")
        failures = 0
        for marked_store in found:
            try:
                if accept:
                    self._accept(marked_store, force=force)
                shown = status(marked_store.model, database)
                assert shown is not None
                self.stdout.write("\n".join(_lines(marked_store, shown)) + "\n")
            except (OSError, StoreInUse) as exception:
                failures += 1
                self.stderr.write(f"{marked_store.alias}: {exception}")
        if failures:
            raise CommandError(f"{failures} stores could not be shown or accepted (see above).")

    def _accept(self, found: MarkedStore, *, force: bool) -> None:
        remembered = accept(found.model, found.using, force=force)
        self.stdout.write(f"{found.alias}: accepted the mark '{remembered.uuid}'.")


def _lines(found: MarkedStore, shown: Status) -> Iterator[str]:
    yield ", ".join(model._meta.label for model in sharing(found.model, found.store, strict=False))
    yield f"  alias       {found.alias}"
    yield f"  location    {found.store.location_text()}"
    mark, remembered = shown.mark, shown.remembered
    made = "missing" if mark is None else f"{mark.uuid}, made {mark.created:%Y-%m-%d}"
    yield f"  mark        {made}"
    yield f"  remembered  {'nothing' if remembered is None else remembered.uuid}"
    if remembered is not None and remembered.accepted is not None:
        yield f"  accepted    {remembered.accepted:%Y-%m-%d}"
    for site in shown.sites:
        removed = "never" if site.removed is None else f"{site.removed:%Y-%m-%d}"
        this = " (this site)" if site.digest in shown.own else ""
        yield f"  site        {site.digest[:8]}, last removed files: {removed}{this}"
    allowed = "allowed" if mark is not None else "allowed; the first file makes the mark"
    yield f"  removing    {f'refused: {shown.problem}' if shown.problem else allowed}"
