"""URLs of the pages for students and examiners, of downloads, and of the admin."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("campus.urls")),
    path("stored/", include("devilry_storage.urls")),
    path("admin/", admin.site.urls),
]
