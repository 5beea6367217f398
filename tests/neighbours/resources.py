"""Rows of files for django-import-export."""

from __future__ import annotations

from import_export import resources
from import_export.fields import Field

from .models import ImportedFile


class AllColumns(resources.ModelResource):
    """All columns, as the package chooses them."""

    class Meta:
        model = ImportedFile


class Filenames(resources.ModelResource):
    """Name and size of the stored file are exported and never imported."""

    content = Field(attribute="content", column_name="content", readonly=True)
    size = Field(attribute="size", column_name="size", readonly=True)

    class Meta:
        model = ImportedFile
        fields = ("id", "delivery", "filename", "content", "size")
