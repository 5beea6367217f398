"""Tests of the second project, run by ``tests/test_second_project.py``."""

from __future__ import annotations

import hashlib
import re
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.urls import reverse

from devilry_storage.exceptions import DeliveryFinished
from devilry_storage.forms import DeliveryForm
from devilry_storage.models import MonthlySum, Tombstone
from devilry_storage.resolving import resolve
from devilry_storage.tables import TombstoneState
from devilry_storage.upload_limits import Limits
from tests.customuser.models import User
from tests.harness.flushing import keep_permissions

from .courses.models import Course, Handin, Poster, Submission, SubmittedFile

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Make the flush after each test faster."""
    with django_db_blocker.unblock():
        keep_permissions()


@pytest.fixture(autouse=True)
def empty_stores() -> None:
    """Empty the stores before each test, because SQLite reuses ids."""
    for alias in ("handins", "posters", "submissions"):
        store: Any = storages[alias]
        for name in [entry.name for entry in store.scan()]:
            store.delete(name)


@pytest.fixture
def course() -> Course:
    course: Course = Course._default_manager.create(title="Inf1000")
    return course


@pytest.fixture
def teacher() -> User:
    user: User = User.objects.create_superuser("teacher@example.com", "secret")
    return user


@pytest.fixture
def browser(teacher: User) -> Client:
    """Return a client that is logged in with an email address."""
    client = Client()
    response = client.post(
        reverse("admin:login"), {"username": "teacher@example.com", "password": "secret"}
    )
    assert response.status_code == 302
    return client


def read(file: Any) -> bytes:
    with file.content.open() as opened:
        data: bytes = opened.read()
    return data


def stored(alias: str) -> dict[str, bytes]:
    store: Any = storages[alias]
    return {entry.name: b"".join(store.stream(entry.name)) for entry in store.scan()}


def buried() -> list[tuple[str, str, str]]:
    return list(Tombstone.objects.order_by("pk").values_list("model", "alias", "name"))


def handin(course: Course, data: bytes = b"one", **fields: Any) -> Handin:
    file = ContentFile(data, name="a.txt")
    row: Handin = Handin.objects.create(course=course, content=file, **fields)
    return row


# -- The project --


def test_concrete_models_of_the_package_are_not_installed() -> None:
    """A project with its own models does not install ``devilry_storage.deliveries``."""
    assert apps.is_installed("devilry_storage")
    assert not apps.is_installed("devilry_storage.deliveries")


def test_check_reports_no_error_and_no_warning() -> None:
    """Custom models, aliases and a user with a UUID pass the system checks."""
    call_command("check", databases=["default"], fail_level="WARNING")


def test_migrations_are_complete() -> None:
    """Migrations contain no store, and support any user model."""
    call_command("makemigrations", check=True, dry_run=True, stdout=StringIO())


@pytest.mark.parametrize(
    ("model", "alias"), [(Handin, "handins"), (Poster, "posters"), (SubmittedFile, "submissions")]
)
def test_models_use_the_store_that_they_select(model: Any, alias: str) -> None:
    """The store is selected by the field's alias, the class attribute or a callable."""
    assert resolve(model).store is storages[alias]


# -- Files with key_ids() --


def test_handin_is_stored_under_the_ids_of_key_ids(course: Course) -> None:
    """A model without a field ``delivery`` defines the ids of its keys."""
    row = handin(course)
    row.refresh_from_db()
    assert row.content.name == f"0/0/{course.pk}/{row.pk}"
    assert (row.filename, row.size, read(row)) == ("a.txt", 3, b"one")
    assert row.sha256 == hashlib.sha256(b"one").hexdigest()
    assert stored("handins") == {row.content.name: b"one"}


def test_replaced_handin_gets_a_new_name_and_a_tombstone(course: Course) -> None:
    """The tombstone contains the store's alias, so that a purge finds the bytes."""
    row = handin(course)
    old = row.content.name
    row.content = ContentFile(b"two", name="b.txt")
    row.save()
    assert read(Handin.objects.get()) == b"two"
    assert row.content.name.startswith(f"{old}_")
    assert buried() == [("courses.handin", "handins", old)]
    assert stored("handins") == {old: b"one", row.content.name: b"two"}


def test_deleted_handin_leaves_a_tombstone_with_its_row(course: Course, teacher: User) -> None:
    """The row includes the student's UUID, for a restore."""
    row = handin(course, student=teacher)
    pk, name = row.pk, row.content.name
    row.delete()
    tombstone = Tombstone.objects.get()
    assert (tombstone.model, tombstone.alias, tombstone.name) == (
        "courses.handin",
        "handins",
        name,
    )
    (kept,) = tombstone.rows
    assert (kept["pk"], kept["fields"]["student"]) == (pk, str(teacher.pk))
    assert stored("handins") == {name: b"one"}


def test_cascade_from_the_course_buries_every_file(course: Course) -> None:
    """All files of a deleted course get a tombstone."""
    names = [handin(course).content.name, handin(course).content.name]
    poster = Poster.objects.create(delivery=course, content=ContentFile(b"p", name="p"))
    course.delete()
    assert sorted(buried()) == [
        *sorted(("courses.handin", "handins", name) for name in names),
        ("courses.poster", "posters", poster.content.name),
    ]


def test_purge_removes_due_files_from_the_store_of_the_alias(
    course: Course, settings: Any
) -> None:
    """Other files of the store are kept."""
    settings.DELIVERY_STORE_RETENTION_DAYS = 1
    kept, gone = handin(course, b"kept"), handin(course, b"gone")
    gone.delete()
    Tombstone.objects.update(due=kept.created)
    call_command("purge_deliveries", stdout=StringIO())
    assert stored("handins") == {kept.content.name: b"kept"}
    assert not Tombstone.objects.filter(done=None).exists()


def test_adopted_handin_can_be_read(course: Course) -> None:
    """A row can adopt bytes in the store of the alias."""
    storages["handins"].save("imported/old.txt", ContentFile(b"old"))
    row = Handin.objects.adopt("imported/old.txt", course=course)
    assert (row.filename, read(row)) == ("old.txt", b"old")


# -- Files whose delivery is not an AbstractDelivery --


def test_poster_of_a_course_is_replaced_and_deleted(course: Course) -> None:
    """The course is only locked; it does not have to be an AbstractDelivery."""
    poster = Poster.objects.create(delivery=course, content=ContentFile(b"one", name="p.svg"))
    poster.content = ContentFile(b"two", name="p.svg")
    poster.save()
    assert read(Poster.objects.get()) == b"two"
    assert poster.content.name.startswith(f"{course.pk}/{poster.pk}_")
    poster.delete()
    assert [alias for _, alias, _ in buried()] == ["posters", "posters"]


# -- Files in custom deliveries --


def test_submission_is_finished_and_copied(course: Course, teacher: User) -> None:
    """A user with a UUID begins it, adds files and finishes it; it is numbered in its course."""
    submission = Submission.begin(course, teacher)
    submission.add_file("hello.txt", ["hello", "world"])
    submission.add_files({"a.txt": b"a", "b.txt": b"b"})
    submission.finish()
    assert (submission.number, submission.delivered_by) == (1, teacher)
    assert sorted(read(file) for file in submission.files) == [b"a", b"b", b"helloworld"]
    with pytest.raises(DeliveryFinished):
        submission.add_file("late.txt", b"")
    twin = submission.copy(course)
    assert (twin.number, twin.files.count()) == (2, 3)


# -- Visibility --


@pytest.mark.parametrize("model", [Handin, Poster, SubmittedFile, Submission])
def test_rows_are_visible_only_with_the_view_permission(
    model: Any, course: Course, teacher: User
) -> None:
    """The models have no candidates and examiners who could see them, too."""
    submission = Submission.begin(course, teacher)
    submission.add_file("a", b"a")
    handin(course, student=teacher)
    Poster.objects.create(delivery=course, content=ContentFile(b"p", name="p"))
    student = User.objects.create_user("student@example.com")
    assert model.objects.visible_to(teacher).count() == 1
    assert model.objects.visible_to(student).count() == 0


# -- Downloads --


def test_files_of_all_models_are_served_to_users_who_may_view_them(
    course: Course, teacher: User, browser: Client
) -> None:
    """A single include() serves all models, complete files and ranges."""
    submission = Submission.begin(course, teacher)
    rows = [
        handin(course),
        Poster.objects.create(delivery=course, content=ContentFile(b"one", name="p.txt")),
        submission.add_file("s.txt", b"one"),
    ]
    stranger = Client()
    stranger.force_login(User.objects.create_user("stranger@example.com"))
    for row in rows:
        assert b"".join(browser.get(row.content.url)) == b"one"
        part = browser.get(row.content.url, headers={"range": "bytes=1-"})
        assert (part.status_code, b"".join(part)) == (206, b"ne")
        assert stranger.get(row.content.url).status_code == 404
        assert Client().get(row.content.url).status_code == 302


# -- The admin --


def page(browser: Client, name: str, *arguments: Any, **query: str) -> str:
    response = browser.get(reverse(f"admin:courses_{name}", args=arguments), query)
    assert response.status_code == 200
    return response.content.decode()


def send(browser: Client, name: str, *arguments: Any, **fields: Any) -> None:
    """Post a form of the admin, and check that it was accepted."""
    response = browser.post(reverse(f"admin:courses_{name}", args=arguments), fields)
    assert response.status_code == 302, getattr(response, "context_data", {}).get("errors")


def test_plain_admin_adds_changes_and_deletes_a_file(
    browser: Client, course: Course, teacher: User
) -> None:
    """Django's ModelAdmin works with a file model whose store has no URLs."""
    page(browser, "handin_add")
    upload = SimpleUploadedFile("essay.txt", b"one")
    send(browser, "handin_add", course=course.pk, student=teacher.pk, filename="", content=upload)
    row = Handin.objects.get()
    assert (row.filename, row.student, read(row)) == ("essay.txt", teacher, b"one")

    assert "essay.txt" in page(browser, "handin_change", row.pk)
    upload = SimpleUploadedFile("other.txt", b"two")
    send(browser, "handin_change", row.pk, course=course.pk, filename="kept.txt", content=upload)
    row.refresh_from_db()
    assert (row.filename, read(row)) == ("kept.txt", b"two")

    page(browser, "handin_delete", row.pk)
    send(browser, "handin_delete", row.pk, post="yes")
    assert not Handin.objects.exists()
    assert [alias for _, alias, _ in buried()] == ["handins", "handins"]
    assert sorted(stored("handins").values()) == [b"one", b"two"]


def test_plain_admin_changes_a_row_without_a_new_file(browser: Client, course: Course) -> None:
    """A form without an upload keeps the stored file."""
    row = handin(course)
    send(browser, "handin_change", row.pk, course=course.pk, filename="renamed.txt", content="")
    row.refresh_from_db()
    assert (row.filename, read(row)) == ("renamed.txt", b"one")
    assert not buried()


@pytest.mark.parametrize("words", ["a.txt", "teacher@example"])
def test_plain_admin_searches_by_filename_and_email(
    browser: Client, course: Course, teacher: User, words: str
) -> None:
    """The users have no username, and the search does not need it."""
    handin(course, student=teacher)
    Handin.objects.create(course=course, filename="other")
    found = page(browser, "handin_changelist", q=words)
    assert "1 handin" in found
    assert "0 handins" in page(browser, "handin_changelist", q="nothing")


@pytest.mark.parametrize("name", ["handin", "poster"])
def test_bulk_delete_in_the_admin_buries_every_file(
    browser: Client, course: Course, name: str
) -> None:
    """The action deletes a queryset, and each file gets a tombstone."""
    model = apps.get_model("courses", name)
    parent = "course" if name == "handin" else "delivery"
    rows = [
        model._base_manager.create(**{parent: course}, content=ContentFile(b"x", name=filename))
        for filename in ("1", "2")
    ]
    send(
        browser,
        f"{name}_changelist",
        action="delete_selected",
        _selected_action=[row.pk for row in rows],
        post="yes",
    )
    assert not model._base_manager.exists()
    assert len(buried()) == 2
    assert len(stored(f"{name}s")) == 2


@pytest.mark.parametrize("name", ["poster", "submittedfile"])
def test_file_admin_adds_searches_and_deletes(
    browser: Client, course: Course, teacher: User, name: str
) -> None:
    """FileMetaAdmin works for files of a course as for files of a delivery."""
    model = apps.get_model("courses", name)
    parent = course if name == "poster" else Submission.begin(course, teacher)
    page(browser, f"{name}_add")
    upload = SimpleUploadedFile("map.svg", b"<svg/>")
    send(browser, f"{name}_add", delivery=parent.pk, filename="", content=upload)
    row = model._base_manager.get()
    assert (row.filename, read(row)) == ("map.svg", b"<svg/>")
    assert row.content.name in page(browser, f"{name}_change", row.pk)
    assert "map.svg" in page(browser, f"{name}_changelist", q="map")
    assert "map.svg" not in page(browser, f"{name}_changelist", q="nothing")
    send(browser, f"{name}_delete", row.pk, post="yes")
    assert not model._base_manager.exists()
    assert len(buried()) == 1


def inline(prefix: str, **fields: Any) -> dict[str, Any]:
    """Return the fields of an inline's formset in which each given field belongs to a new row."""
    management = {"TOTAL_FORMS": len(fields), "INITIAL_FORMS": 0}
    return {f"{prefix}-{name}": value for name, value in {**management, **fields}.items()}


@pytest.mark.parametrize(
    ("name", "prefix"), [("course", "posters"), ("submission", "files_of_it")]
)
def test_files_are_uploaded_inline(
    browser: Client, course: Course, teacher: User, name: str, prefix: str
) -> None:
    """Two files are uploaded on the page of a course or a submission."""
    parent: Any = course if name == "course" else Submission.begin(course, teacher)
    page(browser, f"{name}_change", parent.pk)
    uploads = {f"{n}-content": SimpleUploadedFile(f"{n}.txt", b"x") for n in (0, 1)}
    fields = {"title": course.title, "assignment_group": course.pk, "delivered_by": teacher.pk}
    fields |= {"time_of_delivery_0": "2026-01-01", "time_of_delivery_1": "12:00"}
    send(
        browser,
        f"{name}_change",
        parent.pk,
        **fields,
        **inline(f"stored-{prefix}"),
        **inline(prefix, **uploads),
    )
    files = Poster.objects.all() if name == "course" else parent.files
    assert sorted((file.filename, read(file)) for file in files) == [
        ("0.txt", b"x"),
        ("1.txt", b"x"),
    ]
    assert "0.txt" in page(browser, f"{name}_change", parent.pk)


def test_tombstones_can_be_searched_in_the_admin(browser: Client, course: Course) -> None:
    """The admin of the package does not need ``devilry_storage.deliveries``."""
    handin(course).delete()
    url = reverse("admin:devilry_storage_tombstone_changelist")
    assert "courses.handin" in browser.get(url, {"q": "a.txt"}).content.decode()


def test_deleted_handin_and_submission_are_restored_in_the_admin(
    browser: Client, course: Course, teacher: User
) -> None:
    """They keep their ids, with or without a delivery, and the UUIDs of users."""
    row = handin(course, student=teacher)
    submission = Submission.begin(course, teacher)
    submission.add_files({"b.txt": b"two"})
    submission.finish()
    models = (Handin, Submission, SubmittedFile)
    before = [_columns(model) for model in models]
    row.delete()
    submission.delete()
    for tombstone in Tombstone.objects.all():
        url = reverse("admin:devilry_storage_tombstone_restore", args=[tombstone.pk])
        assert browser.post(url).status_code == 302
    assert [_columns(model) for model in models] == before
    assert read(Handin.objects.get()) == b"one"
    assert {tombstone.state for tombstone in Tombstone.objects.all()} == {TombstoneState.RESTORED}


def _columns(model: Any) -> list[dict[str, Any]]:
    """Return the columns of all rows without the name, which a restore changes."""
    return [{**row, "content": None} for row in model._base_manager.values()]


def test_dashboard_counts_the_files_of_the_project(browser: Client, course: Course) -> None:
    """Each file model has its own sums and store."""
    handin(course)
    Poster.objects.create(delivery=course, content=ContentFile(b"p", name="p"))
    call_command("deliverystore_stats", stdout=StringIO())
    assert sorted(MonthlySum.objects.values_list("model", "deliveries", "files", "size")) == [
        ("courses.handin", 0, 1, 3),
        ("courses.poster", 1, 1, 1),
    ]
    page = browser.get(reverse("admin:devilry_storage_monthlysum_changelist")).content.decode()
    for text in ("courses.Handin", "posters", "Unfinished deliveries (courses.submission)"):
        assert text in page


# -- Uploads --


class SubmissionForm(DeliveryForm):
    """A form for the project's own deliveries."""

    model = Submission
    limits = Limits(max_files=2)


def submitted(*names: str) -> SubmissionForm:
    uploads = [SimpleUploadedFile(name, name.encode()) for name in names]
    request = RequestFactory().post("/", {"uploads": uploads, "end": "end"})
    return SubmissionForm(request.POST, request.FILES)


def test_form_creates_a_delivery_of_the_project(course: Course, teacher: User) -> None:
    """The group is a course, the user has a UUID, and the files have their own store."""
    form = submitted("a.txt", "b.txt")
    assert form.is_valid()
    submission = form.save(course, teacher)
    assert (type(submission), submission.number) == (Submission, 1)
    assert (submission.successful, submission.delivered_by) == (True, teacher)
    assert {file.filename: read(file) for file in SubmittedFile.objects.all()} == {
        "a.txt": b"a.txt",
        "b.txt": b"b.txt",
    }


def test_form_rejects_more_files_than_its_limits_allow(course: Course) -> None:
    """Each form has its own limits."""
    form = submitted("a", "b", "c")
    assert form.errors["uploads"] == ["You chose 3 files. At most 2 files are allowed."]
    assert not Submission.objects.exists()


def test_form_without_a_model_raises_improperly_configured(course: Course) -> None:
    """The delivery model of the package is not installed."""
    form = DeliveryForm({"end": "end"}, {"uploads": [SimpleUploadedFile("a", b"a")]})
    with pytest.raises(ImproperlyConfigured, match="set its 'model' to your subclass of Abstr"):
        form.save(course)


# -- The store browser --


def test_store_browser_shows_the_stores_of_the_project(
    browser: Client, course: Course, teacher: User
) -> None:
    """Rows may have no delivery, and the ids of users are UUIDs."""
    row = handin(course)
    form = submitted("a.txt")
    assert form.is_valid()
    submission = form.save(course, teacher)
    stores = browser.get(reverse("admin:devilry_storage_storebrowser_changelist"))
    assert {"handins", "posters"} <= set(re.findall(r">(\w+)</a></th>", stores.content.decode()))
    for file, label in (
        (row, "courses.handin"),
        (submission.files.get(), "courses.submittedfile"),
    ):
        url = reverse("admin:devilry_storage_storebrowser_folder", args=[label])
        folder = str(file.content.name).rpartition("/")[0]
        html = browser.get(url, {"folder": folder}).content.decode()
        opts = file._meta
        change = reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[file.pk])
        assert f'href="{change}"' in html
        assert "whole" in html
    assert "teacher@example.com" in html
