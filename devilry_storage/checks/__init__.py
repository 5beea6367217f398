"""System checks. Importing this package registers them."""

from . import database, managers, models, serving, settings, stores  # noqa: F401
