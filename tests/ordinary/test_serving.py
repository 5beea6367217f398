"""The view of the files of ordinary FileFields: who gets which name, and what is sent."""

from __future__ import annotations

import logging
import os
import time
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from django.core.exceptions import PermissionDenied
from django.core.files.base import ContentFile
from django.db import connection, models
from django.http import Http404
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.http import http_date

from devilry_storage.storages import DeliveryStoreMixin

from .models import Badge, Letter, LongReport, Report, Scan

pytestmark = pytest.mark.django_db

DATA = b"0123456789"
#: Well-formed names that a site's own upload_to may make.
NAMES = [
    *("reports/a.txt", "a b.txt", "a#b?c.txt", "100%.txt", "100%25.txt", "a+b&c;d=e.txt"),
    *("Øving «3».pdf", "o\u0308.txt", "\u00f6.txt", "日本/語.png", "it's (1) [2] {3}.txt"),
    "s/s/s",
    *("latest/zip", "0/0/1/2", "-", "a\u2028b.txt", "~/:@!$*,.txt", "a.tar.gz"),
]
#: Paths of the URL, after the alias, that name no file.
HOSTILE = [
    "../outside.txt",
    *("..", "../a.txt", "reports/../reports/a.txt", "%2e%2e/a.txt", "..%2fa.txt", "%2fetc/passwd"),
    *("reports%5ca.txt", "reports\\a.txt", "reports/a.txt%00", "%00", "reports//a.txt", "/a.txt"),
    *("reports/a.txt/", "./reports/a.txt", "%ff", "a%0ab", ".devilry-storage/store.json", "%20"),
    *("reports/A.TXT", "reports/a%2etxt%20", "x" * 5000, "%252e%252e/a.txt", "\u202e.txt"),
]
METHODS = ("get", "head", "options", "post", "put", "delete")


def add(store: DeliveryStoreMixin, name: str = "reports/a.txt", data: bytes = DATA) -> str:
    return store.save(name, ContentFile(data))


def body(response: Any) -> bytes:
    return b"".join(response)


def test_every_valid_name_is_served_at_its_url(
    store: DeliveryStoreMixin, client_with: Any, subtests: pytest.Subtests
) -> None:
    client = client_with("view_report")
    for name in NAMES:
        with subtests.test(name=name):
            report = Report.objects.create(file=add(store, name, name.encode()))
            assert report.file.url.startswith("/files/s/files/")
            response = client.get(report.file.url)
            assert (response.status_code, body(response)) == (200, name.encode())


def test_response_has_all_headers(store: DeliveryStoreMixin, client_with: Any) -> None:
    """It is an attachment; with ?inline an image is displayed, and an SVG is not."""
    client = client_with("view_badge")
    for name, media_type in (("a.png", "image/png"), ("b.svg", "application/octet-stream")):
        badge = Badge.objects.create(image=add(store, name), width=1, height=1)
        response = client.get(badge.image.url)
        assert response["Content-Disposition"] == f'attachment; filename="{name}"'
        shown = client.get(f"{badge.image.url}?inline")["Content-Disposition"]
        assert shown.startswith("inline") == (media_type == "image/png")
        assert (response["Content-Type"], response["Content-Length"]) == (media_type, "10")
        assert response["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in response["Content-Security-Policy"]
        assert response["Cache-Control"] == "private, no-cache"
        assert response["Vary"] == "Cookie"
        assert response["Content-Encoding"] == "identity"


def test_range_gets_a_part(store: DeliveryStoreMixin, client_with: Any) -> None:
    url = Report.objects.create(file=add(store)).file.url
    client = client_with("view_report")
    response = client.get(url, headers={"range": "bytes=2-4"})
    assert (response.status_code, body(response)) == (206, b"234")
    assert response["Content-Range"] == "bytes 2-4/10"
    assert client.get(url, headers={"range": "bytes=10-"}).status_code == 416


def test_head_does_not_read(
    store: DeliveryStoreMixin, client_with: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = Report.objects.create(file=add(store)).file.url
    monkeypatch.setattr(type(store), "stream", None)
    response = client_with("view_report").head(url)
    assert (response.status_code, response["Content-Length"]) == (200, "10")


def test_replaced_file_gets_another_entity_tag(disk: DeliveryStoreMixin, client_with: Any) -> None:
    """Of the same size. A file that is younger than a minute has no validators."""
    name, client = add(disk), client_with("view_report")
    url = Report.objects.create(file=name).file.url
    response = client.get(url)
    assert not response.has_header("ETag")
    assert not response.has_header("Last-Modified")
    tags = []
    for age in (3600, 1800):
        disk.delete(name)
        assert add(disk) == name
        then = time.time() - age
        os.utime(disk.path(name), (then, then))
        response = client.get(url)
        assert response["Last-Modified"] == http_date(int(then))
        tags.append(response["ETag"])
        assert client.get(url, headers={"if-none-match": tags[-1]}).status_code == 304
    assert tags[0] != tags[1]
    assert client.get(url, headers={"if-none-match": tags[0]}).status_code == 200
    part = client.get(url, headers={"range": "bytes=2-4", "if-range": tags[0]})
    assert part.status_code == 200


def test_file_that_is_gone_is_not_found(store: DeliveryStoreMixin, client_with: Any) -> None:
    url = Report.objects.create(file="reports/gone.txt").file.url
    client = client_with("view_report")
    assert (client.get(url).status_code, client.head(url).status_code) == (404, 404)


def test_web_server_sends_the_file(disk: Any, client_with: Any, settings: Any) -> None:
    pytest.importorskip("django_sendfile")
    settings.DELIVERY_STORE_SERVE = {"files": "sendfile", "others": "stream"}
    settings.SENDFILE_BACKEND = "django_sendfile.backends.nginx"
    settings.SENDFILE_URL = "/store"
    settings.SENDFILE_ROOT = disk.location
    report = Report.objects.create(file=add(disk, "reports/Ø.txt"))
    response = client_with("view_report").get(report.file.url)
    assert response["X-Accel-Redirect"] == "/store/reports/%C3%98.txt"


@pytest.mark.parametrize("store", [pytest.param("moto", marks=pytest.mark.servers)], indirect=True)
def test_large_file_is_redirected(store: Any, client_with: Any, settings: Any) -> None:
    settings.DELIVERY_STORE_SERVE = {"files": "redirect"}
    client = client_with("view_report")
    report = Report.objects.create(file=add(store))
    assert client.get(report.file.url).status_code == 200
    settings.DELIVERY_STORE_REDIRECT_MIN_BYTES = 10
    response = client.get(report.file.url)
    assert (response.status_code, response["Cache-Control"]) == (302, "no-store")
    assert "X-Amz-Signature" in response["Location"]
    assert client.head(report.file.url).status_code == 200


def test_log_names_the_row(
    disk: DeliveryStoreMixin, client_with: Any, caplog: pytest.LogCaptureFixture
) -> None:
    report = Report.objects.create(file=add(disk))
    with caplog.at_level(logging.INFO, "devilry_storage.access"):
        body(client_with("view_report").get(report.file.url))
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"file=ordinary.report:{report.pk} method=GET way=stream bytes=10" in line


# -- Who gets what --


def test_anonymous_users_are_redirected_to_login(
    disk: DeliveryStoreMixin, client_with: Any, settings: Any, subtests: pytest.Subtests
) -> None:
    """Whether the file exists or not."""
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.AllowAllUsersModelBackend"]
    url = Report.objects.create(file=add(disk)).file.url
    inactive = client_with("view_report", is_active=False)
    urls = (url, "/files/s/files/no/such.txt", "/files/s/unknown/a.txt")
    for method, path, client in product(METHODS, urls, (Client(), inactive)):
        with subtests.test(method, path=path):
            response = getattr(client, method)(path)
            assert response.status_code == 302
            assert (
                response["Location"] == f"/accounts/login/?{urlencode({'next': path}, safe='/')}"
            )


def test_all_that_is_not_visible_looks_the_same(
    disk: DeliveryStoreMixin, client_with: Any, subtests: pytest.Subtests
) -> None:
    """Rows of models that the user may not view, hidden rows, files without a row, no files."""
    client = client_with("view_report")
    absent = "/files/s/files/reports/0.txt"
    hidden = Report.objects.create(file=add(disk, "reports/1.txt"), is_archived=True)
    scan = Scan.objects.create(scan=add(disk, "scanned/2.txt"))
    letter = Letter.objects.create(
        text=add(disk, "letters/3.txt"), reader=client_with("none").user.get_username()
    )
    add(disk, "0/0/1/2")  # a delivered file
    urls = [hidden.file.url, scan.scan.url, letter.text.url, disk.url("0/0/1/2")]
    conditions: list[dict[str, str]] = [{}, {"range": "bytes=0-0"}, {"if-none-match": "*"}]
    for method, headers in product(METHODS, conditions):
        expected = getattr(client, method)(absent, headers=headers)
        assert expected.status_code == 404
        for url in urls:
            with subtests.test(method, url=url):
                response = getattr(client, method)(url, headers=headers)
                assert (response.status_code, response.content, response.items()) == (
                    404,
                    expected.content,
                    expected.items(),
                )


def test_hostile_names_are_not_found(
    disk: DeliveryStoreMixin, client_with: Any, subtests: pytest.Subtests
) -> None:
    """Without a query with a name that no store accepts. Other aliases have other files."""
    Report.objects.create(file=add(disk))
    Report.objects.create(file="../outside.txt")
    client = client_with("view_report")
    assert client.get("/files/s/files/reports/a.txt").status_code == 200
    for path in HOSTILE:
        with subtests.test(path=path):
            assert client.get(f"/files/s/files/{path}").status_code == 404
    for alias in ("others", "unknown", "default", "staticfiles", "deliveries", "Files", "%00", ""):
        with subtests.test(alias=alias):
            assert client.get(f"/files/s/{alias}/reports/a.txt").status_code == 404


def test_permission_of_any_model_that_shows_the_row_is_enough(
    disk: DeliveryStoreMixin, client_with: Any, subtests: pytest.Subtests
) -> None:
    """A proxy and a multi-table child have permissions and default managers of their own."""
    report = Report.objects.create(file=add(disk))
    archived = Report.objects.create(file=add(disk), is_archived=True)
    long = LongReport.objects.create(file=add(disk))
    scan = Scan.objects.create(scan=add(disk))
    client = client_with("none")
    letter = Letter.objects.create(text=add(disk), reader=client.user.get_username())
    urls = [report.file.url, archived.file.url, long.file.url, scan.scan.url, letter.text.url]
    assert len(set(urls)) == 5
    clients = {
        "view_report": [200, 404, 200, 404, 404],
        "view_archivedreport": [200, 200, 200, 404, 404],
        "view_longreport": [404, 404, 200, 404, 404],
        "view_scan": [404, 404, 404, 200, 404],
        "view_letter": [404] * 5,  # visible_to() decides
        "change_report": [404] * 5,
    }
    for codename, expected in clients.items():
        with subtests.test(codename):
            user = client_with(codename)
            assert [user.get(url).status_code for url in urls] == expected
    with subtests.test("visible_to"):
        assert [client.get(url).status_code for url in urls] == [404, 404, 404, 404, 200]
    with subtests.test("superuser"):
        root = client_with("root", is_superuser=True)
        assert [root.get(url).status_code for url in urls] == [200, 200, 200, 200, 404]


class OddRows:
    """A backend that lets everybody view the rows with odd ids."""

    def authenticate(self, request: Any, **credentials: Any) -> None:
        return None

    def has_perm(self, user: Any, permission: str, row: Any = None) -> bool:
        return permission == "ordinary.view_report" and row is not None and row.pk % 2 == 1


def test_backend_may_decide_for_each_row(
    disk: DeliveryStoreMixin, client_with: Any, settings: Any
) -> None:
    """Any of several rows with one name is enough."""
    settings.AUTHENTICATION_BACKENDS = [
        *settings.AUTHENTICATION_BACKENDS,
        "tests.ordinary.test_serving.OddRows",
    ]
    client = client_with("none")
    even = Report.objects.create(pk=2, file=add(disk))
    assert client.get(even.file.url).status_code == 404
    Report.objects.create(pk=3, file=even.file.name)
    assert client.get(even.file.url).status_code == 200


class ValuesManager(models.Manager[Any]):
    def get_queryset(self) -> Any:
        return super().get_queryset().values("pk", "scan")


class SlicedManager(models.Manager[Any]):
    def get_queryset(self) -> Any:
        return super().get_queryset()[:10]


class BrokenManager(models.Manager[Any]):
    def visible_to(self, user: Any) -> Any:
        raise AttributeError("no such attribute")


class NoTableManager(models.Manager[Any]):
    """A manager whose queries fail in the database."""

    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().extra(tables=["no_such_table"])


@pytest.mark.parametrize("broken", [NoTableManager, ValuesManager, SlicedManager, BrokenManager])
def test_model_that_fails_is_skipped(
    broken: Any,
    disk: DeliveryStoreMixin,
    client_with: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Such as one without a table. The others are served, also in a transaction."""
    badge = Badge.objects.create(image=add(disk), width=1, height=1)
    manager = broken()
    manager.model = Scan  # a model before Badge
    monkeypatch.setitem(Scan._meta.__dict__, "default_manager", manager)
    client = client_with("view_badge")
    assert client.get(badge.image.url).status_code == 200
    assert "ordinary.Scan" in caplog.text
    assert "Traceback" in caplog.text
    assert client.get("/files/s/files/none").status_code == 404


@pytest.mark.parametrize("exception", [PermissionDenied, Http404])
def test_own_view_may_deny(
    exception: type[Exception], disk: DeliveryStoreMixin, rf: Any, db: None
) -> None:
    from devilry_storage.views import StoredView

    class Denied(StoredView):
        def find(self, model: Any, field: str, name: str) -> Any:
            raise exception

    request = rf.get("/")
    request.user = type("User", (), {"is_authenticated": True, "is_active": True, "pk": 1})()
    with pytest.raises(exception):
        Denied.as_view()(request, alias="files", name=add(disk))


def test_each_field_costs_one_query(disk: DeliveryStoreMixin, client_with: Any) -> None:
    """Rows are not loaded: an ImageField would read its file, which here fails."""
    badge = Badge.objects.create(image=add(disk), width=1, height=1)
    Badge.objects.update(width=None)
    for codename, status in (("view_badge", 200), ("view_report", 404)):
        client = client_with(codename)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(badge.image.url).status_code == status
        tables = [query["sql"] for query in queries if 'FROM "ordinary_' in query["sql"]]
        assert len(tables) <= 6
        assert not any('"ordinary_badge"."image",' in sql for sql in tables)


def test_own_view_may_have_other_rules(disk: DeliveryStoreMixin, rf: Any, db: None) -> None:
    from devilry_storage.views import StoredView

    class Everyone(StoredView):
        def find(self, model: Any, field: str, name: str) -> Any:
            return 1

    request = rf.get("/")
    request.user = type("User", (), {"is_authenticated": True, "is_active": True, "pk": 1})()
    add(disk)
    response = Everyone.as_view()(request, alias="files", name="reports/a.txt")
    assert response.status_code == 200


def test_location_of_the_files_is_not_in_the_url(disk: Any, tmp_path: Path) -> None:
    url = Report(file="Ø b.txt").file.url
    assert url == f"/files/s/files/{quote('Ø b.txt')}" == urlsplit(url).path
    assert str(tmp_path) not in url
