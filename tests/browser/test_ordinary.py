"""A page of Django's admin with an ImageField in Chromium, for each kind of store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile

from ..ordinary.conftest import badges_in_admin, use_stores
from ..ordinary.models import Badge
from .school import picture
from .window import Windows

PICTURE = picture()


@pytest.fixture(params=["disk", "memory", pytest.param("moto", marks=pytest.mark.servers)])
def badge(
    request: pytest.FixtureRequest,
    transactional_db: None,
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    store = use_stores(request.param, tmp_path, settings, monkeypatch)
    with badges_in_admin():
        name = store.save("badges/a b#1%.png", ContentFile(PICTURE))
        yield Badge.objects.create(image=name, width=320, height=200)


def test_admin_links_to_the_image(open_browser: Windows, admin: Any, badge: Any) -> None:
    """In the form and in the list. The link saves the image, and a page can show it."""
    window = open_browser(admin)
    kind = type(badge.image.storage).__name__
    for name, path in (("list", ""), ("form", f"{badge.pk}/change/")):
        window.go(f"/admin/ordinary/badge/{path}")
        window.screenshot(f"ordinary-{name}-{kind}")
        window.assert_sound()
        with window.page.expect_download() as download:
            window.page.get_by_role("link", name=badge.image.name).click()
        assert download.value.suggested_filename == "a b#1%.png"
        assert Path(download.value.path()).read_bytes() == PICTURE
    width = window.page.evaluate(
        """async (url) => {
            const image = document.body.appendChild(new Image());
            image.src = url;
            await image.decode();
            return image.naturalWidth;
        }""",
        badge.image.url,
    )
    assert width == 320
    window.screenshot(f"ordinary-shown-{kind}")
    window.go(f"{badge.image.url}?inline")
    window.screenshot(f"ordinary-inline-{kind}")
    window.assert_sound()
