"""Makes the users searchable, so that other admin pages can offer them."""

from __future__ import annotations

from django.contrib import admin

from .models import User


@admin.register(User)
class UserAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The users by email."""

    search_fields = ("email",)
    ordering = ("email",)
