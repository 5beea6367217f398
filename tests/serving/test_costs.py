"""Database statements, connections and reads of a download."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection, connections, models
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from devilry_storage.abstract_models.filemeta import FileMetaQuerySet
from devilry_storage.abstract_models.querysets import visible_rows
from devilry_storage.deliveries.models import FileMeta
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.views import DownloadView

from ..harness.users import make_user
from .conftest import deliver

#: Statements of Django for each request: the session and the user.
LOGIN = 2


def logged_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def statements(client: Client, url: str, **options: Any) -> tuple[int, int]:
    """Return the status of a response, and the number of statements."""
    with CaptureQueriesContext(connection) as queries:
        response = client.get(url, **options)
        if response.streaming:
            assert b"".join(response)
    return response.status_code, len(queries)


@pytest.mark.django_db
@pytest.mark.parametrize("way", ["stream", "sendfile"])
def test_download_needs_one_statement_besides_the_login(
    group: Any, disk: FsHierDeliveryStore, way: str, settings: Any
) -> None:
    """For candidates, examiners and superusers; users with the permission need three more."""
    settings.DELIVERY_STORE_SERVE = way
    settings.SENDFILE_BACKEND = "django_sendfile.backends.nginx"
    settings.SENDFILE_ROOT, settings.SENDFILE_URL = disk.location, "/store"
    row = deliver(group, file=b"0123456789")["file"]
    users = {name: make_user(name) for name in ("anna", "erik", "stine", "stranger")}
    users["root"] = make_user("root", is_superuser=True)
    group.candidates.add(users["anna"])
    group.examiners.add(users["erik"])
    users["stine"].user_permissions.add(Permission.objects.get(codename="view_filemeta"))
    absent = reverse("devilry_storage:download", args=["devilry_deliveries.filemeta", 10**9])
    found = {name: statements(logged_in(user), row.content.url) for name, user in users.items()}
    hidden = found.pop("stranger")
    assert found == {
        "anna": (200, LOGIN + 1),
        "erik": (200, LOGIN + 1),
        "root": (200, LOGIN + 1),
        "stine": (200, LOGIN + 4),
    }
    # As many statements: the time of the response does not reveal that the file exists.
    assert hidden == statements(logged_in(users["stranger"]), absent) == (404, LOGIN + 3)
    ranged = {"headers": {"range": "bytes=1-2"}}
    expected = 206 if way == "stream" else 200
    assert statements(logged_in(users["anna"]), row.content.url, **ranged) == (expected, LOGIN + 1)


class _Limited(DownloadView):
    model = FileMeta
    fields: tuple[str, ...] = ()

    def get_queryset(self) -> Any:
        return super().get_queryset().filter(delivery__successful=True).only(*self.fields)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "count"),
    [((), 1), (("delivery", "filename", "content", "size", "sha256"), 2), (("filename",), 6)],
)
def test_views_with_own_querysets_need_few_statements(
    group: Any, disk: FsHierDeliveryStore, fields: tuple[str, ...], count: int
) -> None:
    """Also with fields that the queryset defers: they are fetched when they are needed."""
    row = deliver(group, file=b"0123456789")["file"]
    request = RequestFactory().get("/")
    request.user = make_user("anna")
    group.candidates.add(request.user)
    with CaptureQueriesContext(connection) as queries:
        response: Any = _Limited.as_view(fields=fields)(request, pk=row.pk)
        assert b"".join(response) == b"0123456789"
    assert response["Last-Modified"]
    assert len(queries) == count


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("size", "max_age", "is_closed"),
    [
        (10, None, False),
        (65_536, None, False),
        (65_537, None, True),
        (1_000_000, None, True),
        # Django would close it after the request.
        (10, 0, True),
        (1_000_000, 0, True),
    ],
)
def test_only_long_downloads_close_persistent_connections(
    size: int,
    max_age: int | None,
    is_closed: bool,
    group: Any,
    disk: FsHierDeliveryStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the first byte is sent, so that a slow client does not occupy a connection."""
    row = deliver(group, file=b"x" * size)["file"]
    user = make_user("anna")
    group.candidates.add(user)
    client = logged_in(user)
    used = connections["default"]
    used.close()
    monkeypatch.setitem(used.settings_dict, "CONN_MAX_AGE", max_age)
    response: Any = client.get(row.content.url)
    chunks = iter(response)
    length = len(next(chunks))
    assert (used.connection is None, length) == (is_closed, min(size, 1 << 18))
    assert sum(map(len, chunks)) == size - length
    assert (used.connection is None) == is_closed


class _Counted:
    """An open file that lists the lengths of what is read."""

    def __init__(self, file: Any, lengths: list[int]) -> None:
        self._file = file
        self._lengths = lengths

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, count: int) -> bytes:
        data: bytes = self._file.read(count)
        self._lengths.append(len(data))
        return data


@pytest.mark.django_db
@pytest.mark.parametrize("size", [0, 1, 1 << 18, (1 << 18) + 1, 5 << 18])
def test_download_reads_each_byte_once_in_long_chunks(
    size: int, group: Any, disk: FsHierDeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 256 KiB, and one read more that finds the end of the file."""
    row = deliver(group, file=b"x" * size)["file"]
    lengths: list[int] = []
    original = FsHierDeliveryStore.open

    def opened(store: Any, name: str, mode: str = "rb") -> Any:
        file = original(store, name, mode)
        file.file = _Counted(file.file, lengths)
        return file

    monkeypatch.setattr(FsHierDeliveryStore, "open", opened)
    request = RequestFactory().get("/")
    request.user = make_user("root", is_superuser=True)
    response: Any = DownloadView.as_view(model=FileMeta)(request, pk=row.pk)
    assert len(b"".join(response)) == size
    assert sum(lengths) == size
    assert len(lengths) == -(-size // (1 << 18)) + 1


class _Rule(FileMetaQuerySet):
    def visible_to(self, user: Any) -> Any:
        return self.none()


class _RuleOfManager(models.Manager[Any]):
    def visible_to(self, user: Any) -> Any:
        return self.none()


class _RuleOfItsQuerySet(models.Manager.from_queryset(FileMetaQuerySet)):  # type: ignore[misc]
    def get_queryset(self) -> Any:
        return _Rule(self.model)


@pytest.mark.django_db
@pytest.mark.parametrize("by_permission", [False, True])
@pytest.mark.parametrize(
    ("manager", "count"),
    [
        (FileMetaQuerySet.as_manager(), 1),
        (models.Manager(), 1),
        (_Rule.as_manager(), 0),
        (_RuleOfManager(), 0),
        (_RuleOfItsQuerySet(), 0),
    ],
    ids=["ours", "none", "queryset", "manager", "queryset of the manager"],
)
def test_rule_of_the_site_decides_about_permissions(
    group: Any, disk: FsHierDeliveryStore, manager: Any, count: int, by_permission: bool
) -> None:
    """Only the package's own rules can be applied without the permissions."""
    deliver(group, file=b"0123456789")
    user = make_user("anna")
    group.candidates.add(user)
    manager.model = FileMeta
    model: Any = SimpleNamespace(_default_manager=manager)
    assert visible_rows(model, user, by_permission=by_permission).count() == count
