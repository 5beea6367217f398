"""Admin of the users. Its search is needed for the autocomplete fields of other admins."""

from __future__ import annotations

from django.contrib import admin

from .models import User


@admin.register(User)
class UserAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Users, sorted and searched by email."""

    search_fields = ("email",)
    ordering = ("email",)
