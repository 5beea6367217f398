"""What the tests of other packages share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.test import Client
from PIL import Image

from tests.harness import chosen
from tests.harness.flushing import keep_permissions

from .models import Homework
from .settings import ALIASES, PRIVATE


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Make the flush after each test faster."""
    with django_db_blocker.unblock():
        keep_permissions()


@pytest.fixture(autouse=True)
def empty_stores() -> Iterator[None]:
    """Empty the stores and the cache after every test, because SQLite reuses ids."""
    yield
    cache.clear()
    chosen.empty(*ALIASES, *PRIVATE, "default")
    shutil.rmtree(settings.DIRECTORY / "public", ignore_errors=True)


@pytest.fixture
def homework(db: None) -> Homework:
    made: Homework = Homework._default_manager.create()
    return made


@pytest.fixture
def staff(db: None) -> Client:
    """Return the client of a user who may do everything."""
    client = Client()
    client.force_login(User.objects.create_superuser("staff"))
    return client


@pytest.fixture
def picture() -> Any:
    """Return a function that makes the file of an image."""

    def make(name: str = "a.png", size: tuple[int, int] = (80, 60), colour: str = "red") -> Any:
        data = BytesIO()
        Image.new("RGB", size, colour).save(data, "PNG")
        return ContentFile(data.getvalue(), name)

    return make
