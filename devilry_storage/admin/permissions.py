"""What is looked at in the admin, and acted on by permissions of its own."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest


class LookedAt(admin.ModelAdmin):  # type: ignore[type-arg]
    """A model whose rows nobody adds, changes or deletes in the admin."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def _permits(self, request: HttpRequest, codename: str) -> bool:
        """Tell whether the user has a permission of the model's app."""
        allowed: bool = request.user.has_perm(f"{self.opts.app_label}.{codename}")
        return allowed
