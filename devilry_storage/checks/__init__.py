"""System checks. Importing this package registers them."""

from . import database, models, serving, stores  # noqa: F401
