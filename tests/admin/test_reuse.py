"""The admin classes for other models and other sites."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import path

from devilry_storage import admin as bases
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.resolving import store_for
from tests.testapp.models import Course, MarkedFile, Note, Paper, ProxyFile

from .pages import Page, upload
from .test_lists import BAD_IDS

site = admin.AdminSite("other")


class PaperInline(bases.FileMetaInline):
    model = Paper


class NewPaperInline(bases.NewFileMetaInline):
    model = Paper
    fields = ("title", "filename", "content")


class CourseAdmin(bases.StoreAdmin):
    search_fields = ("title",)
    inlines = (PaperInline, NewPaperInline)


class BareDeliveryAdmin(bases.DeliveryAdmin):
    """Without inlines, for a site without admins of users, groups and files."""


class ContentOnly(bases.NewFileMetaInline):
    model = FileMeta
    fields = ("content",)


class BareFileAdmin(bases.DeliveryAdmin):
    inlines = (ContentOnly,)


class MarkedAdmin(bases.FileMetaAdmin):
    """A file with an additional editable field."""

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)


site.register(Course, CourseAdmin)
site.register(Note, bases.FileMetaAdmin)
site.register(MarkedFile, MarkedAdmin)
site.register(ProxyFile, bases.FileMetaAdmin)
site.register(Delivery, BareFileAdmin)

urlpatterns = [path("admin/", admin.site.urls), path("other/", site.urls)]
pytestmark = pytest.mark.urls(__name__)


def test_inlines_work_for_any_parent_model(browser: Client) -> None:
    """The parent need not be a delivery."""
    filled = {
        "title": "a course",
        "papers-0-title": "on trees",
        "papers-0-content": upload("trees.pdf", b"tree"),
        "papers-1-title": "on birds",
        "papers-1-content": upload("birds.pdf", b"bird"),
    }
    page = Page.get(browser, "/other/testapp/course/add/")
    page = page.submit("course_form", filled, "_continue")
    assert not page.errors
    first, second = Paper.objects.order_by("pk")
    assert [paper.filename for paper in (first, second)] == ["trees.pdf", "birds.pdf"]
    with first.content.open() as file:
        assert file.read() == b"tree"
    page.submit("course_form", {"stored-papers-0-DELETE": True}, "_save")
    assert Paper.objects.get() == second


def test_search_fields_are_used_without_prefix_fields(browser: Client) -> None:
    """Ids are found as well."""
    first, second, third = (
        Course.objects.create(title=title) for title in ("Ab cd", "Ef", "No. 4711")
    )

    def found(text: str) -> set[int]:
        rows = browser.get("/other/testapp/course/", {"q": text}).context["cl"].result_list
        return {row.pk for row in rows}

    assert found("CD") == found("cd ab") == {first.pk}
    assert found(str(second.pk)) >= {second.pk}
    assert found("4711") == {third.pk}
    assert found("9" * 30) == set()


def test_file_without_delivery_is_added_found_and_shown(browser: Client) -> None:
    """A model that overrides key_ids() need not have a delivery."""
    page = Page.get(browser, "/other/testapp/note/add/")
    page = page.submit("note_form", {"content": upload("note.txt")}, "_save")
    assert not page.errors
    note = Note.objects.get()
    for search in (str(note.pk), "note."):
        assert len(Page.get(browser, f"/other/testapp/note/?q={search}").rows()) == 1
    assert note.content.name in Page.get(browser, f"/other/testapp/note/{note.pk}/change/").text


def test_additional_field_is_editable(browser: Client, delivery: Delivery) -> None:
    """The file stays read-only, here in a multi-table child."""
    page = Page.get(browser, "/other/testapp/markedfile/add/")
    filled = {"delivery": delivery.pk, "content": upload("m.txt"), "mark": "B"}
    assert not page.submit("markedfile_form", filled, "_save").errors
    row = MarkedFile.objects.get()
    page = Page.get(browser, f"/other/testapp/markedfile/{row.pk}/change/")
    assert page.form("markedfile_form").names == {"csrfmiddlewaretoken", "mark"}
    page.submit("markedfile_form", {"mark": "A"}, "_save")
    row.refresh_from_db()
    assert (row.mark, row.filename, row.size) == ("A", "m.txt", len(b"uploaded"))
    assert store_for(row).exists(row)


def test_proxy_model_has_the_same_pages(browser: Client, delivery: Delivery) -> None:
    """Its rows are those of the concrete model."""
    row = delivery.add_file("a.txt", b"a")
    assert "a.txt" in Page.get(browser, f"/other/testapp/proxyfile/{row.pk}/change/").text


def test_references_to_models_without_admin_are_ids(
    browser: Client, group: AssignmentGroup
) -> None:
    """There is also no link to the list of files."""
    page = Page.get(browser, "/other/devilry_deliveries/delivery/add/")
    assert "assignment_group" in page.form("delivery_form").values
    assert not list(page.root.find("select", name="assignment_group"))
    filled = {"assignment_group": str(group.pk), "filemetas-0-content": upload()}
    assert not page.submit("delivery_form", filled, "_save").errors
    delivery = Delivery.objects.get()
    url = f"/other/devilry_deliveries/delivery/{delivery.pk}/change/"
    assert "1 file, 8 bytes" in Page.get(browser, url).text


@pytest.mark.parametrize("bad", BAD_IDS)
def test_invalid_typed_id_is_a_form_error(bad: str, browser: Client) -> None:
    """Ids are typed in without autocompletion."""
    page = Page.get(browser, "/other/devilry_deliveries/delivery/add/")
    filled = {"assignment_group": bad, "delivered_by": bad}
    assert page.submit("delivery_form", filled, "_save").is_rejected


def test_inline_with_only_content_reports_clashes(browser: Client, group: AssignmentGroup) -> None:
    """Filenames come from the uploads, and equal ones are a form error."""
    page = Page.get(browser, "/other/devilry_deliveries/delivery/add/")
    same = {"filemetas-0-content": upload("a.txt"), "filemetas-1-content": upload("a.txt")}
    answer = page.submit("delivery_form", {"assignment_group": str(group.pk), **same}, "_save")
    assert answer.is_rejected
    assert not FileMeta.objects.exists()
    two = {"filemetas-0-content": upload("a.txt"), "filemetas-1-content": upload("b.txt")}
    page.submit("delivery_form", {"assignment_group": str(group.pk), **two}, "_save")
    assert set(FileMeta.objects.values_list("filename", flat=True)) == {"a.txt", "b.txt"}


def test_system_checks_of_the_admin_pass() -> None:
    """Also for subclasses without any options."""
    for admin_site in (admin.site, site):
        errors = [model.check() for model in admin_site._registry.values()]
        assert errors == [[]] * len(errors)


def test_package_works_without_the_admin_app() -> None:
    """Only admin modules import django.contrib.admin."""
    code = (
        "import sys; from django.conf import settings; settings.configure(INSTALLED_APPS=["
        "'django.contrib.auth', 'django.contrib.contenttypes', 'devilry_storage', "
        "'devilry_storage.deliveries']); import django; django.setup(); "
        "assert not [name for name in sys.modules if name.startswith('django.contrib.admin')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
