"""System checks. Importing this package registers them."""

from . import database, identity, models, ordinary, serving, settings, stores

__all__ = ["database", "identity", "models", "ordinary", "serving", "settings", "stores"]
