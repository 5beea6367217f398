"""The people of the demo: an admin, students in groups, an examiner."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from django.contrib.auth.models import User

from devilry_storage.deliveries.models import AssignmentGroup

ADMIN = "admin"
EXAMINER = "eva"
GROUPS = {
    "Anna and Bjarne": ["anna", "bjarne"],
    "Chandra": ["chandra"],
    "Dagny, Emre and Fatima": ["dagny", "emre", "fatima"],
}


@dataclass(frozen=True)
class People:
    """Who is there; the admin alone can log in, with ``password``."""

    password: str
    students: list[User]
    groups: list[AssignmentGroup]


def create() -> People:
    """Create users and groups in an empty database."""
    password = secrets.token_urlsafe(9)
    User.objects.create_superuser(ADMIN, password=password)
    examiner = User.objects.create_user(EXAMINER)
    students, groups = [], []
    for name, members in GROUPS.items():
        group = AssignmentGroup.objects.create(name=name)
        group.examiners.add(examiner)
        candidates = [User.objects.create_user(member) for member in members]
        group.candidates.set(candidates)
        students += candidates
        groups.append(group)
    return People(password, students, groups)
