"""Users of the demo: an administrator, students in groups and an examiner."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User

from devilry_storage.deliveries.models import AssignmentGroup

ADMIN = "admin"
STUDENT = "anna"
EXAMINER = "eva"
GROUPS = {
    "Anna and Bjarne": [STUDENT, "bjarne"],
    "Chandra": ["chandra"],
    "Dagny, Emre and Fatima": ["dagny", "emre", "fatima"],
}

#: Users to log in as, with a description.
LOGINS = {STUDENT: "a student", EXAMINER: "examines all groups", ADMIN: "uses the admin"}


@dataclass(frozen=True)
class People:
    """Users and groups. All users have the same ``password``."""

    password: str
    students: list[User]
    groups: list[AssignmentGroup]


def create() -> People:
    """Create users and groups in an empty database."""
    password = secrets.token_urlsafe(9)
    # Hashed only once, because hashing is slow.
    hashed = make_password(password)
    User.objects.create(username=ADMIN, password=hashed, is_staff=True, is_superuser=True)
    examiner = User.objects.create(username=EXAMINER, password=hashed)
    students, groups = [], []
    for name, members in GROUPS.items():
        group = AssignmentGroup.objects.create(name=name)
        group.examiners.add(examiner)
        candidates = [User.objects.create(username=member, password=hashed) for member in members]
        group.candidates.set(candidates)
        students += candidates
        groups.append(group)
    return People(password, students, groups)
