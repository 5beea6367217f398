"""Identity of stores in commands, checks and the admin."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command

from devilry_storage.checks.stores import check_identity, check_recognised
from devilry_storage.deliveries.models import FileMeta
from devilry_storage.identity.marks import note_site, read_sites
from devilry_storage.models import StoreMark
from devilry_storage.storages import DeliveryStoreMixin
from devilry_storage.testing import override_deliverystore

from ..admin.pages import Page, staff
from ..harness.identity import (
    PRODUCTION,
    STAGING,
    entry_of,
    mark_uuid,
    own,
    site,
    sites,
    stored_in,
)
from ..harness.purging import delivered

pytestmark = pytest.mark.django_db(transaction=True)


STORE_PAGE = "/admin/devilry_storage/storebrowser/devilry_deliveries.filemeta/"


class Bare(DeliveryStoreMixin, FileSystemStorage):
    """A store class of a site, which has no mark."""


@pytest.fixture
def entry(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The entry of a store on disk in which production has stored a file."""
    made = entry_of("disk", tmp_path)
    with stored_in(made):
        with site(PRODUCTION):
            delivered(a=b"1")
        yield made


def _shown(**options: Any) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    options.setdefault("store", "deliveries")
    try:
        call_command("deliverystore_identity", stdout=out, stderr=err, **options)
    except CommandError as error:
        err.write(str(error))
    return out.getvalue(), err.getvalue()


def test_command_shows_mark_sites_and_permission(entry: dict[str, Any]) -> None:
    with site(PRODUCTION):
        out, err = _shown()
    assert err == ""
    assert "devilry_deliveries.FileMeta" in out
    assert f"location    {entry['OPTIONS']['location']}" in out
    assert f"mark        {mark_uuid()}, made {datetime.now(timezone.utc):%Y-%m-%d}" in out
    assert f"remembered  {mark_uuid()}" in out
    assert "last removed files: never (this site)" in out
    assert "removing    allowed" in out


def test_command_shows_why_another_site_may_not_remove(entry: dict[str, Any]) -> None:
    with site(STAGING):
        out, err = _shown()
    assert err == ""
    assert "(this site)" not in out
    assert "removing    refused: The store 'deliveries'" in out
    assert "--accept --store deliveries" in out


def test_command_writes_nothing_unless_it_accepts(tmp_path: Path) -> None:
    with stored_in(entry_of("disk", tmp_path)), site():
        out, err = _shown()
        assert err == ""
        assert "mark        missing" in out
        assert "remembered  nothing" in out
        assert (mark_uuid(), StoreMark.objects.count()) == (None, 0)


def test_command_does_not_make_a_mark(tmp_path: Path) -> None:
    """A save would make one."""
    entry = entry_of("disk", tmp_path)
    with stored_in({**entry, "OPTIONS": {**entry["OPTIONS"], "identity": False}}), site():
        delivered(a=b"1")
    with stored_in(entry), site():
        out, err = _shown()
        assert err == ""
        assert "removing    allowed" in out
        assert (mark_uuid(), StoreMark.objects.count()) == (None, 0)


def test_command_accepts_this_site(entry: dict[str, Any]) -> None:
    with site(STAGING):
        out, err = _shown(accept=True)
        assert err == ""
        assert f"deliveries: accepted the mark '{mark_uuid()}'" in out
        assert "accepted    " in out
        assert out.count("site        ") == 2
        assert "removing    allowed" in out
    assert sites() == 2


def test_command_refuses_to_accept_while_another_site_removes(entry: dict[str, Any]) -> None:
    (known,) = read_sites(own())
    note_site(own(), known.digest, datetime.now(timezone.utc))
    with site(STAGING):
        _out, err = _shown(accept=True)
        assert "is in use" in err
        assert "--accept --force" in err
        assert sites() == 1
        out, err = _shown(accept=True, force=True)
        assert (err, sites()) == ("", 2)
        assert "removing    allowed" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [({"store": "unknown"}, "No store 'unknown'"), ({"force": True}, "--force is for --accept")],
)
def test_command_reports_invalid_options(
    options: dict[str, Any], words: str, entry: dict[str, Any]
) -> None:
    assert words in _shown(**options)[1]


def test_command_reports_an_invalid_mark(entry: dict[str, Any]) -> None:
    own().replace("store.json", b"invalid")
    out, err = _shown(accept=True)
    assert out == ""
    assert "'.devilry-storage/store.json' cannot be used" in err


def test_command_shows_all_stores(entry: dict[str, Any]) -> None:
    out, err = _shown(store=None)
    assert err == ""
    assert "alias       deliveries" in out
    assert "alias       testapp.note" in out


# -- deliverystore_info --


def test_probe_shows_the_mark_and_whether_the_site_removes(entry: dict[str, Any]) -> None:
    out = StringIO()
    with site(PRODUCTION):
        call_command("deliverystore_info", probe=True, stdout=out)
    assert f"yes  the store is recognised by the mark '{mark_uuid()}'" in out.getvalue()
    assert "yes  this site may remove files" in out.getvalue()


def test_probe_fails_if_the_site_may_not_remove(entry: dict[str, Any]) -> None:
    out = StringIO()
    with site(STAGING), pytest.raises(CommandError):
        call_command("deliverystore_info", probe=True, stdout=out)
    assert "no   this site may remove files (The store 'deliveries'" in out.getvalue()


# -- Checks --


def _of_filemeta(messages: list[CheckMessage]) -> list[CheckMessage]:
    return [message for message in messages if message.obj is FileMeta]


def test_store_with_identity_has_no_warning(entry: dict[str, Any]) -> None:
    with site(PRODUCTION):
        assert _of_filemeta(check_identity()) == []
        assert check_recognised(databases=["default"]) == []


def test_store_without_the_option_is_a_warning(entry: dict[str, Any]) -> None:
    with stored_in({**entry, "OPTIONS": {**entry["OPTIONS"], "identity": False}}):
        (message,) = _of_filemeta(check_identity())
    assert message.id == "devilry_storage.W013"
    assert "has no identity" in message.msg
    assert "identity=False" in str(message.hint)


def test_bare_store_is_a_warning(tmp_path: Path) -> None:
    with override_deliverystore(Bare(location=str(tmp_path)), model=FileMeta):
        (message,) = _of_filemeta(check_identity())
    assert message.id == "devilry_storage.W013"


def test_unknown_site_is_a_warning(entry: dict[str, Any]) -> None:
    with site(STAGING):
        (message,) = check_recognised(databases=["default"])
        assert check_recognised(databases=None) == []
    assert message.id == "devilry_storage.W014"
    assert "does not know this site" in message.msg


def test_new_site_has_no_warning(tmp_path: Path) -> None:
    with stored_in(entry_of("disk", tmp_path)), site():
        assert check_recognised(databases=["default"]) == []
        assert mark_uuid() is None


# -- The admin --


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (PRODUCTION, "This site may remove files."),
        (STAGING, "This site may not remove files: The store 'deliveries'"),
    ],
)
def test_page_of_the_store_shows_its_identity(key: str, words: str, entry: dict[str, Any]) -> None:
    with site(key):
        page = Page.get(staff("browse_store"), STORE_PAGE)
    assert f"Identity: {mark_uuid()}." in page.text
    assert words in page.text


def test_remembered_mark_is_shown_by_alias_and_uuid() -> None:
    known = uuid.uuid4()
    assert str(StoreMark(alias="deliveries", uuid=known)) == f"deliveries: {known}"
