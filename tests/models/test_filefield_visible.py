"""visible_to(): who may see which rows."""

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
    """Two groups, each with a finished and an unfinished delivery, each of these with a file."""
    made = {}
    for name in ("mine", "theirs"):
        group = AssignmentGroup.objects.create(name=name)
        if name == "mine":
            group.candidates.add(candidate)
            group.examiners.add(examiner)
        for state in ("finished", "unfinished"):
            made[f"{name}, {state}"] = delivery = Delivery.begin(group)
            delivery.add_file("a.txt", b"data")
            if state == "finished":
                delivery.finish()
    return made


def seen(deliveries: dict[str, Delivery], user: Any) -> set[str]:
    """Return what a user sees, which is the same of deliveries and of files."""
    by_model = []
    for model in MODELS:
        rows = model.objects.visible_to(user)
        ids = [row.pk if model is Delivery else row.delivery_id for row in rows]
        assert len(ids) == len(set(ids)), "a row is seen once"
        by_model.append({name for name, each in deliveries.items() if each.pk in ids})
    assert by_model[0] == by_model[1]
    return by_model[0]


MINE, THEIRS = {"mine, finished", "mine, unfinished"}, {"theirs, finished", "theirs, unfinished"}


def permit(user: Any, *models: Any, action: str = "view") -> Any:
    for model in models:
        codename = f"{action}_{model._meta.model_name}"
        user.user_permissions.add(Permission.objects.get(codename=codename))
    return type(user).objects.get(pk=user.pk)  # permissions are cached


def test_candidates_see_the_deliveries_of_their_groups(deliveries: Any, candidate: Any) -> None:
    """Finished or not."""
    assert seen(deliveries, candidate) == MINE


def test_examiners_see_what_is_finished(deliveries: Any, examiner: Any) -> None:
    """Of their own groups."""
    assert seen(deliveries, examiner) == {"mine, finished"}


def test_candidate_and_examiner_of_different_groups(deliveries: Any, candidate: Any) -> None:
    """Each group counts for itself."""
    deliveries["theirs, finished"].assignment_group.examiners.add(candidate)
    assert seen(deliveries, candidate) == MINE | {"theirs, finished"}


def test_candidate_and_examiner_of_one_group(deliveries: Any, candidate: Any) -> None:
    """Sees all of it, each row once."""
    deliveries["mine, finished"].assignment_group.examiners.add(candidate)
    assert seen(deliveries, candidate) == MINE


def test_others_see_nothing(deliveries: Any) -> None:
    """Whoever is signed in and unrelated; whoever delivered, but left the group."""
    unrelated = make_user("unrelated")
    assert seen(deliveries, unrelated) == set()
    Delivery.objects.update(delivered_by=unrelated)
    assert seen(deliveries, unrelated) == set()


def test_anonymous_users_see_nothing(deliveries: Any) -> None:
    """Nobody in particular."""
    assert seen(deliveries, AnonymousUser()) == set()


def test_holders_of_the_permission_see_all(deliveries: Any) -> None:
    """The permission to view that model, not another one."""
    user = make_user("staff", is_staff=True)
    assert seen(deliveries, user) == set()
    user = permit(user, *MODELS, action="change")
    assert seen(deliveries, user) == set()
    user = permit(user, FileMeta)
    assert FileMeta.objects.visible_to(user).count() == 4
    assert not Delivery.objects.visible_to(user).exists()
    assert seen(deliveries, permit(user, Delivery)) == MINE | THEIRS


def test_superusers_see_all(deliveries: Any) -> None:
    """As everywhere in Django."""
    assert seen(deliveries, make_superuser()) == MINE | THEIRS


def test_inactive_users_see_nothing(deliveries: Any, candidate: Any, examiner: Any) -> None:
    """Whatever they were: candidate, examiner, staff, superuser."""
    staff = permit(make_user("staff", is_staff=True), *MODELS)
    for user in (candidate, examiner, staff, make_superuser()):
        user.is_active = False
        user.save()
        assert seen(deliveries, type(user).objects.get(pk=user.pk)) == set()


def test_it_is_a_queryset(deliveries: Any, candidate: Any) -> None:
    """It narrows what was asked for, and can be narrowed, counted and sliced."""
    rows = FileMeta.objects.filter(delivery__successful=True).visible_to(candidate)
    assert [row.delivery for row in rows] == [deliveries["mine, finished"]]
    assert rows.filter(filename="a.txt").count() == 1
    group = deliveries["mine, finished"].assignment_group
    assert group.deliveries.visible_to(candidate).count() == 2
    theirs = deliveries["theirs, finished"]
    assert not theirs.filemetas.visible_to(candidate).exists()


def test_one_query(deliveries: Any, examiner: Any, django_assert_num_queries: Any) -> None:
    """Permissions once, rows once, however many groups there are."""
    examiner.get_all_permissions()
    with django_assert_num_queries(1):
        list(FileMeta.objects.visible_to(examiner))


def test_proxy_and_child(deliveries: Any, candidate: Any, examiner: Any) -> None:
    """They are files of deliveries; the permission is that of the model that is asked."""
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
def test_groups_without_candidates(candidate: Any) -> None:
    """Where a group has no candidates or examiners, only the permission counts."""

    class Team(models.Model):
        class Meta:
            app_label = "testapp"

    class HandIn(AbstractDelivery):
        assignment_group = models.ForeignKey(Team, models.CASCADE)

        class Meta:
            app_label = "testapp"

    assert list(HandIn.objects.visible_to(candidate)) == []


def test_models_without_groups(store: FailingStore, candidate: Any) -> None:
    """Rows go to holders of the permission only."""
    course = Course.objects.create(title="course")
    Paper.objects.create(delivery=course, filename="a.txt", content=Source(b"a"), title="page")
    Note.objects.create(filename="a.txt", content=Source(b"a"))
    for model in (Paper, Note):
        for user in (candidate, AnonymousUser()):
            assert not model.objects.visible_to(user).exists()
        assert model.objects.visible_to(make_superuser(f"root-{model.__name__}")).count() == 1
        staff = permit(make_user(f"staff-{model.__name__}"), model)
        assert model.objects.visible_to(staff).count() == 1
