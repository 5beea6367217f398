"""What there is to know of a store: where it is, how it is configured, what it can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from . import identity
from .conf import conf
from .filemodels import FileModel, file_models
from .storages.base import DeliveryStoreMixin
from .storages.interface import FLAGS, Finding
from .store import Resolved, resolve


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


class Use(NamedTuple):
    """A store and the models that use it, or why a model has none."""

    models: list[FileModel]
    resolved: Resolved | None
    problem: str = ""


def uses() -> list[Use]:
    """Return each store that a model of files uses, once, and each model without one."""
    found: list[Use] = []
    for model in file_models():
        try:
            resolved = resolve(model)
        except ImproperlyConfigured as exception:
            found.append(Use([model], None, str(exception)))
            continue
        for use in found:
            if use.resolved is not None and use.resolved.store is resolved.store:
                use.models.append(model)
                break
        else:
            found.append(Use([model], resolved))
    return found


def describe(use: Use) -> StoreInfo:
    """Return what there is to know of a store without asking its server."""
    assert use.resolved is not None
    store, alias = use.resolved
    return StoreInfo(
        models=[model._meta.label for model in use.models],
        alias=alias,
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
    known = identity.summary(model, using)
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
