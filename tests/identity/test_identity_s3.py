"""Identity of stores on S3: the requests it sends, and servers that fail."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.base import ContentFile

from devilry_storage.deletion import purge
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import StoreMark

from ..harness import s3servers
from ..harness.http_faults import Answer
from ..harness.http_proxy import HttpProxy
from ..harness.identity import (
    S3,
    assert_keeps,
    delete_one,
    mark_uuid,
    restart,
    site,
    sites,
    store_one,
    stored_in,
)
from ..harness.purging import delivered

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def options(proxy: HttpProxy, bucket: str) -> dict[str, Any]:
    return {
        **s3servers.get("seaweedfs").options(bucket),
        "endpoint_url": proxy.endpoint_url,
        "location": uuid.uuid4().hex,
        "attempts": 1,
    }


@pytest.fixture
def group(options: dict[str, Any]) -> Iterator[AssignmentGroup]:
    """A group of a site on S3, whose process has checked the store."""
    with stored_in({"BACKEND": S3, "OPTIONS": options}), site():
        delivered(a=b"1", b=b"2")
        yield AssignmentGroup.objects.get()


def test_steady_state_sends_no_additional_request(
    group: AssignmentGroup, proxy: HttpProxy
) -> None:
    """Each file is stored with one request."""
    delivery = Delivery.begin(group)
    proxy.forget()
    delivery.add_file("a.txt", b"a")
    FileMeta.objects.create(delivery=delivery, content=ContentFile(b"b", "b.txt"))
    delivery.add_files({f"{number}.txt": b"data" for number in range(5)})
    assert proxy.operations() == ["PutObject"] * 7
    delivery.finish()
    proxy.forget()
    delivery.copy(group)
    requests = ["CopyObject"] * 7 + ["HeadObject"] * 7 + ["ListObjectsV2"]
    assert sorted(proxy.operations()) == requests


def test_first_save_of_a_process_reads_the_mark(group: AssignmentGroup, proxy: HttpProxy) -> None:
    delivery = Delivery.begin(group)
    restart()
    proxy.forget()
    delivery.add_file("a.txt", b"a")
    assert proxy.operations() == ["GetObject", "PutObject"]


def test_first_save_of_a_site_makes_the_mark(options: dict[str, Any], proxy: HttpProxy) -> None:
    with stored_in({"BACKEND": S3, "OPTIONS": options}), site():
        proxy.forget()
        Delivery.begin(AssignmentGroup.objects.create(name="group")).add_file("a.txt", b"a")
    conditions = ["PutObject"] * 2
    mark, site_object, file = ["PutObject"] * 3
    assert proxy.operations() == ["GetObject", *conditions, mark, site_object, file]


def test_purge_reads_mark_and_site(group: AssignmentGroup, proxy: HttpProxy) -> None:
    delete_one()
    proxy.forget()
    assert [event.result for event in purge()] == ["removed"]
    sent = proxy.operations()
    assert sent.count("GetObject") == 2
    assert sent.count("PutObject") == 1


@pytest.mark.parametrize(
    "fault", [Answer(403, "AccessDenied"), Answer(503, "SlowDown"), Answer(400, "Odd")]
)
def test_server_that_fails_stops_removing_not_storing(
    fault: Answer, group: AssignmentGroup, proxy: HttpProxy, caplog: pytest.LogCaptureFixture
) -> None:
    restart()
    proxy.fault("GetObject", fault)
    store_one()
    assert "cannot be recognised; files are stored anyway" in caplog.text
    proxy.fault("GetObject", fault)
    assert_keeps("the store cannot be checked", fault.code)
    assert (sites(), mark_uuid()) == (1, StoreMark.objects.get().uuid)


def test_failed_check_is_not_repeated_by_each_save(
    group: AssignmentGroup, proxy: HttpProxy
) -> None:
    delivery = Delivery.begin(group)
    restart()
    proxy.forget()
    proxy.fault("GetObject", Answer(403, "AccessDenied"))
    delivery.add_file("a.txt", b"a")
    delivery.add_file("b.txt", b"b")
    assert proxy.operations().count("GetObject") == 1


def test_unwritable_mark_does_not_stop_saves(
    options: dict[str, Any], proxy: HttpProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """A bucket policy forbids the store's own objects."""
    with stored_in({"BACKEND": S3, "OPTIONS": options}), site():
        proxy.fault("PutObject", Answer(403, "AccessDenied"))
        delivered(a=b"1", b=b"2")
        assert "cannot be recognised" in caplog.text
        assert mark_uuid() is None
        assert FileMeta.objects.filter(content__isnull=False).count() == 2
