"""Zip archives of stored files, generated while they are sent."""

from .builders import latest_deliveries, latest_of, of_deliveries, of_files, of_folder
from .entries import Member
from .zipping import Archive

__all__ = [
    "Archive",
    "Member",
    "latest_deliveries",
    "latest_of",
    "of_deliveries",
    "of_files",
    "of_folder",
]
