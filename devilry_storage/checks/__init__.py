"""System checks. Importing this package registers them."""

from . import database, models, serving, settings, stores  # noqa: F401
