"""Views of downloads and archives, for any subclass of the abstract models."""

from .archives import DeliveryArchiveView, GroupArchiveView, LatestArchiveView, archive_response
from .base import RowView
from .downloads import DownloadView, StoredView

__all__ = [
    "DeliveryArchiveView",
    "DownloadView",
    "GroupArchiveView",
    "LatestArchiveView",
    "RowView",
    "StoredView",
    "archive_response",
]
