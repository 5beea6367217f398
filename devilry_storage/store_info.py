"""Describe a store: its location, configuration and capabilities."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from django.utils import timezone

from .conf import conf
from .identity import summary
from .registry import ConfiguredStore, FileModel, ordinary_fields
from .storages.base import DeliveryStoreMixin
from .storages.protocols import FLAGS, Finding

_MODES = ("file_permissions_mode", "directory_permissions_mode")


class StoreInfo(NamedTuple):
    """The configuration of a store, and the labels of the models and fields that use it.

    ``fields`` are FileFields of Django, such as ``"exercises.Report.file"``.
    ``alias`` is ``""`` for a store without an alias in ``STORAGES``. ``free`` is in bytes, None if
    unknown. The values of ``options`` contain no secrets. File modes are octal, as text.
    """

    models: list[str]
    fields: list[str]
    alias: str
    backend: str
    location: str
    options: dict[str, Any]
    flags: dict[str, bool]
    free: int | None


def describe(configured: ConfiguredStore) -> StoreInfo:
    """Return the description of a store. Sends no request."""
    store = configured.store
    return StoreInfo(
        models=[model._meta.label for model in configured.models],
        fields=[ordinary.label for ordinary in ordinary_fields() if ordinary.store is store],
        alias=configured.alias,
        backend=f"{type(store).__module__}.{type(store).__qualname__}",
        location=store.location_text(),
        options={
            option: oct(value) if option in _MODES and isinstance(value, int) else value
            for option, value in store.configuration().items()
        },
        flags={flag: bool(getattr(store, flag)) for flag in FLAGS},
        free=store.free_space(),
    )


def recognised(model: FileModel, using: str) -> Iterator[Finding]:
    """Yield the mark of the model's store, and whether this site may remove files from it.

    Sends requests, and writes nothing. Yields nothing if no mark is remembered.
    """
    known = summary(model, using)
    if known is None:
        return
    if known.uuid is not None:
        yield Finding(f"the store is recognised by the mark '{known.uuid}'", not known.problem)
    yield Finding("this site may remove files", not known.problem, known.problem)


def probed(store: DeliveryStoreMixin, endpoints: Iterable[str] = ()) -> Iterator[Finding]:
    """Test what the store relies on, and look for unfinished uploads.

    Sends requests and writes objects of the store's own, also through the URLs in ``endpoints``.
    Errors of the store propagate.
    """
    yield from store.examine(endpoints)
    stale = list(store.remove_stale_uploads(timezone.now() - conf.grace, dry_run=True))
    names = f"{', '.join(stale[:10])}{f' and {len(stale) - 10} more' if stale[10:] else ''}"
    remedy = f"run purge_deliveries, which removes {names}" if stale else ""
    yield Finding("all uploads of other processes are finished or recent", not stale, remedy)
