"""System checks. Importing this package registers them; ``ids`` tells each id's meaning."""

from . import database, models, settings, stores

__all__ = ["database", "models", "settings", "stores"]
