"""visible_to(): the rows that a user may see."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission
from django.db import models
from django.test.utils import isolate_apps

from devilry_storage.deliveries.models import AssignmentGroup, Delivery, FileMeta
from devilry_storage.models import AbstractDelivery
from tests.harness.users import make_superuser, make_user
from tests.testapp.models import Course, MarkedFile, Note, Paper, ProxyFile
from tests.testapp.stores import FailingStore, Source

pytest_plugins = ["tests.testapp.fixtures"]
pytestmark = pytest.mark.django_db

MODELS = (Delivery, FileMeta)


@pytest.fixture
def candidate() -> Any:
    return make_user("candidate")


@pytest.fixture
def examiner() -> Any:
    return make_user("examiner")


@pytest.fixture
def deliveries(store: FailingStore, candidate: Any, examiner: Any) -> dict[str, Delivery]:
    """Return two groups' finished and unfinished deliveries, with one file per delivery."""
    deliveries = {}
    for name in ("mine", "theirs"):
        group = AssignmentGroup.objects.create(name=name)
        if name == "mine":
            group.candidates.add(candidate)
            group.examiners.add(examiner)
        for state in ("finished", "unfinished"):
            deliveries[f"{name}, {state}"] = delivery = Delivery.begin(group)
            delivery.add_file("a.txt", b"data")
            if state == "finished":
                delivery.finish()
    return deliveries


def seen(deliveries: dict[str, Delivery], user: Any) -> set[str]:
    """Return the deliveries that a user sees; those of the files must be the same."""
    by_model = []
    for model in MODELS:
        rows = model.objects.visible_to(user)
        ids = [row.pk if model is Delivery else row.delivery_id for row in rows]
        assert len(ids) == len(set(ids)), "a row is seen once"
        by_model.append({name for name, shown in deliveries.items() if shown.pk in ids})
    assert by_model[0] == by_model[1]
    return by_model[0]


MINE, THEIRS = {"mine, finished", "mine, unfinished"}, {"theirs, finished", "theirs, unfinished"}


def permit(user: Any, *models: Any, action: str = "view") -> Any:
    for model in models:
        codename = f"{action}_{model._meta.model_name}"
        user.user_permissions.add(Permission.objects.get(codename=codename))
    return type(user).objects.get(pk=user.pk)  # permissions are cached


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ({"candidates": "mine"}, MINE),
        ({"examiners": "mine"}, {"mine, finished"}),
        ({"candidates": "mine", "examiners": "theirs"}, {*MINE, "theirs, finished"}),
        ({"candidates": "mine", "examiners": "mine"}, MINE),
        ({}, set()),
    ],
)
def test_rows_depend_on_the_roles_in_the_groups(
    deliveries: Any, roles: dict[str, str], expected: set[str]
) -> None:
    """Having delivered counts for nothing."""
    user = make_user("user")
    Delivery.objects.update(delivered_by=user)
    for role, name in roles.items():
        getattr(AssignmentGroup.objects.get(name=name), role).add(user)
    assert seen(deliveries, user) == expected


def test_anonymous_users_see_nothing(deliveries: Any) -> None:
    assert seen(deliveries, AnonymousUser()) == set()


def test_users_with_the_view_permission_see_all_rows(deliveries: Any) -> None:
    """Of that model only."""
    user = make_user("staff", is_staff=True)
    assert seen(deliveries, user) == set()
    user = permit(user, *MODELS, action="change")
    assert seen(deliveries, user) == set()
    user = permit(user, FileMeta)
    assert FileMeta.objects.visible_to(user).count() == 4
    assert not Delivery.objects.visible_to(user).exists()
    assert seen(deliveries, permit(user, Delivery)) == MINE | THEIRS


def test_superusers_see_all_rows(deliveries: Any) -> None:
    assert seen(deliveries, make_superuser()) == MINE | THEIRS


def test_inactive_users_see_nothing(deliveries: Any, candidate: Any, examiner: Any) -> None:
    """Candidates, examiners, staff and superusers."""
    staff = permit(make_user("staff", is_staff=True), *MODELS)
    for user in (candidate, examiner, staff, make_superuser()):
        user.is_active = False
        user.save()
        assert seen(deliveries, type(user).objects.get(pk=user.pk)) == set()


def test_visible_to_is_a_queryset_method(deliveries: Any, candidate: Any) -> None:
    """It can be filtered before and after."""
    rows = FileMeta.objects.filter(delivery__successful=True).visible_to(candidate)
    assert [row.delivery for row in rows] == [deliveries["mine, finished"]]
    assert rows.filter(filename="a.txt").count() == 1
    group = deliveries["mine, finished"].assignment_group
    assert group.deliveries.visible_to(candidate).count() == 2
    theirs = deliveries["theirs, finished"]
    assert not theirs.filemetas.visible_to(candidate).exists()


def test_visible_to_sends_one_query(
    deliveries: Any, examiner: Any, django_assert_num_queries: Any
) -> None:
    """For any number of groups."""
    examiner.get_all_permissions()
    with django_assert_num_queries(1):
        list(FileMeta.objects.visible_to(examiner))


def test_proxy_and_child_have_their_own_permissions(
    deliveries: Any, candidate: Any, examiner: Any
) -> None:
    assert ProxyFile.objects.visible_to(candidate).count() == 2
    MarkedFile.objects.create(
        delivery=deliveries["mine, unfinished"], filename="b.txt", content=Source(b"b")
    )
    assert MarkedFile.objects.visible_to(candidate).count() == 1
    assert MarkedFile.objects.visible_to(examiner).count() == 0
    staff = permit(make_user("staff"), MarkedFile)
    assert MarkedFile.objects.visible_to(staff).count() == 1
    assert FileMeta.objects.visible_to(staff).count() == 0


@isolate_apps("tests.testapp")
def test_group_model_without_candidates_needs_the_permission(candidate: Any) -> None:
    class Team(models.Model):
        class Meta:
            app_label = "testapp"

    class HandIn(AbstractDelivery):
        assignment_group = models.ForeignKey(Team, models.CASCADE)

        class Meta:
            app_label = "testapp"

    assert list(HandIn.objects.visible_to(candidate)) == []


def test_model_without_groups_needs_the_permission(store: FailingStore, candidate: Any) -> None:
    course = Course.objects.create(title="course")
    Paper.objects.create(delivery=course, filename="a.txt", content=Source(b"a"), title="page")
    Note.objects.create(filename="a.txt", content=Source(b"a"))
    for model in (Paper, Note):
        for user in (candidate, AnonymousUser()):
            assert not model.objects.visible_to(user).exists()
        assert model.objects.visible_to(make_superuser(f"root-{model.__name__}")).count() == 1
        staff = permit(make_user(f"staff-{model.__name__}"), model)
        assert model.objects.visible_to(staff).count() == 1
