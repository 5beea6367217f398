"""Lines of logs: users cannot forge them, because texts that they choose are quoted."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.test import RequestFactory

from devilry_storage import forms
from devilry_storage.admin.utils import NotSaved
from devilry_storage.deliveries.models import AssignmentGroup, Delivery

PACKAGE = Path(__file__).parents[1] / "devilry_storage"
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}

#: Arguments of ``%s`` that contain no text of users: labels, names of classes, and texts of the
#: package in which the names are quoted.
PLAIN = {
    "found.name",
    "model._meta.label",
    "type(exception).__name__",
    "difference(found, Identity(mark, remembered))",
    "problem",
    "event.result",
    "what",
}

#: The repr() of a row contains its str() unquoted.
ROWS = {"assignment_group", "delivery", "row", "tombstone", "event.tombstone"}

#: The access log encodes its values in percent.
ENCODED = "serving/access_log.py"


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield each call that logs a line, with its module."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in METHODS
                and ast.unparse(node.func.value) == "logger"
            ):
                yield path.relative_to(PACKAGE).as_posix(), node


def unquoted(call: ast.Call) -> list[str]:
    """Return the arguments of a call that are logged as they are."""
    text, *arguments = call.args
    assert isinstance(text, ast.Constant), ast.unparse(call)
    kinds = re.findall("%(.)", str(text.value))
    pairs = zip(kinds, map(ast.unparse, arguments), strict=True)
    return [argument for kind, argument in pairs if kind == "s" or argument in ROWS]


def test_texts_of_users_are_quoted_in_log_lines() -> None:
    """Each line of the package, also those of later versions."""
    calls = list(log_calls())
    assert len(calls) > 20
    found = {
        (module, argument)
        for module, call in calls
        if module != ENCODED
        for argument in unquoted(call)
        if argument not in PLAIN
    }
    assert found == set()


FORGED = "x\nERROR forged\r\x1b[2K\u2028"


@pytest.mark.django_db
def test_group_name_cannot_forge_a_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form that cannot store its files logs the group."""
    group = AssignmentGroup.objects.create(name=FORGED)
    monkeypatch.setattr(forms, "_deliver", Mock(side_effect=OSError("planned")))
    form = forms.DeliveryForm()
    form.cleaned_data = {"uploads": []}
    assert form.save(group) is None
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.isprintable()


def test_path_of_a_request_cannot_forge_a_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, rf: RequestFactory
) -> None:
    """Django decodes paths, so they can contain line breaks."""
    model_admin: Any = admin.site._registry[Delivery]
    monkeypatch.setattr(model_admin, "message_user", Mock())
    model_admin._report_failure(
        Mock(side_effect=NotSaved("planned")), rf.post(f"/admin/{quote(FORGED)}/")
    )
    (line,) = [record.getMessage() for record in caplog.records]
    assert "forged" in line
    assert line.isprintable()
