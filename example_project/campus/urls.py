"""The pages of the site."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("login/", LoginView.as_view(template_name="campus/login.html"), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("groups/<int:pk>/", views.group, name="group"),
    path("deliveries/<int:pk>/", views.delivery, name="delivery"),
]
