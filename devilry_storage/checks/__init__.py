"""System checks. Importing this package registers them."""

from . import database, identity, models, serving, settings, stores

__all__ = ["database", "identity", "models", "serving", "settings", "stores"]
