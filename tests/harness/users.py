"""Make users of either user model."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser


def make_user(name: str, *, password: str = "secret", **fields: Any) -> Any:
    """Create a user, who logs in as ``login_name(user)``."""
    manager = get_user_model()._default_manager
    return manager.create_user(**{login_field(): _login(name)}, password=password, **fields)


def make_superuser(name: str = "root", *, password: str = "secret") -> Any:
    """Create a user with all permissions."""
    return make_user(name, password=password, is_staff=True, is_superuser=True)


def login_name(user: AbstractBaseUser) -> str:
    """Return the username or email address with which the user logs in."""
    return user.get_username()


def login_field() -> str:
    """Return the name of the field with which users log in."""
    return get_user_model().USERNAME_FIELD


def _login(name: str) -> str:
    return f"{name}@example.com" if login_field() == "email" else name
