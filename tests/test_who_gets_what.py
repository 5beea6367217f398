"""The table of users and pages: ten kinds of users, every kind of page, and every change."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from django.contrib.auth.models import Permission
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import MonthlySum, StoreBrowser, Tombstone
from devilry_storage.storages import FsHierDeliveryStore
from devilry_storage.testing import override_deliverystore

from .admin.pages import url_for, url_of
from .harness.users import make_superuser, make_user

pytestmark = pytest.mark.django_db

LABEL, DELIVERIES = "devilry_deliveries.filemeta", "devilry_deliveries.delivery"

#: An id without a row.
ABSENT = 987654

VIEW = ["view_filemeta"]
#: To change rows does not include to read files, names of files, and deleted files.
EDIT = ["change_delivery", "change_assignmentgroup", "change_filemeta", "change_tombstone"]
STORE = [
    *("browse_store", "bury_orphan", "view_tombstone", "restore_tombstone", "purge_tombstone"),
    *("view_monthlysum", "refresh_statistics"),
]

KINDS = (
    *("anonymous", "inactive", "unrelated", "candidate", "examiner"),
    *("staff", "viewer", "editor", "keeper", "superuser"),
)

#: The responses: L is the login page of the site, A that of the admin, G the requested object.
#: Other responses are given by their status.
TABLE = """
               anonymous inactive unrelated candidate examiner staff viewer editor keeper superuser
file               L        L        404        G        G      404    G     404    404       G
range              L        L        404        G        G      404    G     404    404       G
head               L        L        404        G        G      404    G     404    404       G
unfinished_file    L        L        404        G       404     404    G     404    404       G
delivery_zip       L        L        404        G        G      404    G     404    404       G
unfinished_zip     L        L        404        G       404     404    G     404    404       G
group_zip          L        L        404        G        G      404    G     404    404       G
latest_zip         L        L        404        G        G      404    G     404    404       G
index              A        A         A         A        A       G     G      G      G        G
groups             A        A         A         A        A      403   403     G     403       G
group              A        A         A         A        A      403   403     G     403       G
deliveries         A        A         A         A        A      403   403     G     403       G
delivery           A        A         A         A        A      403   403     G     403       G
delete_delivery    A        A         A         A        A      403   403    403    403       G
files              A        A         A         A        A      403    G     403    403       G
file_page          A        A         A         A        A      403    G     403    403       G
add_file           A        A         A         A        A      403   403    403    403       G
delete_file        A        A         A         A        A      403   403    403    403       G
preview            A        A         A         A        A      403    G     403    403       G
tombstones         A        A         A         A        A      403   403    403     G        G
tombstone          A        A         A         A        A      403   403    403     G        G
remove             A        A         A         A        A      403   403    403     G        G
dashboard          A        A         A         A        A      403   403    403     G        G
stores             A        A         A         A        A      403   403    403     G        G
store              A        A         A         A        A      403   403    403     G        G
orphan             A        A         A         A        A      403   403    403     G        G
delete_orphan      A        A         A         A        A      403   403    403     G        G
store_zip          A        A         A         A        A      403   403    403    403       G
"""

#: The kinds of users that may make each change, by POST and with a CSRF token.
CHANGES = {
    "restore": {"keeper", "superuser"},
    "purge": {"keeper", "superuser"},
    "purge_by_action": {"keeper", "superuser"},
    "restore_by_action": {"keeper", "superuser"},
    "bury": {"keeper", "superuser"},
    "refresh": {"keeper", "superuser"},
    "delete_file": {"superuser"},
    "delete_delivery": {"superuser"},
    "finish_by_action": {"editor", "superuser"},
    "move": {"superuser"},
    "edit_examiners": {"superuser"},
}


class Site(NamedTuple):
    """A group with a finished and an unfinished delivery, a tombstone and an orphan."""

    group: Any
    finished: Any
    unfinished: Any
    tombstone: Any
    orphan: str


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path / "store") as site:
        yield site


@contextmanager
def site_in(folder: Path) -> Iterator[Site]:
    """Create a site whose store is in this folder."""
    store = FsHierDeliveryStore(str(folder))
    with override_deliverystore(store):
        group: Any = AssignmentGroup.objects.create(name="group")
        finished, unfinished = Delivery.begin(group), Delivery.begin(group)
        finished.add_files({"a.txt": b"0123456789", "gone.txt": b"gone"})
        finished.finish()
        finished.files.get(filename="gone.txt").delete()
        unfinished.add_file("b.txt", b"0123456789")
        name = f"{finished.files.get().content.name}_abcdefg"
        orphan = store.save(name, ContentFile(b"orphan"))
        past = (timezone.now() - timedelta(days=9)).timestamp()
        os.utime(store.path(orphan), (past, past))
        yield Site(group, finished, unfinished, Tombstone.objects.get(), orphan)


def client_of(kind: str, site: Site) -> Client:
    """Return the client of a user of this kind; it enforces CSRF checks."""
    client = Client(enforce_csrf_checks=True)
    if kind == "anonymous":
        return client
    if kind == "superuser":
        user = make_superuser()
    else:
        user = make_user(kind, is_staff=kind in {"staff", "viewer", "editor", "keeper"})
    codenames = {"viewer": VIEW, "editor": EDIT, "keeper": STORE}.get(kind, [])
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    assert user.user_permissions.count() == len(codenames)
    if kind in {"candidate", "examiner"}:
        getattr(site.group, f"{kind}s").add(user)
    client.force_login(user)
    if kind == "inactive":
        site.group.candidates.add(user)
        type(user)._default_manager.filter(pk=user.pk).update(is_active=False)
    return client


def urls(site: Site) -> dict[str, str]:
    """Return the URL of each row of the table."""
    file, late = site.finished.files.get(), site.unfinished.files.get()

    def public(page: str, *args: Any) -> str:
        return reverse(f"devilry_storage:{page}", args=args)

    def store(page: str, query: str = "") -> str:
        return reverse(f"admin:devilry_storage_storebrowser_{page}", args=[LABEL]) + query

    download = public("download", LABEL, file.pk)
    orphan = f"?name={quote(site.orphan)}"
    return {
        "file": download,
        "range": download,
        "head": download,
        "unfinished_file": public("download", LABEL, late.pk),
        "delivery_zip": public("delivery_archive", DELIVERIES, site.finished.pk),
        "unfinished_zip": public("delivery_archive", DELIVERIES, site.unfinished.pk),
        "group_zip": public("group_archive", DELIVERIES, site.group.pk),
        "latest_zip": public("latest_archive", DELIVERIES),
        "index": reverse("admin:index"),
        "groups": url_for(AssignmentGroup),
        "group": url_of(site.group),
        "deliveries": url_for(Delivery),
        "delivery": url_of(site.finished),
        "delete_delivery": url_of(site.finished, "delete"),
        "files": url_for(FileMeta),
        "file_page": url_of(file),
        "add_file": url_for(FileMeta, "add"),
        "delete_file": url_of(file, "delete"),
        "preview": url_of(file, "preview"),
        "tombstones": url_for(Tombstone),
        "tombstone": url_of(site.tombstone),
        "remove": url_of(site.tombstone, "remove"),
        "dashboard": url_for(MonthlySum),
        "stores": url_for(StoreBrowser),
        "store": store("folder"),
        "orphan": store("file", orphan),
        "delete_orphan": store("bury", orphan),
        "store_zip": store("archive", "?folder=0"),
    }


def table() -> dict[str, dict[str, str]]:
    """Return the expected result for each kind of user, by the name of the row."""
    head, *lines = TABLE.strip().splitlines()
    assert tuple(head.split()) == KINDS
    return {name: dict(zip(KINDS, cells, strict=True)) for name, *cells in map(str.split, lines)}


def result_of(client: Client, name: str, url: str) -> str:
    """Send a request and return the result as in the table."""
    if name == "range":
        answer = client.get(url, headers={"range": "bytes=2-4"})
    elif name == "head":
        answer = client.head(url)
    else:
        answer = client.get(url)
    body = b"".join(answer)
    if answer.status_code == 302:
        for word, login in (("L", "/accounts/login/"), ("A", reverse("admin:login"))):
            if answer["Location"] == f"{login}?next={quote(url)}":
                return word
    good = {"range": (206, b"234"), "head": (200, b"")}.get(name)
    if good is not None:
        return "G" if (answer.status_code, body) == good else str(answer.status_code)
    return "G" if answer.status_code == 200 and body else str(answer.status_code)


@pytest.mark.parametrize("kind", KINDS)
def test_users_get_the_results_of_the_table(kind: str, site: Site) -> None:
    """Files, archives, previews, all pages of the admin, and the store browser."""
    client = client_of(kind, site)
    pages = urls(site)
    assert pages.keys() == table().keys()
    results = {name: result_of(client, name, url) for name, url in pages.items()}
    assert results == {name: cells[kind] for name, cells in table().items()}


# -- Hidden and absent objects --


REQUESTS: list[tuple[str, dict[str, str]]] = [
    *((method, {}) for method in ("get", "head", "options", "post", "put", "patch", "delete")),
    ("get", {"range": "bytes=2-4"}),
    ("get", {"range": "bytes=99-"}),
    ("get", {"if-none-match": "*"}),
    ("get", {"if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"}),
    ("get", {"if-match": '"other"'}),
]


@pytest.mark.parametrize("kind", ["anonymous", "inactive", "unrelated", "staff", "keeper"])
def test_hidden_and_absent_objects_have_equal_responses(kind: str, site: Site) -> None:
    """Status, body and headers are equal for every method, range and condition."""
    client = client_of(kind, site)
    file = site.finished.files.get()
    ids = {
        "download": file.pk,
        "delivery_archive": site.finished.pk,
        "group_archive": site.group.pk,
    }
    for page, pk in ids.items():
        label = LABEL if page == "download" else DELIVERIES
        hidden_url, absent_url = (
            reverse(f"devilry_storage:{page}", args=[label, id_]) for id_ in (pk, ABSENT)
        )
        for method, headers in REQUESTS:
            hidden = response_to(client, method, hidden_url, headers)
            absent = response_to(client, method, absent_url, headers)
            assert hidden == absent, (page, method, headers)


def response_to(
    client: Client, method: str, url: str, headers: dict[str, str]
) -> tuple[int, bytes, dict[str, str]]:
    """Return status, body and headers, without the URL itself and the clock."""
    answer = getattr(client, method)(url, headers=headers)
    sent = {
        key: value.replace(quote(url), "") for key, value in answer.items() if key != "Expires"
    }
    return answer.status_code, b"".join(answer).replace(url.encode(), b""), sent


@pytest.mark.parametrize("kind", ["unrelated", "staff"])
def test_admin_does_not_reveal_which_rows_exist(kind: str, site: Site) -> None:
    """The response is the same for existing and absent rows."""
    client = client_of(kind, site)
    file = site.finished.files.get()
    for row in (file, site.finished, site.group, site.tombstone):
        pages = ["change", "delete", "history"]
        pages += ["preview"] if row is file else []
        pages += ["restore", "remove"] if row is site.tombstone else []
        name = f"admin:{row._meta.app_label}_{row._meta.model_name}"
        for page in pages:
            existing, absent = (
                response_to(client, "get", reverse(f"{name}_{page}", args=[pk]), {})
                for pk in (row.pk, ABSENT)
            )
            assert existing == absent, (row, page)


# -- Changes --


class Change(NamedTuple):
    """A change by POST, and a function that returns whether it was made."""

    url: str
    data: dict[str, Any]
    done: Callable[[], bool]


def change(name: str, site: Site) -> Change:
    file, pages = site.finished.files.get(), urls(site)

    def on_list(action: str, row: Any, **data: Any) -> dict[str, Any]:
        return {"action": action, "_selected_action": [row.pk], **data}

    def restored() -> bool:
        return bool(FileMeta.objects.filter(filename="gone.txt").exists())

    def removing() -> bool:
        # The file is removed after COMMIT, which this test does not reach.
        calls = [function for _savepoints, function, *_ in connection.run_on_commit]
        return any(getattr(call, "__name__", "") == "remove_committed" for call in calls)

    other = AssignmentGroup.objects.create(name="other")
    friend = make_user("friend")
    formsets = {
        f"{prefix}-{count}_FORMS": "0"
        for prefix in ("filemetas", "stored-filemetas")
        for count in ("TOTAL", "INITIAL")
    }
    remove = on_list("remove_selected", site.tombstone, confirmed="yes")
    return {
        "restore": Change(url_of(site.tombstone, "restore"), {}, restored),
        "restore_by_action": Change(
            pages["tombstones"], on_list("restore_selected", site.tombstone), restored
        ),
        "purge": Change(pages["remove"], {}, removing),
        "purge_by_action": Change(pages["tombstones"], remove, removing),
        "bury": Change(
            pages["delete_orphan"], {}, Tombstone.objects.filter(name=site.orphan).exists
        ),
        "refresh": Change(
            reverse("admin:devilry_storage_monthlysum_refresh"), {}, MonthlySum.objects.exists
        ),
        "delete_file": Change(
            pages["delete_file"],
            {"post": "yes"},
            lambda: not FileMeta.objects.filter(pk=file.pk).exists(),
        ),
        "delete_delivery": Change(
            pages["delete_delivery"],
            {"post": "yes"},
            lambda: not Delivery.objects.filter(pk=site.finished.pk).exists(),
        ),
        "finish_by_action": Change(
            pages["deliveries"],
            on_list("finish", site.unfinished),
            Delivery.objects.filter(pk=site.unfinished.pk, successful=True).exists,
        ),
        "move": Change(
            url_of(site.unfinished),
            {"assignment_group": other.pk, **formsets},
            Delivery.objects.filter(assignment_group=other).exists,
        ),
        "edit_examiners": Change(
            url_of(site.group),
            {"name": "group", "examiners": [friend.pk]},
            site.group.examiners.filter(pk=friend.pk).exists,
        ),
    }[name]


@pytest.mark.parametrize("kind", KINDS)
def test_changes_need_permission_post_and_csrf_token(
    kind: str, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """GET changes nothing, and POST without a token is rejected for all users."""
    for name, allowed in CHANGES.items():
        with subtests.test(name), transaction.atomic(), site_in(tmp_path / name) as site:
            client, requested = client_of(kind, site), change(name, site)
            client.get(requested.url, requested.data)
            assert not requested.done()
            assert client.post(requested.url, requested.data).status_code == 403
            assert not requested.done()
            token = "a" * 32
            client.cookies["csrftoken"] = token
            answer = client.post(requested.url, {**requested.data, "csrfmiddlewaretoken": token})
            assert answer.status_code in {302, 403}
            assert requested.done() == (kind in allowed)
            transaction.set_rollback(True)
