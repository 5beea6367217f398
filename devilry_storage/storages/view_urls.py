"""URLs of the views of ``devilry_storage.urls``, which a site may include or not."""

from django.conf import settings
from django.core.files.storage import Storage
from django.urls import NoReverseMatch, reverse

from ..exceptions import NoURL
from .aliases import alias_of

NOT_PUBLIC = (
    "{!r} has no URL: its store is not public. Include devilry_storage.urls in the URLconf, with "
    "the app devilry_storage in INSTALLED_APPS, for a view that serves the file."
)


def view_url(view: str, *args: object) -> str:
    """Return the URL of a view, ``""`` if the site does not include it."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return ""
    try:
        return reverse(f"devilry_storage:{view}", args=args)
    except NoReverseMatch:
        return ""


def stored_url(store: Storage, name: str) -> str:
    """Return the URL at which the view of ordinary names serves a file; NoURL if there is none."""
    alias = alias_of(store)
    if alias is None:
        raise NoURL(
            f"{name!r} has no URL: its {type(store).__name__} is not in STORAGES. Add it there, "
            "and give the field a function as storage, which returns storages['its alias']."
        )
    if url := view_url("stored", alias, name):
        return url
    raise NoURL(NOT_PUBLIC.format(name))
