"""System checks. Importing this package registers them; ``ids`` tells each id's meaning."""

from . import database, models, serving, settings, stores

__all__ = ["database", "models", "serving", "settings", "stores"]
