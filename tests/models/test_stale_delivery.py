"""Saving an instance of a delivery that is not up to date."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.db import DatabaseError, transaction
from django.utils import timezone

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.exceptions import DeliveryFinished

pytestmark = pytest.mark.django_db


@pytest.fixture
def delivery() -> Delivery:
    """Return a delivery with one file."""
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
    delivery.add_file("a.txt", b"a")
    return delivery


def test_stale_save_does_not_unfinish_a_delivery(delivery: Delivery) -> None:
    """State, number and time are kept. Columns that were changed are saved."""
    stale = Delivery.objects.get(pk=delivery.pk)
    other = AssignmentGroup.objects.create(name="another group")
    delivery.finish()
    stale.assignment_group = other
    stale.save()
    now = Delivery.objects.get(pk=delivery.pk)
    assert (now.successful, now.number, now.assignment_group) == (True, 1, other)
    assert now.time_of_delivery == delivery.time_of_delivery != stale.time_of_delivery
    with pytest.raises(DeliveryFinished):
        FileMeta.objects.create(delivery=now, content=ContentFile(b"b", name="b.txt"))


def test_update_fields_are_written(delivery: Delivery) -> None:
    """As importers need."""
    time = timezone.now() - timedelta(days=9)
    delivery.number, delivery.successful, delivery.time_of_delivery = 7, True, time
    delivery.save(update_fields=["number", "successful", "time_of_delivery"])
    now = Delivery.objects.get(pk=delivery.pk)
    assert (now.number, now.successful, now.time_of_delivery) == (7, True, time)


def test_time_of_a_finished_delivery_can_be_changed(delivery: Delivery) -> None:
    """By an instance that is up to date."""
    delivery.finish()
    known = Delivery.objects.get(pk=delivery.pk)
    known.time_of_delivery = time = timezone.now() - timedelta(days=9)
    known.save()
    assert Delivery.objects.get(pk=delivery.pk).time_of_delivery == time


def test_save_does_not_write_deferred_columns(delivery: Delivery) -> None:
    loaded = Delivery.objects.only("assignment_group").get(pk=delivery.pk)
    loaded.save()
    assert loaded.get_deferred_fields() >= {"number", "delivered_by_id", "copy_of_id"}


def test_stale_save_of_a_deleted_delivery_fails(delivery: Delivery) -> None:
    stale = Delivery.objects.get(pk=delivery.pk)
    delivery.delete()
    with pytest.raises(DatabaseError), transaction.atomic():
        stale.save()
    assert not Delivery.objects.exists()


def test_save_with_pk_none_inserts_every_column(delivery: Delivery) -> None:
    delivery.pk = None
    delivery.save()
    assert Delivery.objects.count() == 2
