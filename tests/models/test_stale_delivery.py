"""An instance that knows less than the database does not undo what it does not know."""

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
    """A delivery with one file."""
    delivery = Delivery.begin(AssignmentGroup.objects.create(name="group"))
    delivery.add_file("a.txt", b"a")
    return delivery


def test_a_stale_save_does_not_unfinish_a_delivery(delivery: Delivery) -> None:
    """State, number and time stay; what the instance did change is saved."""
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


def test_named_fields_are_written(delivery: Delivery) -> None:
    """An importer says so where it means it."""
    time = timezone.now() - timedelta(days=9)
    delivery.number, delivery.successful, delivery.time_of_delivery = 7, True, time
    delivery.save(update_fields=["number", "successful", "time_of_delivery"])
    now = Delivery.objects.get(pk=delivery.pk)
    assert (now.number, now.successful, now.time_of_delivery) == (7, True, time)


def test_whoever_knows_of_the_finish_may_change_its_time(delivery: Delivery) -> None:
    """An importer brings the time along from elsewhere."""
    delivery.finish()
    known = Delivery.objects.get(pk=delivery.pk)
    known.time_of_delivery = time = timezone.now() - timedelta(days=9)
    known.save()
    assert Delivery.objects.get(pk=delivery.pk).time_of_delivery == time


def test_a_deferred_column_stays(delivery: Delivery) -> None:
    """Only what was loaded is written."""
    loaded = Delivery.objects.only("assignment_group").get(pk=delivery.pk)
    loaded.save()
    assert loaded.get_deferred_fields() >= {"number", "delivered_by_id", "copy_of_id"}


def test_a_stale_save_does_not_bring_a_deleted_delivery_back(delivery: Delivery) -> None:
    """The row is gone, with its files; saving it is an error."""
    stale = Delivery.objects.get(pk=delivery.pk)
    delivery.delete()
    with pytest.raises(DatabaseError), transaction.atomic():
        stale.save()
    assert not Delivery.objects.exists()


def test_a_delivery_saved_as_a_new_one_is_written_whole(delivery: Delivery) -> None:
    """With pk=None it is an INSERT like any other."""
    delivery.pk = None
    delivery.save()
    assert Delivery.objects.count() == 2
