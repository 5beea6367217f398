"""URLs of the views of the app."""

from __future__ import annotations

from django.urls import path

from .views import receive

urlpatterns = [path("receive/", receive)]
