"""The form behind a real server: requests that arrive whole, that break off, that are too much."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from devilry_storage.deliveries.models import AssignmentGroup, Delivery
from devilry_storage.forms import DeliveryForm

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


@csrf_exempt  # what arrives is written by hand
def receive(request: HttpRequest) -> HttpResponse:
    """Deliver, as the view of a site would."""
    form = DeliveryForm(request.POST, request.FILES)
    if form.is_valid() and form.save(AssignmentGroup.objects.get()):
        return HttpResponse("delivered")
    return HttpResponse(form.as_div(), status=422)


urlpatterns = [path("deliver/", receive)]

BOUNDARY = "frontier"
FILES = {"a.txt": b"a" * 100, "b.bin": b"b" * 200_000, "c.txt": b"c"}


def part(name: str, data: bytes, filename: str = "") -> bytes:
    named = f'; filename="{filename}"' if filename else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + data + b"\r\n"


def body() -> bytes:
    """Return what a browser sends: the fields of the form in the order of the page."""
    parts = [part("uploads", data, name) for name, data in FILES.items()]
    return b"".join([*parts, part("end", b"end"), f"--{BOUNDARY}--\r\n".encode()])


def send(url: str, data: bytes, length: int) -> bytes:
    """Send a request that announces so many bytes and ends after the given ones."""
    address = urlsplit(url)
    head = (
        f"POST /deliver/ HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((address.hostname or "", address.port or 80), 30) as connection:
        connection.sendall(head.encode() + data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_whole_request_is_delivered(live_server: Any, store: Any, group: Any) -> None:
    """What the others are cut from is complete."""
    answer = send(live_server.url, body(), len(body()))
    assert answer.endswith(b"delivered")
    delivery = Delivery.objects.get()
    assert {row.filename: row.content.read() for row in delivery.files} == FILES


def test_request_that_broke_off_delivers_nothing(live_server: Any, store: Any, group: Any) -> None:
    """Wherever it ends: in a file, between two, after the last one.

    Django's parser takes what arrived for a whole request.
    """
    whole = body()
    end = whole.index(b'name="end"')
    places = {end + 13, end, end - 50, *range(0, end, end // 20)}
    places |= {whole.index(f'filename="{name}"'.encode()) - 60 for name in FILES}
    for place in sorted(places):
        answer = send(live_server.url, whole[:place], len(whole))
        assert b"The upload broke off before its end: nothing was delivered." in answer, place
        assert not Delivery.objects.exists(), place


def upload(client: Client, count: int) -> Any:
    uploads = [SimpleUploadedFile(f"{number}.txt", b"x") for number in range(count)]
    return client.post("/deliver/", {"uploads": uploads, "end": "end"})


def test_more_files_than_django_takes_are_its_bare_400(
    client: Client, store: Any, group: Any
) -> None:
    """Its limit is as high as that of the form unless it is raised, and comes before any view."""
    assert upload(client, 100).status_code == 200
    assert upload(client, 101).status_code == 400
    assert Delivery.objects.count() == 1


@override_settings(DATA_UPLOAD_MAX_NUMBER_FILES=200)
def test_form_tells_of_too_many_files_where_django_takes_them(
    client: Client, store: Any, group: Any
) -> None:
    """Which is why the manual says to raise it."""
    answer = upload(client, 101)
    assert answer.status_code == 422
    assert "You chose 101 files, at most 100 are allowed." in answer.content.decode()
    assert not Delivery.objects.exists()


def test_name_of_a_file_is_escaped_on_the_page(client: Client, store: Any, group: Any) -> None:
    """It is the student's text, in an error too."""
    store.full = True
    file = SimpleUploadedFile("<script>alert(1)<&gt;.txt", b"x")
    page = client.post("/deliver/", {"uploads": [file], "end": "end"}).content.decode()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
