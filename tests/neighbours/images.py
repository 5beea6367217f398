"""The size of stored images, in tests of thumbnails."""

from __future__ import annotations

from typing import Any

from PIL import Image


def size_of(file: Any) -> tuple[int, int]:
    """Return width and height, in pixels, of the image that a storage has."""
    with file.storage.open(file.name) as opened, Image.open(opened) as image:
        size: tuple[int, int] = image.size
    return size
