"""Recognise stores by a mark that each contains, and the sites that may remove files from them.

A save asks for the files: it is refused only if the store's mark is missing or another store's,
and the files of the newest rows are missing, too. A removal asks for the mark: it needs the UUID
that the database remembers, and the object of this site in the store.
"""

from .accepting import Status, Summary, accept, accepted_at, status, summary
from .marks import Mark, Site
from .permission import (
    Permission,
    before_removing,
    check_writing,
    forget,
    is_same_disk,
    note_removal,
)
from .stores import MarkedStore, marked

__all__ = [
    "Mark",
    "MarkedStore",
    "Permission",
    "Site",
    "Status",
    "Summary",
    "accept",
    "accepted_at",
    "before_removing",
    "check_writing",
    "forget",
    "is_same_disk",
    "marked",
    "note_removal",
    "status",
    "summary",
]
