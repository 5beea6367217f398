"""Models with ordinary FileFields: plain, inherited, with managers, images and own subclasses."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage
from django.db import models


class AbstractReport(models.Model):
    """The field of several models."""

    file = models.FileField(upload_to="reports", db_index=True, blank=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return str(self.file)


class KeptManager(models.Manager[Any]):
    """The reports that are not archived."""

    def get_queryset(self) -> Any:
        return super().get_queryset().filter(is_archived=False)


class Report(AbstractReport):
    """A model whose default manager hides rows."""

    is_archived = models.BooleanField(default=False)

    objects = KeptManager()


class ArchivedReport(Report):
    """A proxy that shows all rows."""

    objects: Any = models.Manager()  # type: ignore[misc]

    class Meta:
        proxy = True


class LongReport(Report):
    """A multi-table child."""

    pages = models.IntegerField(default=100)


class ScanField(models.FileField):
    """A FileField of a site's own."""


class Scan(models.Model):
    """A model without an index."""

    scan = ScanField(upload_to="scans")


class PictureField(models.ImageField):
    """An ImageField that needs no Pillow, as the tests store the sizes themselves."""

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        return []


class Badge(models.Model):
    """A model with an image, whose size is read when a row without a width is loaded."""

    image = PictureField(
        upload_to="badges", width_field="width", height_field="height", db_index=True
    )
    width = models.IntegerField(null=True, editable=False)
    height = models.IntegerField(null=True, editable=False)

    def __str__(self) -> str:
        return str(self.image)


class LetterQuerySet(models.QuerySet[Any]):
    def visible_to(self, user: Any) -> Any:
        return self.filter(reader=user.get_username())


class Letter(models.Model):
    """A model that decides itself who may read a file, whatever permissions a user has."""

    text = models.FileField(upload_to="letters", db_index=True)
    # Not a foreign key: the app has no migrations, and that of users has some.
    reader = models.CharField(max_length=100)

    objects = LetterQuerySet.as_manager()
