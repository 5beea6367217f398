"""URLs of files: ``path("files/", include("devilry_storage.urls"))``."""

from __future__ import annotations

from django.urls import path

from .views import DownloadView

app_name = "devilry_storage"
urlpatterns = [
    path("<str:model>/<int:pk>/", DownloadView.as_view(), name="download"),
]
