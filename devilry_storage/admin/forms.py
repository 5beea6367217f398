"""The forms of a new file and of a group to choose, and the formset of the stored files."""

from __future__ import annotations

import unicodedata
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.models import InlineForeignKeyField
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .failures import NotSaved
from .references import found_in, possible_id, searchable


class FileMetaForm(forms.ModelForm):  # type: ignore[type-arg]
    """A new file of any subclass of AbstractFileMeta, with ``filename`` and ``content``.

    A filename that is left empty is the upload's, also for the check that filenames differ.
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
        # Up to 5.2, Django leaves out the constraints that name the foreign key of an inline.
        inline = any(isinstance(field, InlineForeignKeyField) for field in self.fields.values())
        if inline and not hasattr(forms.ModelForm, "validate_constraints"):
            judged = self.fields.keys() - self.errors.keys()
            names = {field.name for field in self.instance._meta.concrete_fields}
            try:
                self.instance.validate_constraints(exclude=names - judged)
            except ValidationError as exception:
                told = {message for errors in self.errors.values() for message in errors}
                self.add_error(None, [each for each in exception.messages if each not in told])


class StoredFormSet(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    """The stored files of a row, which can only be deleted."""

    #: So many are shown at the most: each takes two of the DATA_UPLOAD_MAX_NUMBER_FIELDS fields
    #: that Django accepts, and a page of thousands helps nobody.
    max_shown = 100

    @classmethod
    def get_default_prefix(cls) -> str:
        # The plain prefix is that of the new files.
        return f"stored-{super().get_default_prefix()}"

    def get_queryset(self) -> Any:
        if not hasattr(self, "_queryset"):
            self._queryset = super().get_queryset()[: self.max_shown]
        return self._queryset

    def clean(self) -> None:
        super().clean()
        # Shown again, the page would put the rows that are left beside the boxes of others.
        if any(form.instance.pk is None for form in self.initial_forms):
            raise NotSaved(_("a file that the page showed was deleted meanwhile"))


class GroupForm(forms.Form):
    """Asks for a group in two steps, without a script: a search, and a choice of what it found.

    Where groups have no admin in which the user may search, one is found by its id.
    """

    search = forms.CharField(
        label=gettext_lazy("Search for a group"),
        help_text=gettext_lazy("An id, or the beginning of the name."),
        required=False,
    )
    group: Any = forms.ModelChoiceField(
        queryset=None, label=gettext_lazy("Group"), widget=forms.RadioSelect, empty_label=None
    )

    def __init__(self, request: HttpRequest, model_admin: Any) -> None:
        asked = request.POST if {"search_groups", "copy"} & request.POST.keys() else None
        super().__init__(asked)
        field = model_admin.opts.get_field("assignment_group")
        #: What the search did not find, in words.
        self.note = ""
        found: list[Any] = []
        other = searchable(model_admin, field, request)
        rows = field.related_model._base_manager.all()
        text = self["search"].value() or ""
        if other is not None:
            rows = other.get_queryset(request)
            if text:
                found, self.note = found_in(other, request, text)
        elif possible_id(field.related_model, text) is not None:
            found = list(rows.filter(pk=text))
        chosen = possible_id(field.related_model, self["group"].value())
        pks = [*(row.pk for row in found), *([] if chosen is None else [chosen])]
        self.fields["group"].queryset = rows.filter(pk__in=pks)  # type: ignore[attr-defined]
        #: Whether there is something to choose from.
        self.has_choices = bool(found) or chosen is not None
