"""Models of files, each as the manual of another package shows, and models to compare with."""

from __future__ import annotations

from typing import Any, ClassVar

import reversion
from auditlog.registry import auditlog
from django.core.files.storage import Storage, storages
from django.core.validators import FileExtensionValidator
from django.db import models
from django.db.models.signals import post_save
from django.dispatch import receiver
from model_utils import FieldTracker
from polymorphic.managers import PolymorphicManager
from polymorphic.models import PolymorphicModel
from simple_history.models import HistoricalRecords

from devilry_storage.fields import DeliveryFileField
from devilry_storage.models import AbstractDelivery, AbstractFileMeta


class Homework(AbstractDelivery):
    """The delivery of all files."""

    @classmethod
    def filemeta_model(cls) -> type[AbstractFileMeta]:
        return SentFile


class SentFile(AbstractFileMeta):
    """For REST framework."""

    content = DeliveryFileField(storage="sent", validators=[FileExtensionValidator(["txt"])])
    delivery = models.ForeignKey(Homework, models.CASCADE, related_name="sent")


class RecordedFile(AbstractFileMeta):
    """For django-simple-history."""

    content = DeliveryFileField(storage="recorded")
    delivery = models.ForeignKey(Homework, models.CASCADE, related_name="recorded")
    history = HistoricalRecords()


@reversion.register()
class VersionedFile(AbstractFileMeta):
    """For django-reversion."""

    content = DeliveryFileField(storage="versioned")
    delivery = models.ForeignKey(Homework, models.CASCADE, related_name="versioned")


class TrackedFile(AbstractFileMeta):
    """For django-auditlog and the tracker of django-model-utils."""

    content = DeliveryFileField(storage="tracked")
    delivery = models.ForeignKey(Homework, models.CASCADE, related_name="tracked")
    tracker = FieldTracker()


@receiver(post_save, sender=TrackedFile)
def track_content(
    instance: TrackedFile, created: bool, update_fields: frozenset[str] | None, **kwargs: Any
) -> None:
    """Let the tracker of a new row know the name of its stored file."""
    if not created and update_fields and "content" in update_fields:
        instance.tracker.set_saved_fields(fields=["content", "size", "sha256"])


class ImportedFile(AbstractFileMeta):
    """For django-import-export."""

    content = DeliveryFileField(storage="imported")
    delivery = models.ForeignKey(Homework, models.CASCADE, related_name="imported")


class Photo(AbstractFileMeta):
    """A delivered image, for packages that make thumbnails."""

    content = DeliveryFileField(storage="photos")
    delivery = models.ForeignKey(Homework, models.CASCADE, related_name="photos")


class Work(PolymorphicModel, AbstractFileMeta):
    """For django-polymorphic."""

    content = DeliveryFileField(storage="kinds")
    delivery = models.ForeignKey(Homework, models.CASCADE, related_name="works")
    objects: ClassVar[Any] = PolymorphicManager()


class Essay(Work):
    words = models.IntegerField(default=0)


class Film(Work):
    minutes = models.IntegerField(default=0)


def public_storage() -> Storage:
    """Return Django's own storage."""
    return storages["public"]


class PlainFile(models.Model):
    """Django's own field and storage, to compare with."""

    filename = models.CharField(max_length=100)
    content = models.FileField(upload_to="plain/", storage=public_storage)
    history = HistoricalRecords()
    tracker = FieldTracker()


class Picture(models.Model):
    """An ordinary image, in the default storage."""

    image = models.ImageField(upload_to="pictures/")


auditlog.register(TrackedFile)
auditlog.register(PlainFile)
