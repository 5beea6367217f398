"""Lists: search, filters, and queries whose number does not depend on the rows."""

from __future__ import annotations

import json
import unicodedata
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import Tombstone
from tests.harness.users import make_user

from .pages import Page, staff, upload, url_for, url_of


def found(browser: Client, model: Any, text: str) -> set[int]:
    """Return the ids of the rows that a search finds."""
    answer = browser.get(url_for(model), {"q": text})
    assert answer.status_code == 200
    return {row.pk for row in answer.context["cl"].result_list}


@pytest.fixture
def three(group: AssignmentGroup) -> list[Delivery]:
    """Return deliveries with two files each, whose ids differ from those of the deliveries."""
    FileMeta.objects.create(delivery=Delivery.begin(group), filename="z").delete()
    Delivery.objects.all().delete()
    deliveries = [Delivery.begin(group) for _ in range(3)]
    names = ("report.pdf", "Report 2.pdf", "\u00e9t\u00e9_100%.txt")
    for delivery, name in zip(deliveries, names, strict=True):
        delivery.add_file("other", b"")
        delivery.add_file(name, b"a")
    return deliveries


NFD = unicodedata.normalize("NFD", "\u00e9t\u00e9")
BY_TEXT: list[tuple[str, set[int]]] = [
    ("report", {0, 1}),
    ("REPORT 2", {1}),
    ("  report.p", {0}),
    ("pdf", set()),
    ("\u00e9t", {2}),
    (NFD, {2}),
    ("\u00e9t\u00e9_100%", {2}),
    ("%", set()),
    ("_", set()),
    ("", {0, 1, 2}),
    ("'; --", set()),
]


def test_text_finds_beginnings_of_filenames(browser: Client, three: list[Delivery]) -> None:
    """In all lists; the wildcards of LIKE are plain characters."""
    wanted = {text: {three[number].pk for number in expected} for text, expected in BY_TEXT}
    rows = FileMeta.objects.exclude(filename="other")
    files = {text: rows.filter(pk__in=found(browser, FileMeta, text)) for text in wanted}
    assert {text: {row.delivery_id for row in files[text]} for text in wanted} == wanted
    assert {text: found(browser, Delivery, text) for text in wanted} == wanted
    rows.delete()
    tombstones = {
        text: Tombstone.objects.filter(pk__in=found(browser, Tombstone, text)) for text in wanted
    }
    assert {
        text: {tombstone.rows[0]["pk"] for tombstone in tombstones[text]} for text in wanted
    } == wanted


def test_digits_find_ids(browser: Client, three: list[Delivery]) -> None:
    """They find ids of rows, of files and of deliveries, but not filenames."""
    delivery = three[2]
    row = delivery.add_file("77777", b"")
    for number in (delivery.pk, row.pk):
        assert delivery.pk in found(browser, Delivery, str(number))
        assert row.pk in found(browser, FileMeta, str(number))
    assert found(browser, FileMeta, "77777") == found(browser, Delivery, "77777") == set()
    ids = (delivery.pk, row.pk)
    row.delete()
    tombstone = Tombstone.objects.get()
    for number in ids:
        assert found(browser, Tombstone, str(number)) == {tombstone.pk}
    assert found(browser, Tombstone, tombstone.name) == {tombstone.pk}
    assert found(browser, Tombstone, "77777") == set()


@pytest.mark.parametrize("model", [Delivery, FileMeta, Tombstone])
def test_invalid_search_finds_nothing(
    model: Any, browser: Client, three: list[Delivery], subtests: pytest.Subtests
) -> None:
    """Large numbers, other digits and NUL do not raise exceptions."""
    FileMeta.objects.filter(filename="other").first().delete()
    everything = set(model.objects.values_list("pk", flat=True))
    for text in "9" * 19, "9" * 20, "9" * 400, "9" * 5000, "\u0663", "\u00b2", "a\0b", "-1":
        with subtests.test(text=text):
            assert found(browser, model, text) in (set(), everything if "\0" in text else set())


ARABIC = str.maketrans(
    "0123456789", "\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669"
)


def test_digits_of_other_scripts_find_no_id(browser: Client, three: list[Delivery]) -> None:
    """They are searched as text. Leading zeros of ids are ignored."""
    delivery = three[2]
    row = delivery.add_file("a", b"")
    buried = delivery.add_file("b", b"")
    ids = [(Delivery, delivery.pk), (FileMeta, row.pk), (Tombstone, buried.pk)]
    ids += [(AssignmentGroup, delivery.assignment_group.pk)]
    buried.delete()
    for model, pk in ids:
        assert found(browser, model, f"00{pk}") != set()
        assert found(browser, model, str(pk).translate(ARABIC)) == set()


def test_groups_are_found_by_id_and_beginning_of_name(browser: Client) -> None:
    """Upper and lower case are equal; other parts of the name are not searched."""
    first, second, third = (
        AssignmentGroup.objects.create(name=name) for name in ("Ab cd", "\u00c9f", "No. 4711")
    )
    assert found(browser, AssignmentGroup, "ab c") == {first.pk}
    assert found(browser, AssignmentGroup, "\u00c9") == {second.pk}
    assert found(browser, AssignmentGroup, "CD") == set()
    assert found(browser, AssignmentGroup, str(third.pk)) == {third.pk}
    assert found(browser, AssignmentGroup, "9" * 30) == set()


def test_deliveries_are_found_by_group_and_user(browser: Client, three: list[Delivery]) -> None:
    """By the beginnings of group names and login names."""
    other = AssignmentGroup.objects.create(name="Another group")
    by_ada = Delivery.begin(other, make_user("ada"))
    assert found(browser, Delivery, "another") == {by_ada.pk}
    assert found(browser, Delivery, "ada") == {by_ada.pk}
    assert found(browser, Delivery, "THE GR") == {delivery.pk for delivery in three}
    assert found(browser, Delivery, "group") == set()


def test_filters_restrict_lists(browser: Client, three: list[Delivery]) -> None:
    """By state, date, upload and related row."""
    first, *others = three
    first.finish()
    pending = FileMeta.objects.create(delivery=three[1], filename="pending.txt")
    of_another = Delivery.begin(AssignmentGroup.objects.create(name="another"))

    def listed(model: Any, **chosen: str) -> set[int]:
        answer = browser.get(url_for(model), chosen)
        return {row.pk for row in answer.context["cl"].result_list}

    assert listed(Delivery, successful__exact="1") == {first.pk}
    assert listed(Delivery, successful__exact="0") == {
        of_another.pk,
        *(delivery.pk for delivery in others),
    }
    of_three = {delivery.pk for delivery in three}
    assert listed(Delivery, assignment_group__id__exact=str(first.assignment_group_id)) == of_three
    assert listed(Delivery, time_of_delivery__gte="2000-01-01T00:00:00Z") == {
        of_another.pk,
        *of_three,
    }
    assert listed(Delivery, time_of_delivery__gte="2999-01-01T00:00:00Z") == set()
    assert listed(FileMeta, stored="no") == {pending.pk}
    assert pending.pk not in listed(FileMeta, stored="yes")
    assert len(listed(FileMeta, stored="nonsense")) == 7
    finished = set(first.files.values_list("pk", flat=True))
    assert listed(FileMeta, delivery__id__exact=str(first.pk)) == finished


REFUSED = [
    (FileMeta, ("filename__regex", "filename__iregex", "filename__contains", "filename", "size")),
    (FileMeta, ("size__gt", "sha256__startswith", "content__contains", "created__regex")),
    (FileMeta, ("delivery__number", "delivery__assignment_group__name__regex", "delivery__in")),
    (FileMeta, ("created__contains", "id__lt", "pk__contains", "id__regex", "delivery__id__in")),
    (Delivery, ("number", "number__regex", "successful__regex", "delivered_by__password__regex")),
    (Delivery, ("assignment_group__name__contains", "time_of_delivery__year", "copy_of__regex")),
    (Delivery, ("filemetas__filename__regex", "time_of_delivery__month")),
    (AssignmentGroup, ("name__regex", "candidates__password__startswith", "deliveries__number")),
    (Tombstone, ("rows__contains", "rows__regex", "name__regex", "sha256", "model__regex")),
    (Tombstone, ("last_error__contains", "filename__iregex", "due__lte", "done__isnull")),
]


@pytest.mark.parametrize(("model", "lookups"), REFUSED)
def test_lookups_other_than_those_of_filters_are_refused(
    model: Any, lookups: tuple[str, ...], browser: Client, three: list[Delivery]
) -> None:
    """They could read a whole table for minutes. Actions and popups are lists, too."""
    url = url_for(model)
    for lookup in lookups:
        assert browser.get(url, {lookup: "1"}).status_code == 400, lookup
    for extra in ({"_popup": "1"}, {"_to_field": "id"}, {"q": "1"}):
        assert browser.get(url, {lookups[0]: "1", **extra}).status_code == 400, extra
    action = {"action": "delete_selected", "_selected_action": "1"}
    assert browser.post(f"{url}?{lookups[0]}=1", action).status_code == 400


def test_lookups_of_filters_popups_and_dates_are_allowed(
    browser: Client, three: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And those of the primary key, and of the limits of foreign keys that refer to the model."""
    pk = three[0].pk
    monkeypatch.setattr(admin.site._registry[Delivery], "date_hierarchy", "time_of_delivery")
    limits = [*Delivery._meta.related_fkey_lookups, {"number__isnull": True}]
    limits.append(lambda: {"copy_of__isnull": True})
    monkeypatch.setattr(Delivery._meta, "related_fkey_lookups", limits)
    year = str(three[0].time_of_delivery.year)
    allowed: list[tuple[dict[str, Any], int | None]] = [
        *(({name: pk}, 1) for name in ("pk", "id", "id__exact", "pk__exact", "pk__in")),
        ({"id__in": f"{pk},{three[1].pk}"}, 2),
        ({"pk": pk, "_popup": "1", "_to_field": "id", "o": "-6", "q": "", "e": "1", "p": "1"}, 1),
        ({"time_of_delivery__year": year}, 3),
        ({"time_of_delivery__year": year, "time_of_delivery__month": "1"}, None),
        ({"number__isnull": "1", "_popup": "1"}, 3),
        ({"copy_of__isnull": "1", "_popup": "1"}, 3),
        ({"successful__exact": "0", "time_of_delivery__gte": "2000-01-01T00:00:00Z"}, 3),
        ({"time_of_delivery__since": "2000-01-01", "time_of_delivery__until": ""}, 3),
        ({"assignment_group__search": "the", "assignment_group__id__exact": "0"}, 0),
    ]
    for query, count in allowed:
        answer = browser.get(url_for(Delivery), query)
        assert answer.status_code == 200, query
        found = len(answer.context["cl"].result_list)
        assert count in (None, found), query
    assert browser.get(url_for(Delivery), {"number__isnull": "0"}).status_code == 400


def test_list_of_deliveries_has_number_and_size_of_files(
    browser: Client, three: list[Delivery]
) -> None:
    """The store is not needed for this."""
    three[0].add_file("big", b"x" * 4095)
    rows = Page.get(browser, url_for(Delivery)).rows()
    assert "3 4.0 KB" in rows[2]
    assert "2 1 byte" in rows[1]


def test_deleted_file_shows_filename_size_and_rows(browser: Client, three: list[Delivery]) -> None:
    """In the list and on its page."""
    row = three[0].files.get(filename="report.pdf")
    digest = row.sha256
    row.delete()
    tombstone = Tombstone.objects.get()
    (listed,) = Page.get(browser, url_for(Tombstone)).rows()
    for part in (tombstone.name, "report.pdf", "1 byte"):
        assert part in listed
    page = Page.get(browser, url_of(tombstone))
    assert digest in page.text
    (kept,) = page.root.find("pre")
    assert json.loads(kept.text) == tombstone.rows


def test_deleted_files_are_read_only(browser: Client, three: list[Delivery]) -> None:
    """They cannot be added, changed or deleted."""
    three[0].files.first().delete()  # type: ignore[union-attr]
    tombstone = Tombstone.objects.get()
    assert browser.get(url_for(Tombstone, "add")).status_code == 403
    assert browser.post(url_of(tombstone), {"due": "2000-01-01"}).status_code == 403
    assert browser.post(url_of(tombstone, "delete"), {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [str(tombstone.pk)], "post": "yes"}
    browser.post(url_for(Tombstone), chosen)
    assert Tombstone.objects.get() == tombstone


# -- Queries --


def queries(browser: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert browser.get(url).status_code == 200
    return len(captured)


def fill(count: int) -> None:
    for _ in range(count):
        group = AssignmentGroup.objects.create(name="group")
        delivery = Delivery.begin(group, make_user(f"user{group.pk}"))
        delivery.add_files({"a": b"a", "b": b"b"})
        delivery.finish()
        other = delivery.copy(group)
        other.files.get(filename="b").delete()


@pytest.mark.parametrize("model", [AssignmentGroup, Delivery, FileMeta, Tombstone])
def test_queries_of_a_list_do_not_depend_on_its_rows(model: Any, browser: Client) -> None:
    """No column needs a query per row."""
    fill(2)
    few = queries(browser, url_for(model))
    fill(6)
    assert queries(browser, url_for(model)) == few


def test_queries_of_a_delivery_do_not_depend_on_its_files(
    browser: Client, delivery: Delivery
) -> None:
    """Neither to show nor to save the page."""

    def both() -> tuple[int, int]:
        shown = queries(browser, url_of(delivery))
        page = Page.get(browser, url_of(delivery))
        with CaptureQueriesContext(connection) as captured:
            page.submit("delivery_form", {}, "_continue")
        return shown, len(captured)

    delivery.add_files({"a": b"", "b": b""})
    both()  # fills the caches of Django
    few = both()
    delivery.add_files({f"{number}": b"" for number in range(20)})
    assert both() == few


# -- References --


@pytest.mark.parametrize(
    "may_view", ["all", "none", "other rows", "unregistered", "unregistered, all"]
)
def test_add_forms_show_names_of_viewable_rows_only(
    may_view: str, group: AssignmentGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL of an add form may contain any id, and so may a form that is shown again."""
    user_model: Any = get_user_model()
    ada, grace = make_user("ada"), make_user("grace")
    delivery = Delivery.begin(group)
    delivery.number = 77
    delivery.save()
    adding = ["add_delivery", "add_assignmentgroup", "add_filemeta"]
    views = [f"view_{user_model._meta.model_name}", "view_assignmentgroup", "view_delivery"]
    browser = staff(*adding, *([] if may_view in {"none", "unregistered"} else views))
    registry = admin.site._registry
    if "unregistered" in may_view:
        for model in (user_model, AssignmentGroup):
            monkeypatch.delitem(registry, model)
    if may_view == "other rows":
        for hidden in (user_model, AssignmentGroup, Delivery):
            rows = hidden.objects.none()
            monkeypatch.setattr(registry[hidden], "get_queryset", lambda _request, rows=rows: rows)
    pages: list[tuple[Any, dict[str, Any], set[str]]] = [
        (Delivery, {"delivered_by": ada.pk, "assignment_group": group.pk}, {str(ada), str(group)}),
        (AssignmentGroup, {"candidates": f"{ada.pk},{grace.pk}"}, {str(ada), str(grace)}),
        (AssignmentGroup, {"examiners": grace.pk}, {str(grace)}),
        (FileMeta, {"delivery": delivery.pk}, {str(delivery)}),
    ]
    for model, initial, names in pages:
        if model is AssignmentGroup and "unregistered" in may_view:
            continue  # it has no page
        url = f"{url_for(model, 'add')}?{urlencode(initial)}"
        ids = {name: str(value).split(",") for name, value in initial.items()}
        data = initial if may_view == "none" else ids  # the ids are typed
        for response in (browser.get(url), browser.post(url_for(model, "add"), data)):
            assert response.status_code == 200
            text = response.content.decode()
            shown = {name for name in names if f">{name}<" in text or f">{escape(name)}<" in text}
            assert shown == (names if may_view.endswith("all") else set()), (model, initial)
            assert all(pk in text for value in ids.values() for pk in value)


@pytest.mark.parametrize("field", ["assignment_group", "delivered_by"])
def test_references_are_autocompleted(field: str, browser: Client, group: AssignmentGroup) -> None:
    """The page does not list all groups and users."""
    ada = make_user("ada")
    page = Page.get(browser, url_for(Delivery, "add"))
    (select,) = page.root.find("select", name=field)
    assert [option.text for option in select.find("option")] in ([""], [])
    query = {
        "app_label": select.attributes["data-app-label"],
        "model_name": select.attributes["data-model-name"],
        "field_name": select.attributes["data-field-name"],
        "term": "the" if field == "assignment_group" else "ada",
    }
    answer = browser.get(reverse("admin:autocomplete"), query).json()
    wanted = group if field == "assignment_group" else ada
    assert [result["id"] for result in answer["results"]] == [str(wanted.pk)]


def test_delivery_of_a_user_is_added(browser: Client, group: AssignmentGroup) -> None:
    """This works with any primary key of users."""
    ada = make_user("ada")
    filled = {"assignment_group": group.pk, "delivered_by": ada.pk}
    page = Page.get(browser, url_for(Delivery, "add")).submit("delivery_form", filled, "_save")
    assert not page.errors
    assert Delivery.objects.get().delivered_by == ada
    assert str(ada) in Page.get(browser, url_for(Delivery)).rows()[0]


def test_group_with_candidates_and_examiners_is_saved(
    browser: Client, group: AssignmentGroup
) -> None:
    """Each role can have several users."""
    ada, grace = make_user("ada"), make_user("grace")
    filled = {"candidates": [ada.pk, grace.pk], "examiners": [grace.pk]}
    page = Page.get(browser, url_of(group)).submit("assignmentgroup_form", filled, "_save")
    assert not page.errors
    assert set(group.candidates.all()) == {ada, grace}
    assert list(group.examiners.all()) == [grace]


BAD_IDS = ["abc", "99999999999999999999999", "a\0", "-5", "1.5"]


def test_invalid_reference_is_a_form_error(
    browser: Client, group: AssignmentGroup, subtests: pytest.Subtests
) -> None:
    """The page is shown again for any text instead of an id."""
    for bad in BAD_IDS:
        forms = [
            (
                f"{url_for(FileMeta, 'add')}?{urlencode({'delivery': bad})}",
                "filemeta_form",
                {"delivery": bad, "content": upload()},
            ),
            (
                url_for(Delivery, "add"),
                "delivery_form",
                {"assignment_group": bad, "delivered_by": bad},
            ),
            (url_of(group), "assignmentgroup_form", {"name": "named", "candidates": bad}),
        ]
        for url, form, filled in forms:
            with subtests.test(form, bad=bad):
                assert Page.get(browser, url).submit(form, filled, "_save").is_rejected
    group.refresh_from_db()
    assert (group.name, FileMeta.objects.count()) == ("the group", 0)
