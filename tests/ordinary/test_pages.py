"""URLs of files in the admin, forms, templates and APIs, with and without the views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django import forms
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage, storages
from django.template import Context, Template

from devilry_storage.exceptions import NoURL
from devilry_storage.storages import DeliveryStoreMixin, FsHierDeliveryStore
from devilry_storage.testing import MemoryDeliveryStore

from .conftest import badges_in_admin
from .models import Badge, Report

pytestmark = pytest.mark.django_db


@pytest.fixture
def badge(store: DeliveryStoreMixin) -> Any:
    name = store.save("badges/a b#1.png", ContentFile(b"no image"))
    return Badge.objects.create(image=name, width=1, height=1)


@pytest.fixture
def admin_pages(badge: Any, client_with: Any) -> Iterator[Any]:
    """Return a function that gets the list and the page of the badge from the admin."""

    def get(*codenames: str) -> list[str]:
        client = client_with(*codenames, is_staff=True)
        pages = ("", f"{badge.pk}/change/")
        responses = [client.get(f"/admin/ordinary/badge/{page}") for page in pages]
        assert [response.status_code for response in responses] == [200, 200]
        return [response.content.decode() for response in responses]

    with badges_in_admin():
        yield get


def test_pages_of_the_admin_have_links(admin_pages: Any, badge: Any) -> None:
    """The list, the form, and the page that users without the permission to change get."""
    link = f'href="{badge.image.url}"'
    assert badge.image.url == "/files/s/files/badges/a%20b%231.png"
    for codenames in (("view_badge",), ("view_badge", "change_badge")):
        for page in admin_pages(*codenames):
            assert link in page


class BadgeForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Badge
        fields = ("image",)


TEMPLATE = Template("<{{ badge.image.url }}>")


def test_forms_and_templates_show_urls(badge: Any) -> None:
    assert f'href="{badge.image.url}"' in BadgeForm(instance=badge).as_p()
    assert TEMPLATE.render(Context({"badge": badge})) == f"<{badge.image.url}>"


@pytest.mark.parametrize("store", ["disk", "memory"], indirect=True)
@pytest.mark.usefixtures("without_downloads")
def test_forms_and_templates_bear_missing_urls(badge: Any) -> None:
    with pytest.raises(NoURL, match=r"its store is not public\. Include devilry_storage\.urls"):
        _ = badge.image.url
    assert 'type="file"' in BadgeForm(instance=badge).as_p()
    assert TEMPLATE.render(Context({"badge": badge})) == "<>"
    assert getattr(badge.image, "url", None) is None


def test_api_has_null_for_a_missing_url(badge: Any, rf: Any, settings: Any) -> None:
    serializers = pytest.importorskip("rest_framework.serializers")
    field = serializers.FileField()
    field._context = {"request": rf.get("/api/")}
    assert field.to_representation(badge.image).endswith("/files/s/files/badges/a%20b%231.png")
    if isinstance(badge.image.storage, FsHierDeliveryStore | MemoryDeliveryStore):
        settings.ROOT_URLCONF = "tests.urls_admin"
        assert field.to_representation(badge.image) is None


def test_no_url_is_both_exceptions() -> None:
    assert issubclass(NoURL, ValueError)
    assert issubclass(NoURL, AttributeError)
    assert NoURL.silent_variable_failure


def test_public_url_is_kept(tmp_path: Any, settings: Any) -> None:
    """That of the option, or that of a location below MEDIA_ROOT."""
    options = [
        {"location": str(tmp_path), "base_url": "https://files.example.com/"},
        {"location": str(settings.MEDIA_ROOT / "public")},
    ]
    backend = "devilry_storage.storages.FsHierDeliveryStore"
    for number, option in enumerate(options):
        settings.STORAGES = {
            **settings.STORAGES,
            f"public{number}": {"BACKEND": backend, "OPTIONS": option},
        }
        store = storages[f"public{number}"]
        expected = ("https://files.example.com/a%20b", "/media/public/a%20b")[number]
        assert store.url("a b") == expected


def test_default_storage_has_urls(settings: Any) -> None:
    """By its lazy object, which fields of models have."""
    memory = {"BACKEND": "devilry_storage.testing.MemoryDeliveryStore"}
    settings.STORAGES = {**settings.STORAGES, "default": memory}
    report = Report(file="a.txt")
    assert report.file.storage is default_storage
    assert report.file.url == "/files/s/default/a.txt"


def test_default_storage_that_was_created_twice_has_urls(settings: Any) -> None:
    """Two threads may create it at the same time."""
    memory = {"BACKEND": "devilry_storage.testing.MemoryDeliveryStore"}
    settings.STORAGES = {**settings.STORAGES, "default": memory}
    first = MemoryDeliveryStore()
    default_storage.exists("a.txt")
    default_storage._wrapped = first  # type: ignore[attr-defined]
    assert first.url("a.txt") == "/files/s/default/a.txt"
    assert Report(file="a.txt").file.url == "/files/s/default/a.txt"


def test_store_without_an_alias_has_no_url(settings: Any) -> None:
    with pytest.raises(NoURL, match=r"MemoryDeliveryStore is not in STORAGES"):
        MemoryDeliveryStore().url("a.txt")
    with pytest.raises(NoURL):
        MemoryDeliveryStore().url("")
    del settings.ROOT_URLCONF  # a script without URLs
    with pytest.raises(NoURL):
        storages["files" if "files" in settings.STORAGES else "deliveries"].url("a.txt")


@pytest.mark.parametrize("store", [pytest.param("moto", marks=pytest.mark.servers)], indirect=True)
def test_urls_on_s3_are_presigned_on_request(store: Any, settings: Any) -> None:
    """With arguments, or without the view."""
    assert store.url("a b.txt") == "/files/s/files/a%20b.txt"
    assert "X-Amz-Signature" in store.url("a b.txt", expire=60)
    assert "X-Amz-Signature" in store.url("a b.txt", None)
    settings.ROOT_URLCONF = "tests.urls_admin"
    assert "X-Amz-Signature" in store.url("a b.txt")
