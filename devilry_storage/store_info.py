"""What there is to know of a store: where it is, how it is configured, what it can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.utils import timezone

from .conf import conf
from .identity import summary
from .registry import ConfiguredStore, FileModel
from .storages.base import DeliveryStoreMixin
from .storages.protocols import FLAGS, Finding


class StoreInfo(NamedTuple):
    """A store as it is configured, and the labels of the models whose files it keeps.

    ``alias`` is ``""`` where it has none in ``STORAGES``; ``free`` is in bytes, None where nobody
    can say. No option's value is a secret.
    """

    models: list[str]
    alias: str
    backend: str
    place: str
    options: dict[str, Any]
    flags: dict[str, bool]
    free: int | None


def describe(configured: ConfiguredStore) -> StoreInfo:
    """Return what there is to know of a store without asking its server."""
    store = configured.store
    return StoreInfo(
        models=[model._meta.label for model in configured.models],
        alias=configured.alias,
        backend=f"{type(store).__module__}.{type(store).__qualname__}",
        place=store.location_text(),
        options=store.configuration(),
        # What nobody has declared is not relied on.
        flags={flag: bool(getattr(store, flag)) for flag in FLAGS},
        free=store.free_space(),
    )


def recognised(model: FileModel, using: str) -> Iterator[Finding]:
    """Yield by which mark the model's store is recognised, and whether this site may remove files.

    Sends requests and writes nothing; yields nothing where no mark is remembered.
    """
    known = summary(model, using)
    if known is None:
        return
    if known.uuid is not None:
        yield Finding(f"the store is recognised by the mark '{known.uuid}'", not known.problem)
    yield Finding("this site may remove files", not known.problem, known.problem)


def probed(store: DeliveryStoreMixin) -> Iterator[Finding]:
    """Try what the store rests on, and tell of the uploads that were left behind unfinished.

    Sends requests and writes a marker. Raises what the store raises where it cannot be reached.
    """
    yield from store.probe()
    stale = list(store.remove_stale_uploads(timezone.now() - conf.grace, dry_run=True))
    named = f"{', '.join(stale[:10])}{f' and {len(stale) - 10} more' if stale[10:] else ''}"
    remedy = f"run purge_deliveries, which removes {named}" if stale else ""
    yield Finding("no upload was left behind unfinished", not stale, remedy)
