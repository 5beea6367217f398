"""Lists: search, filters, and a number of queries that does not grow with the rows."""

from __future__ import annotations

import json
import unicodedata
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import Tombstone
from tests.harness.users import make_user

from .pages import Page, upload, url_for, url_of


def found(browser: Client, model: Any, text: str) -> set[int]:
    """Return the ids of the rows that a search finds."""
    answer = browser.get(url_for(model), {"q": text})
    assert answer.status_code == 200
    return {row.pk for row in answer.context["cl"].result_list}


@pytest.fixture
def three(group: AssignmentGroup) -> list[Delivery]:
    """Deliveries with a file each, whose ids differ from the deliveries'."""
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


def test_text_finds_the_beginning_of_a_filename(browser: Client, three: list[Delivery]) -> None:
    """Deliveries by their files, files, and tombstones alike; wildcards are characters."""
    wanted = {text: {three[number].pk for number in expected} for text, expected in BY_TEXT}
    rows = FileMeta.objects.exclude(filename="other")
    files = {text: rows.filter(pk__in=found(browser, FileMeta, text)) for text in wanted}
    assert {text: {row.delivery_id for row in files[text]} for text in wanted} == wanted
    assert {text: found(browser, Delivery, text) for text in wanted} == wanted
    rows.delete()
    stones = {
        text: Tombstone.objects.filter(pk__in=found(browser, Tombstone, text)) for text in wanted
    }
    assert {text: {stone.rows[0]["pk"] for stone in stones[text]} for text in wanted} == wanted


def test_digits_find_ids(browser: Client, three: list[Delivery]) -> None:
    """Those of the rows, of a delivery's files and of a file's delivery; never filenames."""
    delivery = three[2]
    row = delivery.add_file("77777", b"")
    for number in (delivery.pk, row.pk):
        assert delivery.pk in found(browser, Delivery, str(number))
        assert row.pk in found(browser, FileMeta, str(number))
    assert found(browser, FileMeta, "77777") == found(browser, Delivery, "77777") == set()
    ids = (delivery.pk, row.pk)
    row.delete()
    stone = Tombstone.objects.get()
    for number in ids:
        assert found(browser, Tombstone, str(number)) == {stone.pk}
    assert found(browser, Tombstone, stone.name) == {stone.pk}
    assert found(browser, Tombstone, "77777") == set()


@pytest.mark.parametrize("model", [Delivery, FileMeta, Tombstone])
def test_an_impossible_search_finds_nothing(
    model: Any, browser: Client, three: list[Delivery], subtests: pytest.Subtests
) -> None:
    """Numbers that no database has, other scripts' digits and NUL break no page."""
    FileMeta.objects.filter(filename="other").first().delete()
    everything = set(model.objects.values_list("pk", flat=True))
    for text in "9" * 19, "9" * 20, "9" * 400, "9" * 5000, "\u0663", "\u00b2", "a\0b", "-1":
        with subtests.test(text=text):
            assert found(browser, model, text) in (set(), everything if "\0" in text else set())


ARABIC = str.maketrans(
    "0123456789", "\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669"
)


def test_digits_of_another_script_find_no_id(browser: Client, three: list[Delivery]) -> None:
    """They are text, as any other; zeros before an id are digits."""
    delivery = three[2]
    row = delivery.add_file("a", b"")
    buried = delivery.add_file("b", b"")
    ids = [(Delivery, delivery.pk), (FileMeta, row.pk), (Tombstone, buried.pk)]
    ids += [(AssignmentGroup, delivery.assignment_group.pk)]
    buried.delete()
    for model, pk in ids:
        assert found(browser, model, f"00{pk}") != set()
        assert found(browser, model, str(pk).translate(ARABIC)) == set()


def test_groups_are_found_by_id_and_the_beginning_of_the_name(browser: Client) -> None:
    """In either case; a part of the name that no index has is not searched."""
    first, second, third = (
        AssignmentGroup.objects.create(name=name) for name in ("Ab cd", "\u00c9f", "No. 4711")
    )
    assert found(browser, AssignmentGroup, "ab c") == {first.pk}
    assert found(browser, AssignmentGroup, "\u00c9") == {second.pk}
    assert found(browser, AssignmentGroup, "CD") == set()
    assert found(browser, AssignmentGroup, str(third.pk)) == {third.pk}
    assert found(browser, AssignmentGroup, "9" * 30) == set()


def test_deliveries_are_found_by_group_and_user(browser: Client, three: list[Delivery]) -> None:
    """By the beginnings of the group's name and of what the user logs in with."""
    other = AssignmentGroup.objects.create(name="Another group")
    by_ada = Delivery.begin(other, make_user("ada"))
    assert found(browser, Delivery, "another") == {by_ada.pk}
    assert found(browser, Delivery, "ada") == {by_ada.pk}
    assert found(browser, Delivery, "THE GR") == {delivery.pk for delivery in three}
    assert found(browser, Delivery, "group") == set()


def test_filters_narrow_the_lists(browser: Client, three: list[Delivery]) -> None:
    """By state, by date, by what is stored, and by what a row belongs to."""
    first, *others = three
    first.finish()
    left = FileMeta.objects.create(delivery=three[1], filename="left.txt")
    of_another = Delivery.begin(AssignmentGroup.objects.create(name="another"))

    def listed(model: Any, **chosen: str) -> set[int]:
        answer = browser.get(url_for(model), chosen)
        return {row.pk for row in answer.context["cl"].result_list}

    assert listed(Delivery, successful__exact="1") == {first.pk}
    assert listed(Delivery, successful__exact="0") == {
        of_another.pk,
        *(each.pk for each in others),
    }
    of_three = {each.pk for each in three}
    assert listed(Delivery, assignment_group__id__exact=str(first.assignment_group_id)) == of_three
    assert listed(Delivery, time_of_delivery__gte="2000-01-01T00:00:00Z") == {
        of_another.pk,
        *of_three,
    }
    assert listed(Delivery, time_of_delivery__gte="2999-01-01T00:00:00Z") == set()
    assert listed(FileMeta, stored="no") == {left.pk}
    assert left.pk not in listed(FileMeta, stored="yes")
    assert len(listed(FileMeta, stored="nonsense")) == 7
    finished = set(first.files.values_list("pk", flat=True))
    assert listed(FileMeta, delivery__id__exact=str(first.pk)) == finished


def test_a_list_of_deliveries_counts_their_files(browser: Client, three: list[Delivery]) -> None:
    """How many and how big, without asking the store."""
    three[0].add_file("big", b"x" * 4095)
    rows = Page.get(browser, url_for(Delivery)).rows()
    assert "3 4.0 KB" in rows[2]
    assert "2 1 byte" in rows[1]


def test_a_tombstone_tells_filename_size_due_and_rows(
    browser: Client, three: list[Delivery]
) -> None:
    """What was deleted can be recognised."""
    row = three[0].files.get(filename="report.pdf")
    digest = row.sha256
    row.delete()
    stone = Tombstone.objects.get()
    (listed,) = Page.get(browser, url_for(Tombstone)).rows()
    for part in (stone.name, "report.pdf", "1 byte"):
        assert part in listed
    page = Page.get(browser, url_of(stone))
    assert digest in page.text
    (kept,) = page.root.find("pre")
    assert json.loads(kept.text) == stone.rows


def test_tombstones_are_read_only(browser: Client, three: list[Delivery]) -> None:
    """They go when their bytes go: nobody adds, changes or deletes one by hand."""
    three[0].files.first().delete()  # type: ignore[union-attr]
    stone = Tombstone.objects.get()
    assert browser.get(url_for(Tombstone, "add")).status_code == 403
    assert browser.post(url_of(stone), {"due": "2000-01-01"}).status_code == 403
    assert browser.post(url_of(stone, "delete"), {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [str(stone.pk)], "post": "yes"}
    browser.post(url_for(Tombstone), chosen)
    assert Tombstone.objects.get() == stone


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
def test_a_list_asks_the_database_no_more_for_more_rows(model: Any, browser: Client) -> None:
    """No query per row."""
    fill(2)
    few = queries(browser, url_for(model))
    fill(6)
    assert queries(browser, url_for(model)) == few


def test_a_delivery_asks_the_database_no_more_for_more_files(
    browser: Client, delivery: Delivery
) -> None:
    """No query per file, neither to show nor to save the page."""

    def both() -> tuple[int, int]:
        shown = queries(browser, url_of(delivery))
        page = Page.get(browser, url_of(delivery))
        with CaptureQueriesContext(connection) as captured:
            page.submit("delivery_form", {}, "_continue")
        return shown, len(captured)

    delivery.add_files({"a": b"", "b": b""})
    both()  # what Django asks once and remembers
    few = both()
    delivery.add_files({f"{number}": b"" for number in range(20)})
    assert both() == few


# -- References --


@pytest.mark.parametrize("field", ["assignment_group", "delivered_by"])
def test_references_are_searched_not_listed(
    field: str, browser: Client, group: AssignmentGroup
) -> None:
    """A page does not hold all groups and users, but asks for them."""
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


def test_a_delivery_by_somebody_is_added(browser: Client, group: AssignmentGroup) -> None:
    """Whatever the user model's primary key is."""
    ada = make_user("ada")
    filled = {"assignment_group": group.pk, "delivered_by": ada.pk}
    page = Page.get(browser, url_for(Delivery, "add")).submit("delivery_form", filled, "_save")
    assert not page.errors
    assert Delivery.objects.get().delivered_by == ada
    assert str(ada) in Page.get(browser, url_for(Delivery)).rows()[0]


def test_a_group_gets_candidates_and_examiners(browser: Client, group: AssignmentGroup) -> None:
    """Several users in each part."""
    ada, grace = make_user("ada"), make_user("grace")
    filled = {"candidates": [ada.pk, grace.pk], "examiners": [grace.pk]}
    page = Page.get(browser, url_of(group)).submit("assignmentgroup_form", filled, "_save")
    assert not page.errors
    assert set(group.candidates.all()) == {ada, grace}
    assert list(group.examiners.all()) == [grace]


BAD_IDS = ["abc", "99999999999999999999999", "a\0", "-5", "1.5"]


def test_a_reference_that_cannot_be_is_told(
    browser: Client, group: AssignmentGroup, subtests: pytest.Subtests
) -> None:
    """Whatever is sent in place of an id, the page comes back and says so."""
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
                assert Page.get(browser, url).submit(form, filled, "_save").refused
    group.refresh_from_db()
    assert (group.name, FileMeta.objects.count()) == ("the group", 0)
