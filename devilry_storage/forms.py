"""A form that takes many files and makes one finished delivery of them, or tells why not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from django import forms
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import router, transaction
from django.utils.functional import lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .db.rows import lock_row, undone_on_error
from .error_messages import EXPECTED, UNCERTAIN, delivery_failure
from .exceptions import InvalidFilename
from .models import AbstractDelivery
from .names import validate_filename
from .upload_limits import Limits

logger = logging.getLogger("devilry_storage")


class FilesInput(forms.FileInput):
    """A file input that takes many files, and offers those that end with ``suffixes``, if any."""

    allow_multiple_selected = True
    suffixes: Sequence[str] = ()

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        if self.suffixes:
            attrs = {**(attrs or {}), "accept": ",".join(self.suffixes)}
        return super().get_context(name, value, attrs)


class FilesField(forms.FileField):
    """Many files in one field; cleaned, they are a list of uploads whose names differ.

    Every file is validated: by its name, as FileField does it, by ``validators``, and by
    ``limits``, a :class:`~devilry_storage.upload_limits.Limits`. Each error names its file. Names
    are in Unicode's NFC form afterwards.
    """

    widget = FilesInput

    def __init__(self, *, limits: Limits | None = None, **kwargs: Any) -> None:
        super().__init__(allow_empty_file=True, **kwargs)
        self._tells_limits = "help_text" not in kwargs
        self.limit(limits or Limits())

    def limit(self, limits: Limits) -> None:
        """Let these limits hold, and let the page tell them."""
        self.limits = limits
        if self._tells_limits:
            self.help_text = lazy(limits.describe, str)()  # settings may change until it is shown
        self.widget.suffixes = limits.suffixes

    def clean(self, data: Any, initial: Any = None) -> list[Any]:
        """Return the uploads; ValidationError with all that is wrong with all of them."""
        uploads = data if isinstance(data, (list, tuple)) else [data]
        uploads = [upload for upload in uploads if upload not in self.empty_values]
        if not uploads:
            super().clean(None)  # raises if the field is required
        faults = [fault for upload in uploads for fault in self._faults_of(upload)]
        faults += self.limits.faults_of_all([getattr(upload, "size", 0) for upload in uploads])
        if not faults:
            faults += _clashes([upload.name for upload in uploads])
        if faults:
            raise ValidationError(faults)
        return uploads

    def _faults_of(self, upload: Any) -> Iterator[ValidationError]:
        try:
            name = upload.name = validate_filename(getattr(upload, "name", ""))
        except InvalidFilename as exception:
            yield ValidationError(str(exception), code="filename")
            return
        faults = [*self.limits.errors_for(name, upload.size)]
        try:
            super().clean(upload)
        except ValidationError as exception:
            faults += exception.error_list
        for fault in faults:
            yield ValidationError(f"“{name}”: {fault.messages[0]}", code=fault.code)


def _clashes(names: Sequence[str]) -> Iterator[ValidationError]:
    for name, times in Counter(names).items():
        if times > 1:
            text = _("“%(filename)s” is there %(times)d times: names must differ.")
            yield ValidationError(text % {"filename": name, "times": times}, code="unique")


class EndInput(forms.HiddenInput):
    """A hidden input that has the same value whatever was sent."""

    MARK = "end"

    def format_value(self, value: Any) -> str:
        return self.MARK


class DeliveryForm(forms.Form):
    """Files for one delivery.

    ``save()`` stores them. A subclass may set ``model``, its own subclass of AbstractDelivery, and
    ``limits``, which can also be an argument.

    The last field, ``end``, is hidden and must be rendered after the files. It says that the
    request has arrived to its end: of one that broke off, Django's parser gives those files that
    were whole by then, and says nothing of the others.
    """

    #: The model of the deliveries; None is that of ``devilry_storage.deliveries``.
    model: ClassVar[type[AbstractDelivery] | None] = None
    #: None leaves them to the field ``uploads``, which has those of the settings.
    limits: Limits | None = None
    #: Whether ``save()`` failed in such a way that there may be a delivery nevertheless.
    perhaps_delivered = False

    uploads = FilesField(label=gettext_lazy("Files"))
    end = forms.CharField(widget=EndInput, required=False)

    def __init__(self, *args: Any, limits: Limits | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["uploads"]
        assert isinstance(field, FilesField)
        if limits := limits or self.limits:
            field.limit(limits)
        self.limits = field.limits

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("end") != EndInput.MARK:
            # What else is wrong may be so because of this.
            self.errors.clear()
            text = _("The upload broke off before its end: nothing was delivered. Try again.")
            raise ValidationError(text, code="broken_off")
        return cleaned

    def save(self, assignment_group: Any, user: Any = None) -> Any:
        """Return a finished delivery of the files by the group (``user``: who delivers), or None.

        None says that it could not be stored: the form then has an error that tells why, the log
        has the exception, and there is no delivery, unless ``perhaps_delivered`` is true. Raises
        ValueError for a form that is not valid.
        """
        if self.errors:
            raise ValueError(
                f"{type(self).__name__} has errors, so there is nothing to deliver: call save() "
                "once, after is_valid() was True."
            )
        files = {upload.name: upload for upload in self.cleaned_data["uploads"]}
        model = self._model()
        try:
            return _delivered(model, assignment_group, user, files)
        except EXPECTED as exception:
            if transaction.get_connection(router.db_for_write(model)).needs_rollback:
                raise  # nothing can be shown any more in the caller's transaction
            logger.exception("A delivery of %s could not be stored.", assignment_group)
            self.perhaps_delivered = isinstance(exception, UNCERTAIN)
            self.add_error(None, ValidationError(delivery_failure(exception), "not_delivered"))
            return None

    def _model(self) -> type[AbstractDelivery]:
        if self.model is not None:
            return self.model
        try:
            return apps.get_model("devilry_deliveries.Delivery")
        except LookupError as exception:
            raise ImproperlyConfigured(
                f"{type(self).__name__} has no model of deliveries: set its 'model' to your "
                "subclass of AbstractDelivery."
            ) from exception


def _delivered(
    model: type[AbstractDelivery], assignment_group: Any, user: Any, files: dict[str, Any]
) -> AbstractDelivery:
    """Return a finished delivery of the files; if it cannot be, there is none."""
    delivery = model.begin(assignment_group, user)
    using = delivery._state.db

    def take_back() -> None:
        with transaction.atomic(using=using):
            current = lock_row(model, delivery.pk, using or "")
            # Not if it is finished after all: the reply to that COMMIT may have been lost.
            if current is not None and not current.successful:
                current.delete()

    with undone_on_error(take_back, using, f"{model._meta.label} '{delivery.pk}', unfinished,"):
        delivery.add_files(files)
        delivery.finish()
    return delivery
