"""DeliveryForm on a real server: complete, truncated and too large requests."""

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


@csrf_exempt  # the requests are written by hand
def receive(request: HttpRequest) -> HttpResponse:
    """Create a delivery, as the view of a site does."""
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
    """Return the body that a browser sends: the form's fields in the order of the page."""
    parts = [part("uploads", data, name) for name, data in FILES.items()]
    return b"".join([*parts, part("end", b"end"), f"--{BOUNDARY}--\r\n".encode()])


def send(url: str, data: bytes, length: int) -> bytes:
    """Send a request with the announced Content-Length and possibly less data."""
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


def test_complete_request_is_delivered(live_server: Any, store: Any, group: Any) -> None:
    """The other tests truncate this request."""
    response = send(live_server.url, body(), len(body()))
    assert response.endswith(b"delivered")
    delivery = Delivery.objects.get()
    assert {row.filename: row.content.read() for row in delivery.files} == FILES


def test_truncated_request_delivers_nothing(live_server: Any, store: Any, group: Any) -> None:
    """It may end within a file, between two files, or after the last one.

    Django's parser accepts the truncated request.
    """
    whole = body()
    end = whole.index(b'name="end"')
    positions = {end + 13, end, end - 50, *range(0, end, end // 20)}
    positions |= {whole.index(f'filename="{name}"'.encode()) - 60 for name in FILES}
    for position in sorted(positions):
        response = send(live_server.url, whole[:position], len(whole))
        assert b"The upload was interrupted and nothing was delivered." in response, position
        assert not Delivery.objects.exists(), position


def upload(client: Client, count: int) -> Any:
    uploads = [SimpleUploadedFile(f"{number}.txt", b"x") for number in range(count)]
    return client.post("/deliver/", {"uploads": uploads, "end": "end"})


def test_more_files_than_django_allows_are_status_400(
    client: Client, store: Any, group: Any
) -> None:
    """By default, Django's limit equals the form's limit and is checked before any view runs."""
    assert upload(client, 100).status_code == 200
    assert upload(client, 101).status_code == 400
    assert Delivery.objects.count() == 1


@override_settings(DATA_UPLOAD_MAX_NUMBER_FILES=200)
def test_form_reports_too_many_files_if_django_allows_them(
    client: Client, store: Any, group: Any
) -> None:
    """This is why the manual recommends to raise Django's limit."""
    response = upload(client, 101)
    assert response.status_code == 422
    assert "You chose 101 files. At most 100 files are allowed." in response.content.decode()
    assert not Delivery.objects.exists()


def test_filename_in_error_is_escaped(client: Client, store: Any, group: Any) -> None:
    """Filenames are user input, also in error messages."""
    store.full = True
    file = SimpleUploadedFile("<script>alert(1)<&gt;.txt", b"x")
    page = client.post("/deliver/", {"uploads": [file], "end": "end"}).content.decode()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
