"""URLs of downloads and archives: ``path("files/", include("devilry_storage.urls"))``."""

from django.urls import path

from .views import (
    DeliveryArchiveView,
    DownloadView,
    GroupArchiveView,
    LatestArchiveView,
    StoredView,
)

app_name = "devilry_storage"
urlpatterns = [
    # The label of a model has a dot, so "s" is none.
    path("s/<str:alias>/<path:name>", StoredView.as_view(), name="stored"),
    path("<str:model>/<str:pk>/", DownloadView.as_view(), name="download"),
    path("<str:model>/<int:pk>/zip/", DeliveryArchiveView.as_view(), name="delivery_archive"),
    path("<str:model>/group/<int:pk>/zip/", GroupArchiveView.as_view(), name="group_archive"),
    path("<str:model>/latest/zip/", LatestArchiveView.as_view(), name="latest_archive"),
]
