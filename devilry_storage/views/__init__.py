"""Views by which people get files, for any subclass of the abstract models."""

from .access import RowView
from .download import DownloadView

__all__ = ["DownloadView", "RowView"]
