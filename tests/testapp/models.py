"""File models: a proxy, a multi-table child, without delivery, with a plain parent, generic."""

from __future__ import annotations

from django.conf import settings
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models

from devilry_storage.deliveries.models import FileMeta
from devilry_storage.fields import DeliveryFileField
from devilry_storage.models import AbstractDelivery, AbstractFileMeta

from .stores import handouts_store, notes_store, papers_store, readings_store, reports_store


class ProxyFile(FileMeta):
    """A proxy of FileMeta."""

    class Meta:
        proxy = True


class MarkedFile(FileMeta):
    """A multi-table child of FileMeta."""

    mark = models.CharField(max_length=10, blank=True)


class Note(AbstractFileMeta):
    """A file without a delivery, which defines the ids of its key."""

    content = DeliveryFileField(storage=notes_store)

    def key_ids(self) -> tuple[int, int]:
        return 0, self.pk


class Course(models.Model):
    """A model with files that is not a subclass of AbstractDelivery."""

    title = models.CharField(max_length=100)
    # Named like the field of AbstractDelivery's subclasses, but not a relation.
    delivered_by = models.CharField(max_length=100, blank=True)

    def __str__(self) -> str:
        return self.title


class Page(models.Model):
    """A model without files."""

    title = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.title


class Paper(AbstractFileMeta, Page):
    """A file whose id is that of its multi-table parent."""

    content = DeliveryFileField(storage=papers_store)
    delivery = models.ForeignKey(Course, models.CASCADE, related_name="papers")


class Handout(AbstractFileMeta):
    """A file of a row of any model."""

    content = DeliveryFileField(storage=handouts_store)
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.PositiveIntegerField()
    delivery = GenericForeignKey("content_type", "object_id")

    def key_ids(self) -> tuple[int, int]:
        return 0, self.pk


class Station(models.Model):
    """A model with readings, which refer to its number instead of its primary key."""

    number = models.IntegerField(unique=True)

    def __str__(self) -> str:
        return str(self.number)


class Reading(AbstractFileMeta):
    """A file that outlives its station, with a value that may be NaN."""

    content = DeliveryFileField(storage=readings_store)
    delivery = models.ForeignKey(Station, models.SET_NULL, to_field="number", null=True)
    value = models.FloatField(null=True)


class Club(models.Model):
    """A group to which deliveries refer by its code."""

    code = models.CharField(max_length=9, unique=True)
    candidates = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")
    examiners = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")

    def __str__(self) -> str:
        return self.code


def new_ticket() -> int:
    """Return a number that no shift has."""
    highest: int | None = Shift.objects.aggregate(highest=models.Max("ticket"))["highest"]
    return (highest or 0) + 1


class Shift(AbstractDelivery):
    """A delivery to which files refer by its ticket."""

    assignment_group = models.ForeignKey(Club, models.CASCADE, to_field="code")
    ticket = models.IntegerField(unique=True, default=new_ticket)


class Report(AbstractFileMeta, Page):
    """A file whose key contains the ticket, and whose id is not that of its multi-table parent."""

    report_id = models.BigAutoField(primary_key=True)
    page = models.OneToOneField(Page, models.CASCADE, parent_link=True)
    content = DeliveryFileField(storage=reports_store)
    delivery = models.ForeignKey(Shift, models.CASCADE, to_field="ticket")


class Attachment(models.Model):
    """A model with Django's FileField."""

    file = models.FileField(upload_to="attachments")

    def __str__(self) -> str:
        return str(self.file)
