"""A Django storage for files that must never be lost: what students deliver."""

__version__ = "0.1.0"
