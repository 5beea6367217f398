"""Files of a course in three ways: with ``key_ids()``, with it as ``delivery``, in deliveries."""

from __future__ import annotations

from django.conf import settings
from django.core.files.storage import Storage, storages
from django.db import models

from devilry_storage.fields import DeliveryFileField
from devilry_storage.models import AbstractDelivery, AbstractFileMeta


class Course(models.Model):
    """A course, without fields or methods of a delivery."""

    title = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.title


class Handin(AbstractFileMeta):
    """A file that belongs to a course, without a field ``delivery``."""

    content = DeliveryFileField(storage="handins")
    course = models.ForeignKey(Course, models.CASCADE, related_name="handins")
    student = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="handins"
    )

    def key_ids(self) -> tuple[int, int]:
        return self.course_id, self.pk  # type: ignore[attr-defined]  # added by Django


class Poster(AbstractFileMeta):
    """A file whose ``delivery`` is not an AbstractDelivery."""

    deliverystore = "posters"

    delivery = models.ForeignKey(Course, models.CASCADE, related_name="posters")


class Submission(AbstractDelivery):
    """A delivery whose group is a course."""

    assignment_group = models.ForeignKey(Course, models.PROTECT, related_name="submissions")
    delivered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )


def submissions_store() -> Storage:
    """Return the store of the submitted files."""
    return storages["submissions"]


class SubmittedFile(AbstractFileMeta):
    """A file of a submission."""

    content = DeliveryFileField(storage=submissions_store)
    delivery = models.ForeignKey(Submission, models.CASCADE, related_name="files_of_it")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["delivery", "filename"], name="submitted_file_unique")
        ]
