"""A form that creates one finished delivery from several uploaded files."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from django import forms
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import router, transaction
from django.utils.functional import lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .db.routing import database_of
from .db.rows import lock_row, undone_on_error
from .error_messages import EXPECTED, UNCERTAIN, delivery_failure
from .exceptions import InvalidFilename
from .models import AbstractDelivery
from .names import validate_filename
from .upload_limits import Limits

logger = logging.getLogger("devilry_storage")


class FilesInput(forms.FileInput):
    """A file input for several files. Browsers offer only names that end with ``suffixes``."""

    allow_multiple_selected = True
    suffixes: Sequence[str] = ()

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        if self.suffixes:
            attrs = {**(attrs or {}), "accept": ",".join(self.suffixes)}
        return super().get_context(name, value, attrs)


class FilesField(forms.FileField):
    """A field for several files. Its cleaned value is a list of uploads with unique names.

    Every file is validated: its name, as FileField does, and with ``validators`` and ``limits``, a
    :class:`~devilry_storage.upload_limits.Limits`. Errors name the file they are about. Names are
    converted to Unicode's NFC form.
    """

    widget = FilesInput

    def __init__(self, *, limits: Limits | None = None, **kwargs: Any) -> None:
        super().__init__(allow_empty_file=True, **kwargs)
        self._shows_limits = "help_text" not in kwargs
        self.limit(limits or Limits())

    def limit(self, limits: Limits) -> None:
        """Apply these limits and show them as help text."""
        self.limits = limits
        if self._shows_limits:
            self.help_text = lazy(limits.describe, str)()  # lazy, because settings may change
        self.widget.suffixes = limits.suffixes

    def clean(self, data: Any, initial: Any = None) -> list[Any]:
        """Return the uploads. Raises a ValidationError with the errors of all files."""
        uploads = data if isinstance(data, (list, tuple)) else [data]
        uploads = [upload for upload in uploads if upload not in self.empty_values]
        if not uploads:
            super().clean(None)  # raises if the field is required
        errors = [error for upload in uploads for error in self._errors_of(upload)]
        errors += self.limits.errors_for_all([getattr(upload, "size", 0) for upload in uploads])
        if not errors:
            errors += _duplicates([upload.name for upload in uploads])
        if errors:
            raise ValidationError(errors)
        return uploads

    def _errors_of(self, upload: Any) -> Iterator[ValidationError]:
        try:
            name = upload.name = validate_filename(getattr(upload, "name", ""))
        except InvalidFilename as exception:
            yield ValidationError(str(exception), code="filename")
            return
        errors = [*self.limits.errors_for(name, upload.size)]
        try:
            super().clean(upload)
        except ValidationError as exception:
            errors += exception.error_list
        for error in errors:
            yield ValidationError(f"“{name}”: {error.messages[0]}", code=error.code)


def _duplicates(names: Sequence[str]) -> Iterator[ValidationError]:
    for name, count in Counter(names).items():
        if count > 1:
            text = _("Duplicate filename “%(filename)s”: filenames must be unique.")
            yield ValidationError(text % {"filename": name}, code="unique")


class EndInput(forms.HiddenInput):
    """A hidden input with a constant value, independent of the submitted data."""

    MARK = "end"

    def format_value(self, value: Any) -> str:
        return self.MARK


class DeliveryForm(forms.Form):
    """A form to upload the files of one delivery. ``save()`` stores them.

    Subclasses may set ``model``, a subclass of AbstractDelivery, and ``limits``, which can also be
    passed as an argument.

    The hidden field ``end`` must be rendered after the files. It proves that the whole request has
    arrived. If the connection breaks during an upload, Django's parser passes on the files that
    are complete and silently drops the rest.
    """

    #: The model of the deliveries. None stands for the model of ``devilry_storage.deliveries``.
    model: ClassVar[type[AbstractDelivery] | None] = None
    #: The limits. None stands for those of the field ``uploads``, which uses the settings.
    limits: Limits | None = None
    #: Whether ``save()`` failed, but the delivery may be recorded nevertheless.
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
            # Other errors may be consequences of the incomplete upload.
            self.errors.clear()
            text = _("The upload was interrupted and nothing was delivered. Please try again.")
            raise ValidationError(text, code="broken_off")
        if errors := [*self._errors_of(cleaned.get("uploads", ()))]:
            self.add_error("uploads", ValidationError(errors))
        return cleaned

    def _errors_of(self, uploads: Iterable[Any]) -> Iterator[ValidationError]:
        """Yield the errors of the validators that the model of the files gives to its content."""
        for upload in uploads:
            row = self._model().filemeta_model()(filename=upload.name, content=upload)
            try:
                row.content.field.run_validators(row.content)
            except ValidationError as exception:
                for message in exception.messages:
                    yield ValidationError(f"“{upload.name}”: {message}", code="invalid")

    def save(self, assignment_group: Any, user: Any = None) -> Any:
        """Create a finished delivery of the group with the files. ``user`` is who delivers them.

        If the delivery cannot be stored, the exception is logged, an error with the reason is
        added to the form, and None is returned. There is no delivery then, unless
        ``perhaps_delivered`` is true. Raises ValueError if the form is not valid.
        """
        if self.errors:
            raise ValueError(
                f"{type(self).__name__} has errors, so nothing can be delivered: call save() "
                "once, after is_valid() has returned True."
            )
        files = {upload.name: upload for upload in self.cleaned_data["uploads"]}
        model = self._model()
        try:
            return _deliver(model, assignment_group, user, files)
        except (*EXPECTED, ValidationError) as exception:
            using = router.db_for_write(model, instance=assignment_group)
            if transaction.get_connection(using).needs_rollback:
                raise  # no page could be rendered in the caller's transaction
            logger.exception("A delivery of %r could not be stored.", str(assignment_group))
            self.perhaps_delivered = isinstance(exception, UNCERTAIN)
            refused = exception if isinstance(exception, ValidationError) else None  # a receiver's
            failure = refused or ValidationError(delivery_failure(exception), "not_delivered")
            self.add_error(None, failure)
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


def _deliver(
    model: type[AbstractDelivery], assignment_group: Any, user: Any, files: dict[str, Any]
) -> AbstractDelivery:
    """Create a finished delivery of the files. On error, the unfinished delivery is deleted."""
    delivery = model.begin(assignment_group, user)
    using = database_of(delivery)

    def delete_unfinished() -> None:
        with transaction.atomic(using=using):
            current = lock_row(model, delivery.pk, using, {"successful"})
            # Keep a finished delivery: only the reply to its COMMIT may have been lost.
            if current is not None and not current.successful:
                delivery.delete()

    with undone_on_error(
        delete_unfinished, using, f"{model._meta.label} '{delivery.pk}', unfinished,"
    ):
        delivery.add_files(files)
        delivery.finish()
    return delivery
