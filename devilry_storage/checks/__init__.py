"""System checks. Importing this package registers them; ``ids`` tells each id's meaning."""

from . import database, identity, models, serving, settings, stores

__all__ = ["database", "identity", "models", "serving", "settings", "stores"]
