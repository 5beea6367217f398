"""Forms, formsets and widgets of the pages of deliveries and files."""

import unicodedata
from collections.abc import Sequence
from itertools import chain
from typing import Any

from django import forms
from django.contrib.admin.widgets import (
    AutocompleteMixin,
    AutocompleteSelect,
    AutocompleteSelectMultiple,
    ForeignKeyRawIdWidget,
)
from django.core.exceptions import ValidationError
from django.db import models
from django.forms.models import InlineForeignKeyField
from django.utils.translation import gettext as _

from ..views.base import parse_value
from .utils import NotSaved


class _RelatedSelectMixin(AutocompleteMixin):
    """Skip invalid ids when the form is shown again; Django's widgets raise for them.

    The URL of the page may contain any id. Rows that are not in ``viewable`` are shown as ids.
    """

    viewable: models.QuerySet[Any]

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> Any:
        remote = self.field.remote_field
        # A foreign key may refer to another field than the primary key.
        target_name = getattr(remote, "field_name", remote.model._meta.pk.name)
        target = remote.model._meta.get_field(target_name)
        valid = [text for text in value if parse_value(target, text) is not None]
        groups = super().optgroups(name, valid, attr)
        named = self.viewable.filter(**{f"{target_name}__in": valid}) if valid else ()
        shown = {getattr(row, target.attname) for row in named}
        for option in chain.from_iterable(options for _name, options, _index in groups):
            if option["value"] not in {"", *shown}:
                option["label"] = option["value"]
        return groups


class RelatedSelect(_RelatedSelectMixin, AutocompleteSelect):
    """Select one related row, with autocompletion."""


class RelatedMultipleSelect(_RelatedSelectMixin, AutocompleteSelectMultiple):
    """Select related rows, with autocompletion."""


class RelatedId(ForeignKeyRawIdWidget):
    """Type in the id of a related row. Its name is shown if the row is in ``viewable``."""

    viewable: models.QuerySet[Any]

    def label_and_url_for_value(self, value: Any) -> tuple[str, str]:
        target = self.rel.get_related_field()
        if parse_value(target, value) is None:
            return "", ""
        is_viewable = self.viewable.filter(**{target.name: value}).exists()
        return super().label_and_url_for_value(value) if is_viewable else ("", "")


class FileMetaForm(forms.ModelForm):  # type: ignore[type-arg]
    """A new file of any subclass of AbstractFileMeta, with ``filename`` and ``content``.

    Without a filename the uploaded file's name is used, also when uniqueness is checked.
    """

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        upload = cleaned.get("content")
        if upload and "filename" not in self.errors:
            filename = cleaned.get("filename") or upload.name
            cleaned["filename"] = unicodedata.normalize("NFC", filename)
        return cleaned

    def validate_unique(self) -> None:
        super().validate_unique()
        # Up to 5.2, Django skips constraints with the foreign key of an inline.
        inline = any(isinstance(field, InlineForeignKeyField) for field in self.fields.values())
        if inline and not hasattr(forms.ModelForm, "validate_constraints"):
            validated = self.fields.keys() - self.errors.keys()
            names = {field.name for field in self.instance._meta.concrete_fields}
            try:
                self.instance.validate_constraints(exclude=names - validated)
            except ValidationError as exception:
                shown = {message for errors in self.errors.values() for message in errors}
                self.add_error(None, [text for text in exception.messages if text not in shown])


class StoredFormSet(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    """The stored files of a row. They can be deleted, but not changed."""

    #: The maximum number of files to show. Each one needs two of the fields that Django allows
    #: (``DATA_UPLOAD_MAX_NUMBER_FIELDS``).
    max_shown = 100

    @classmethod
    def get_default_prefix(cls) -> str:
        # The formset of the new files has the plain prefix.
        return f"stored-{super().get_default_prefix()}"

    def get_queryset(self) -> Any:
        if not hasattr(self, "_queryset"):
            self._queryset = super().get_queryset()[: self.max_shown]
        return self._queryset

    def clean(self) -> None:
        super().clean()
        # If the page were shown again, checkboxes could end up beside other files.
        if any(form.instance.pk is None for form in self.initial_forms):
            raise NotSaved(_("a file on this page was deleted in the meantime"))
