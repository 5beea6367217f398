"""Lists with more rows than the maximum that they count, show or search."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import django
import pytest
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection, models
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.urls import reverse
from django.utils import timezone

from devilry_storage.admin import DeliveryAdmin, ReferenceFilter, lists
from devilry_storage.admin.lists import BoundedPaginator
from devilry_storage.deliveries.admin import AssignmentGroupAdmin
from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from tests.harness.users import make_user
from tests.slow.explaining import recorded

from .pages import Page, url_for

MORE = "Only the first 3 rows are shown."
PARTIAL = "Only the first matches are shown."


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit lists to three rows, on pages of two."""
    monkeypatch.setattr(BoundedPaginator, "max_rows", 3)
    monkeypatch.setattr(DeliveryAdmin, "list_per_page", 2)


def deliveries(count: int, group: AssignmentGroup) -> list[Delivery]:
    return [Delivery.begin(group) for _ in range(count)]


def listed(browser: Client, **query: str) -> list[int]:
    answer = browser.get(url_for(Delivery), query)
    assert answer.status_code == 200, answer.headers
    return [row.pk for row in answer.context["cl"].result_list]


# -- Counting and paging --


@pytest.mark.usefixtures("few")
def test_list_reports_rows_beyond_the_maximum(browser: Client, group: AssignmentGroup) -> None:
    """The maximum of three rows is shown on two pages."""
    *_, third, second, first = deliveries(5, group)
    assert listed(browser) == [first.pk, second.pk]
    assert listed(browser, p="2") == [third.pk]
    assert browser.get(url_for(Delivery), {"p": "3"}).status_code == 302
    assert MORE in Page.get(browser, url_for(Delivery)).text


@pytest.mark.usefixtures("few")
def test_list_of_the_maximum_is_complete(browser: Client, group: AssignmentGroup) -> None:
    """No note is shown."""
    deliveries(3, group)
    assert MORE not in Page.get(browser, url_for(Delivery)).text


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(("count", "done"), [(3, True), (4, False)])
def test_action_on_all_rows_needs_a_complete_list(
    count: int, done: bool, browser: Client, group: AssignmentGroup
) -> None:
    """It is rejected if the list shows only the first rows."""
    chosen = deliveries(count, group)
    for delivery in chosen:
        delivery.add_file("a.txt", b"a")
    action = {
        "action": "finish",
        "select_across": "1",
        "_selected_action": [str(chosen[0].pk)],
        "index": "0",
    }
    answer = browser.post(url_for(Delivery), action, follow=True)
    assert ("the list has more than 3 rows" in answer.content.decode()) is not done
    assert Delivery.objects.filter(successful=True).count() == (count if done else 0)


def test_order_without_index_is_ignored(browser: Client, group: AssignmentGroup) -> None:
    """Only the time can be sorted by, also in URLs."""
    first, second = deliveries(2, group)
    Delivery.objects.filter(pk=first.pk).update(number=1)
    columns = browser.get(url_for(Delivery)).context["cl"].list_display
    time = columns.index("time_of_delivery")
    assert listed(browser, o=str(time)) == [first.pk, second.pk]
    for column in range(len(columns)):
        if column != time:
            for order in (f"{column}", f"-{column}"):
                assert listed(browser, o=order) == [second.pk, first.pk]
    page = Page.get(browser, url_for(Delivery))
    sorts = [link.text for head in page.root.find("thead") for link in head.find("a") if link.text]
    assert sorts == ["Time of delivery"]


@pytest.mark.skipif(django.VERSION < (5, 0), reason="Django 4.2 does not count choices.")
def test_choices_of_filters_are_not_counted(browser: Client, group: AssignmentGroup) -> None:
    """Counting would read all rows for each choice."""
    deliveries(2, group)
    for model in (Delivery, FileMeta):
        page = Page.get(browser, f"{url_for(model)}?_facets=True")
        filters = " ".join(details.text for details in page.root.find("details"))
        assert not re.search(r"\(\d+\)", filters)
        assert "Show counts" not in page.text


# -- Searching --


@pytest.fixture
def two_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit searches to two matches and two scanned rows."""
    for admin_class in (lists.PrefixSearchAdmin, AssignmentGroupAdmin):
        monkeypatch.setattr(admin_class, "max_matches", 2)
    monkeypatch.setattr(lists, "SCANNED_ROWS", 2)


@pytest.mark.usefixtures("two_matches")
def test_partial_search_finds_first_and_newest_matches(
    browser: Client, group: AssignmentGroup
) -> None:
    """The first by name, and those among the first rows of the list."""
    made = deliveries(6, group)
    for delivery, name in zip(made, ("b1", "a1", "a2", "b2", "b3", "c"), strict=True):
        delivery.add_file(f"x {name}", b"")
    found = listed(browser, q="x")
    assert found == [made[number].pk for number in (5, 4, 2, 1)]
    assert PARTIAL in Page.get(browser, f"{url_for(Delivery)}?q=x").text
    assert PARTIAL not in Page.get(browser, f"{url_for(Delivery)}?q=x+a").text


@pytest.mark.usefixtures("two_matches")
def test_search_in_short_filtered_list_is_complete(
    browser: Client, group: AssignmentGroup
) -> None:
    """All rows that match the filter are searched."""
    for delivery in deliveries(5, group):
        delivery.add_file("main.py", b"")
    of_another = Delivery.begin(AssignmentGroup.objects.create(name="another"))
    of_another.add_file("main.py", b"")
    deliveries(3, group)
    query = {"q": "main", "assignment_group__id__exact": str(of_another.assignment_group_id)}
    assert listed(browser, **query) == [of_another.pk]
    answer = browser.get(url_for(Delivery), query)
    assert PARTIAL not in answer.content.decode()


@pytest.mark.usefixtures("two_matches")
def test_partial_search_by_name_finds_newest_deliveries(browser: Client) -> None:
    """Among the first rows of the list all matches are found."""
    made = []
    for number in range(4):
        group = AssignmentGroup.objects.create(name=f"Team {number}")
        made.append(Delivery.begin(group, make_user(f"user{number}")))
    for text in ("team", "user"):
        # The database chooses the others, as their keys may be random.
        assert listed(browser, q=text)[:2] == [made[3].pk, made[2].pk]
        assert PARTIAL in Page.get(browser, f"{url_for(Delivery)}?q={text}").text


def test_users_are_found_by_beginning_of_login_name(
    browser: Client, group: AssignmentGroup
) -> None:
    """The case must match, on every database."""
    made = {name: Delivery.begin(group, make_user(name)) for name in ("alex", "alexa", "Alex")}
    assert listed(browser, q="alex") == [made["alexa"].pk, made["alex"].pk]
    assert listed(browser, q="Alex") == [made["Alex"].pk]
    assert listed(browser, q="ale%") == []


@pytest.mark.skipif(connection.vendor != "sqlite", reason="The slow proofs cover PostgreSQL.")
def test_search_uses_the_index_of_login_names(browser: Client, group: AssignmentGroup) -> None:
    """SQLite does not scan the table of users."""
    mine = Delivery.begin(group, make_user("alex"))
    with recorded() as queries:
        assert listed(browser, q="alex") == [mine.pk]
    assert queries.whole_scans(get_user_model()._meta.db_table) == []


def test_autocompletion_with_nul_finds_nothing(browser: Client) -> None:
    """Django rejects NUL only in the search of a list."""
    AssignmentGroup.objects.create(name="a")
    query = {
        "app_label": "devilry_deliveries",
        "model_name": "delivery",
        "field_name": "assignment_group",
    }
    for term, count in (("a", 1), ("a\0", 0), ("\0", 0)):
        answer = browser.get(reverse("admin:autocomplete"), {**query, "term": term}).json()
        assert len(answer["results"]) == count


@pytest.mark.usefixtures("two_matches")
def test_partial_autocompletion_has_first_matches(browser: Client) -> None:
    """A short text finds some of the groups."""
    groups = [AssignmentGroup.objects.create(name=f"Team {number}") for number in range(5)]
    query = {
        "app_label": "devilry_deliveries",
        "model_name": "delivery",
        "field_name": "assignment_group",
    }
    answer = browser.get(reverse("admin:autocomplete"), {**query, "term": "team"}).json()
    wanted = [str(groups[number].pk) for number in (4, 3, 1, 0)]
    assert [result["id"] for result in answer["results"]] == wanted


# -- Filters --


def send(page: Page, name: str, value: str) -> Page:
    """Submit the form of the filter that has this field."""
    (form,) = (
        form
        for details in page.root.find("details", class_="devilry-filter")
        for form in details.find("form", method="get")
        if any(field.attributes["type"] != "hidden" for field in form.find("input", name=name))
    )
    values = {
        field.attributes["name"]: field.attributes.get("value", "")
        for field in form.find("input")
        if "name" in field.attributes
    }
    answer = page.client.get(urlsplit(page.url).path, {**values, name: value}, follow=True)
    last = answer.request["PATH_INFO"] + "?" + answer.request["QUERY_STRING"]
    return Page(page.client, answer, last)


def links(page: Page, title: str) -> dict[str, str]:
    """Return the choices of a filter with their query strings."""
    (details,) = page.root.find("details", **{"data-filter-title": title})
    return {link.text: link.attributes["href"] for link in details.find("a")}


def days_ago(delivery: Delivery, days: int) -> None:
    time = timezone.localtime().replace(hour=12) - timedelta(days=days)
    Delivery.objects.filter(pk=delivery.pk).update(time_of_delivery=time)


def test_period_filter_includes_first_and_last_day(
    browser: Client, group: AssignmentGroup
) -> None:
    """Each of the two days can be omitted."""
    made = deliveries(4, group)
    for number, delivery in enumerate(made):
        days_ago(delivery, number)
    today = timezone.localdate()
    day = {f"{number}": str(today - timedelta(days=number)) for number in range(4)}
    field = "time_of_delivery"
    both = {f"{field}__since": day["2"], f"{field}__until": day["1"]}
    assert listed(browser, **both) == [made[1].pk, made[2].pk]
    assert listed(browser, **{f"{field}__since": day["1"]}) == [made[0].pk, made[1].pk]
    assert listed(browser, **{f"{field}__until": day["2"]}) == [made[2].pk, made[3].pk]
    page = send(Page.get(browser, url_for(Delivery)), f"{field}__since", day["0"])
    assert len(page.rows()) == 1
    assert links(page, "time of delivery")["Any date"] == "?"


def test_form_of_a_filter_keeps_other_filters(browser: Client, group: AssignmentGroup) -> None:
    """It also keeps the search, but not the page."""
    deliveries(1, group)
    url = f"{url_for(Delivery)}?q=the&successful__exact=0&p=1&time_of_delivery__until=2000-01-01"
    page = send(Page.get(browser, url), "time_of_delivery__until", "2999-01-01")
    assert len(page.rows()) == 1
    sent = dict(parse_qsl(urlsplit(page.url).query))
    assert sent == {"q": "the", "successful__exact": "0", "time_of_delivery__until": "2999-01-01"}


@pytest.mark.parametrize("bad", ["yesterday", "2026-02-30", "9999-12-31", "\0"])
def test_invalid_date_is_reported(bad: str, browser: Client) -> None:
    """Django's list shows an error for an invalid query string."""
    answer = browser.get(url_for(Delivery), {"time_of_delivery__until": bad})
    assert answer["Location"] == f"{url_for(Delivery)}?e=1"


@pytest.mark.parametrize("name", ["assignment_group__search", "q", "successful__exact"])
def test_parameters_in_forms_of_filters_are_escaped(name: str, browser: Client) -> None:
    """A URL can have any text."""
    text = '"><script>alert(1)</script>'
    page = Page.get(browser, f"{url_for(Delivery)}?{urlencode({name: text})}")
    assert page.status == 200
    assert "<script>alert" not in page.html


def test_groups_of_a_filter_are_searched(browser: Client) -> None:
    """The filter lists groups only after a search."""
    team, other = (AssignmentGroup.objects.create(name=name) for name in ("Team 1", "Other"))
    (mine,) = deliveries(1, team)
    deliveries(1, other)
    page = Page.get(browser, url_for(Delivery))
    title = "assignment group"
    assert links(page, title).keys() == {"All"}
    page = send(page, "assignment_group__search", "team")
    assert links(page, title).keys() == {"All", "Team 1"}
    page = Page.get(browser, url_for(Delivery) + links(page, title)["Team 1"])
    assert [f"Delivery {mine.pk}" in row for row in page.rows()] == [True]
    selected = [item.text for item in page.root.find("li", class_="selected")]
    assert "Team 1" in selected
    assert links(page, title)["All"] == "?"
    page = send(page, "assignment_group__search", "unknown")
    assert "No matches were found." in page.text
    assert len(page.rows()) == 2


def test_filter_lists_first_of_many_groups(browser: Client) -> None:
    """A note says that there are others."""
    AssignmentGroup.objects.bulk_create(AssignmentGroup(name=f"Team {n}") for n in range(21))
    page = send(Page.get(browser, url_for(Delivery)), "assignment_group__search", "team")
    assert len(links(page, "assignment group")) == 1 + 20
    assert "More matches exist: refine your search." in page.text


@isolate_apps("tests.testapp")
def test_filter_by_reference_to_another_column(rf: RequestFactory) -> None:
    """The value need not be an id."""

    class Team(models.Model):
        code = models.CharField(max_length=9, unique=True)

        class Meta:
            app_label = "testapp"

    class Task(models.Model):
        team = models.ForeignKey(Team, models.CASCADE, to_field="code")

        class Meta:
            app_label = "testapp"

    field = Task._meta.get_field("team")
    admin = ModelAdmin(Task, AdminSite())
    sent = {"team__code__exact": ["INF1000"] if django.VERSION >= (5, 0) else "INF1000"}
    found = ReferenceFilter(field, rf.get("/"), sent, Task, admin, "team")
    assert found.chosen == "INF1000"


def test_numeric_login_names_are_not_searched(
    browser: Client, group: AssignmentGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other searches still work."""
    monkeypatch.setattr(get_user_model(), "USERNAME_FIELD", "id")
    delivery = Delivery.begin(group)
    delivery.add_file("essay.txt", b"")
    assert listed(browser, q="ess") == [delivery.pk]


@pytest.mark.parametrize("bad", ["abc", "9" * 30, "\0", ""])
def test_invalid_group_in_url_is_handled(bad: str, browser: Client) -> None:
    """The response is a page or a redirect."""
    answer = browser.get(url_for(Delivery), {"assignment_group__id__exact": bad})
    assert answer.status_code in {200, 302}


def test_filter_without_permission_has_no_search(group: AssignmentGroup) -> None:
    """Links with a group's id still work."""
    user = make_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_delivery"))
    browser = Client()
    browser.force_login(user)
    (mine,) = deliveries(1, group)
    deliveries(1, AssignmentGroup.objects.create(name="another"))
    page = Page.get(browser, f"{url_for(Delivery)}?assignment_group__search=an")
    assert not list(page.root.find("details", **{"data-filter-title": "assignment group"}))
    assert listed(browser, assignment_group__id__exact=str(group.pk)) == [mine.pk]


@pytest.mark.parametrize("bad", ["abc", "9" * 30, "\0", ""])
def test_invalid_group_without_permission_is_handled(bad: str, group: AssignmentGroup) -> None:
    """The response is a page or a redirect."""
    user = make_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_delivery"))
    browser = Client()
    browser.force_login(user)
    answer = browser.get(url_for(Delivery), {"assignment_group__id__exact": bad})
    assert answer.status_code in {200, 302}


def test_group_links_to_its_deliveries(browser: Client, group: AssignmentGroup) -> None:
    """The link on its page filters the list."""
    deliveries(2, group)
    deliveries(1, AssignmentGroup.objects.create(name="another"))
    url = reverse("admin:devilry_deliveries_assignmentgroup_change", args=[group.pk])
    (link,) = (a for a in Page.get(browser, url).root.find("a") if "of this group" in a.text)
    assert len(Page.get(browser, link.attributes["href"]).rows()) == 2


# -- Queries --


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?p=2",
        "?q=main",
        "?q=user",
        "?q=Team",
        "?q=1",
        "?successful__exact=0",
        "?time_of_delivery__since=2000-01-01",
        "?assignment_group__search=team",
        "?o=7",
    ],
)
@pytest.mark.usefixtures("two_matches")
def test_queries_of_a_list_do_not_depend_on_the_table(
    query: str, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow proofs use millions of rows."""
    monkeypatch.setattr(DeliveryAdmin, "list_per_page", 4)

    def add(count: int) -> None:
        for _ in range(count):
            number = AssignmentGroup.objects.count()
            group = AssignmentGroup.objects.create(name=f"Team {number:04}")
            delivery = Delivery.begin(group, make_user(f"user{number:04}"))
            FileMeta.objects.create(delivery=delivery, filename="main.py")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert browser.get(url_for(Delivery) + query).status_code == 200
        return len(captured)

    add(6)
    queries()
    before = queries()
    add(9)
    assert queries() == before
