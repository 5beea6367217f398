"""URLs of the site: the package's own, the admin, and those of the other packages."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LoginView
from django.urls import include, path
from filer.server import urls as filer_server
from rest_framework import routers
from wagtail.admin import urls as wagtailadmin_urls
from wagtail.documents import urls as wagtaildocs_urls

from .api import SentFileViewSet

router = routers.SimpleRouter()
router.register("sent", SentFileViewSet)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/login/", LoginView.as_view(template_name="admin/login.html")),
    path("files/", include("devilry_storage.urls")),
    path("api/", include(router.urls)),
    path("cms/", include(wagtailadmin_urls)),
    path("documents/", include(wagtaildocs_urls)),
    path("filer/", include("filer.urls")),
    path("", include(filer_server)),
]
