"""A FileField whose files are stored under keys made of ids."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files import File
from django.core.files.storage import Storage, default_storage
from django.db import models
from django.db.models import F, signals
from django.db.models.fields.files import FieldFile, FileDescriptor

from .exceptions import HistoricalModel, NotCommitted, NoURL
from .names import FILENAME_MAX_LENGTH
from .resolving import store_for
from .schema import is_historical
from .storages.content import as_text, opened, reopen, rewinds, shown
from .storages.reader import READ_MODES
from .storages.view_urls import NOT_PUBLIC, view_url

if TYPE_CHECKING:
    from .storages.base import DeliveryStoreMixin


class StoredName(str):
    """A name from the database or a fixture, in contrast to one that was assigned.

    ``model`` is the label of the model whose row has it, ``""`` if that is not known.
    """

    __slots__ = ("model",)
    model: str

    def __new__(cls, name: str, model: str = "") -> StoredName:
        stored = super().__new__(cls, name)
        stored.model = model
        return stored


class DeliveryFieldFile(FieldFile):
    """The file of a row: stored (committed), or pending until the row is saved.

    A pending file was assigned and not stored yet. A pending state without a file removes the
    stored one.
    """

    instance: Any
    _committed: bool
    _file: Any
    # Whether the name was given as a plain string, by code that copies rows: it may be outdated.
    _is_unproven = False

    def __init__(self, instance: Any, field: Any, name: str | None) -> None:
        # Without FieldFile.__init__(), which would fix the storage.
        File.__init__(self, None, name)
        self.instance = instance
        self.field = field
        self._committed = True
        # Reads the bytes of _file as text, after open("r").
        self._text: Any = None

    def __bool__(self) -> bool:
        return bool(self.name) or self.is_pending_file

    @property
    def is_pending_file(self) -> bool:
        """Whether a file was assigned and is not stored yet."""
        return not self._committed and getattr(self, "_file", None) is not None

    @property
    def storage(self) -> DeliveryStoreMixin:  # resolved at each use
        return store_for(self.field.model)

    @storage.setter
    def storage(self, value: object) -> None:
        """Ignore the storage that FieldFile sets."""

    def settle(self, name: str | None) -> None:
        """Become the stored file of this name (None: no file) after the row was saved."""
        self.name = name
        self._file = self._text = None
        self._committed = True

    def copy_for(self, instance: Any) -> DeliveryFieldFile:
        """Return the same state for another instance, which is a copy of the row."""
        twin = type(self)(instance, self.field, self.name)
        twin._committed = self._committed
        twin._is_unproven = self._is_unproven
        if self.is_pending_file:
            twin._file = self._file
        return twin

    def _required_name(self) -> str:
        """Return the name, ``""`` for an upload without one; ValueError if there is no file."""
        if not self:
            raise ValueError(f"{self.instance!r} has no file: its {self.field.name!r} is empty.")
        return self.name or ""

    @property
    def size(self) -> int:
        """The size in bytes."""
        name = self._required_name()
        return self._file.size if self.is_pending_file else self.storage.size(name)

    @property
    def url(self) -> str:
        """The URL of the download view, else the public URL of the file.

        The site has the download view if it includes ``devilry_storage.urls``. This is never a
        presigned URL. Raises NoURL, which is a ValueError and an AttributeError, if the file has
        no URL or is not saved yet.
        """
        name = self._required_name()
        if not self._committed:
            raise NoURL(f"The file {name!r} has no URL before it is saved.")
        pk = getattr(self.instance, "pk", None)
        url = "" if pk is None else view_url("download", self.field.model._meta.label_lower, pk)
        if url := url or self.storage.public_url(name):
            return url
        raise NoURL(NOT_PUBLIC.format(name))

    @property
    def file(self) -> Any:
        return super().file if self._text is None else self._text

    @file.setter
    def file(self, file: Any) -> None:
        self._file = file

    def open(self, mode: str = "rb") -> DeliveryFieldFile:  # type: ignore[override]
        """Open the file for reading: ``rb`` as bytes, ``r`` and ``rt`` as UTF-8 text.

        Raises ValueError for other modes, FileNotFoundError.
        """
        name = self._required_name()
        if mode not in READ_MODES:
            raise ValueError(
                f"Cannot open the file of {self.instance!r} with mode {mode!r}: assign a new "
                "file, or write through store_for(model).write_open(instance)."
            )
        self._text = None
        if self.is_pending_file:
            reopen(self._file)
        elif self.closed:
            self._file = self.storage.open(name, "rb")
        else:
            self._file.seek(0)
        if mode != "rb":
            self._text = as_text(self._file, mode)
        return self

    def close(self) -> None:
        """Close the file. An upload stays open, because the row needs it until it is saved."""
        self._text = None
        # A FieldFile can be opened again.
        if not self.is_pending_file or isinstance(self._file, FieldFile):
            super().close()

    def save(self, name: str, content: Any, save: bool = True) -> None:
        """Assign ``content`` as a pending file of this name, and save the row."""
        file = content if isinstance(content, File) else File(content)
        if isinstance(file, DeliveryFieldFile):  # perhaps this one, to be stored again
            file = self.field.copy_of(file, self.instance)._file
        pending = self.field.pending(self.instance, file, name)
        self.__dict__.update(pending.__dict__)
        self.instance.__dict__[self.field.attname] = self
        if save:
            self.instance.save()

    save.alters_data = True  # type: ignore[attr-defined]

    def delete(self, save: bool = True) -> None:
        """Remove the file from the row; its bytes are kept for the retention.

        Unless ``save``, the file is removed when the row is saved.
        """
        if not self:
            return
        self.close()
        self.settle(None)
        # django-cleanup deletes files of objects that are not models.
        state = getattr(self.instance, "_state", None)
        self._committed = state is None or state.adding
        self.instance.__dict__[self.field.attname] = self
        if save:
            self.instance.save()

    delete.alters_data = True  # type: ignore[attr-defined]

    def __getstate__(self) -> dict[str, Any]:
        if self.is_pending_file:
            raise NotCommitted(
                f"Cannot pickle or deep-copy {self.instance!r}, because its upload {self.name!r} "
                "is not saved: save it first."
            )
        state = {"_committed": self._committed, "_is_unproven": self._is_unproven}
        return {**super().__getstate__(), **state, "_text": None}


#: Attribute of a row while its content is stored and recorded: what is written to the column,
#: whatever receivers of signals assign.
SAVED_CONTENT = "_saved_content"

# Stands for a pending file in queries: its name may be that of a stored file.
_NOBODYS_NAME = "/"


class DeliveryFileDescriptor(FileDescriptor):
    """Converts each assigned value to a :class:`DeliveryFieldFile`."""

    field: Any

    def __get__(self, instance: Any, cls: Any = None) -> Any:
        if instance is None:
            return self
        # Without FileDescriptor.__get__(), which converts assigned values only on access.
        file = super(FileDescriptor, self).__get__(instance, cls)
        if file.instance is not instance:  # copy.copy() of a row shares its values
            file = instance.__dict__[self.field.attname] = file.copy_for(instance)
        return file

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.field.attname] = self.field.file_of(instance, value)


class DeliveryFileField(models.FileField):
    """The FileField of AbstractFileMeta, whose names are made of the ids of the row.

    ``storage`` may be a store, an alias of ``STORAGES`` or a callable that returns a store. It is
    resolved at each use. Migrations contain the alias, but never a store or a callable. The option
    ``upload_to`` does not exist.
    """

    attr_class = DeliveryFieldFile
    descriptor_class = DeliveryFileDescriptor
    # Not "", which a pending file without a name (ContentFile) equals.
    empty_values = (None,)

    def __init__(
        self,
        verbose_name: Any = None,
        name: str | None = None,
        *,
        storage: Any = None,
        **kwargs: Any,
    ) -> None:
        if "upload_to" in kwargs:
            raise TypeError(
                f"DeliveryFileField has no option upload_to={kwargs['upload_to']!r}: remove it, "
                "because the layout of the store determines the names of files."
            )
        self.given_storage = storage
        kwargs.setdefault("max_length", 255)
        kwargs.setdefault("null", True)
        kwargs.setdefault("unique", True)
        super().__init__(verbose_name, name, **kwargs)

    @property
    def storage(self) -> Storage:  # resolved at each use
        # FileField.__init__() reads it before the field has a model.
        return store_for(self.model) if hasattr(self, "model") else default_storage

    @storage.setter
    def storage(self, value: object) -> None:
        """Ignore the storage that FileField sets."""

    def deconstruct(self) -> Any:
        # Without FileField.deconstruct(), which puts any storage into migrations.
        name, path, args, kwargs = super(models.FileField, self).deconstruct()
        if isinstance(self.given_storage, str):
            kwargs["storage"] = self.given_storage
        return name, path, args, kwargs

    # -- Assigning --

    def file_of(self, instance: Any, value: Any) -> DeliveryFieldFile:
        """Return the state of the row's file after ``value`` was assigned."""
        if isinstance(value, DeliveryFieldFile):
            if value.instance is instance:
                return value
            if value.field.model is self.model and value.instance.pk == instance.pk is not None:
                return value.copy_for(instance)
            return self.copy_of(value, instance) if value else self._no_file(instance)
        if value is None or value == "":
            return self._no_file(instance)
        if isinstance(value, str):
            return self._named(instance, value)
        if isinstance(value, File) or hasattr(value, "read"):
            file = value if isinstance(value, File) else File(value)
            return self.pending(instance, file, file.name)
        raise ValueError(
            f"Cannot assign {value!r} to {type(instance).__name__}.content: assign a File, or "
            "None to remove it."
        )

    def _no_file(self, instance: Any) -> DeliveryFieldFile:
        empty = DeliveryFieldFile(instance, self, None)
        # A row that is not saved has no file to remove. Django and libraries set a column that was
        # not loaded to the value that the database has.
        values = instance.__dict__
        is_given = self.attname in values and not instance._state.adding
        # A receiver of signals drops the file that is being stored.
        empty._committed = not is_given and SAVED_CONTENT not in values
        return empty

    def _named(self, instance: Any, name: str) -> DeliveryFieldFile:
        current: DeliveryFieldFile | None = instance.__dict__.get(self.attname)
        origin = name.model if isinstance(name, StoredName) else None
        own = self.model._meta.label_lower
        if current is not None and current._committed and current.name == name:
            return current
        # No names of other rows. Django sets the column of a historical row that it has saved.
        if origin == "" or (origin == own and (current is None or is_historical(self.model))):
            return DeliveryFieldFile(instance, self, str(name))
        if origin is None and current is None and instance.pk is not None:
            # A copy of a row by its values, such as one of an earlier time.
            named = DeliveryFieldFile(instance, self, name)
            named._is_unproven = True
            return named
        model = type(instance).__name__
        raise ValueError(
            f"Cannot assign {str(name)!r} to {model}.content: to copy a file, assign the content "
            "of its row; to record bytes that are in the store already, use "
            f"{model}.objects.adopt({str(name)!r}, ...)."
        )

    def copy_of(self, file: DeliveryFieldFile, instance: Any) -> DeliveryFieldFile:
        """Return the stored file of another row as a pending one, so that its bytes are copied."""
        source = file._file if file.is_pending_file else file.copy_for(file.instance)
        return self.pending(instance, source, getattr(file.instance, "filename", file.name))

    def pending(self, instance: Any, file: Any, name: Any) -> DeliveryFieldFile:
        """Return the state of a file that is stored when the row is saved."""
        # The name of a pipe is a number.
        name = "" if isinstance(name, int) else str(name or "")
        pending = DeliveryFieldFile(instance, self, posixpath.basename(name))
        pending._file = file
        pending._committed = False
        return pending

    # -- Converting --

    def from_db_value(self, value: str | None, *args: Any) -> StoredName | None:
        return None if value is None else StoredName(value, self.model._meta.label_lower)

    def to_python(self, value: Any) -> Any:
        # Strings of fixtures are stored names.
        return StoredName(value) if isinstance(value, str) else value

    def value_to_string(self, obj: Any) -> str:
        # For fixtures: a pending file has no stored name.
        file = self.value_from_object(obj)
        return str(file) if self._is_stored(file) else ""

    def pre_save(self, model_instance: Any, add: bool) -> Any:
        # Without FileField.pre_save(), which would store the file before the row has an id.
        values = model_instance.__dict__
        if SAVED_CONTENT not in values:
            file = super(models.FileField, self).pre_save(model_instance, add)
            if not add and is_historical(self.model) and self._is_stored(file):
                # The row may have got another file since it was loaded.
                for name in {"size", "sha256"} & values.keys():
                    values[name] = F(name)
                return F(self.attname)
            return file
        if values[SAVED_CONTENT] is None:  # receivers see the file that the new row lacks
            return None
        saved = values[self.attname] = values.pop(SAVED_CONTENT)
        return saved

    def run_validators(self, value: Any) -> None:
        """Run each validator on a pending file, from its beginning and under the row's filename.

        A stored file was validated when it was pending; its name is a key.
        """
        if not isinstance(value, DeliveryFieldFile):
            super().run_validators(value)
            return
        if not self.validators or not value.is_pending_file:
            return
        errors: list[ValidationError] = []
        with opened(value._file) as source, shown(source) as file:
            for validator in self.validators:
                rewinds(file)
                named = value.copy_for(value.instance)
                named.name, named._file = value.instance.filename or value.name, file
                try:
                    validator(named)
                except ValidationError as exception:
                    code: Any = getattr(exception, "code", None)
                    if code in self.error_messages:
                        exception.message = self.error_messages[code]
                    errors += exception.error_list
            rewinds(file)
        if errors:
            raise ValidationError(errors)

    def get_prep_value(self, value: Any) -> str | None:
        if isinstance(value, File) and not self._is_stored(value):
            return _NOBODYS_NAME
        return super().get_prep_value(value) or None

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        """Raise NotCommitted for a file that would be recorded without being stored."""
        if not self._is_stored(value):
            if is_historical(self.model):
                raise HistoricalModel(
                    f"Cannot store or remove the file of {self.model._meta.label} with the model "
                    "that a migration provides: use the model itself."
                )
            raise NotCommitted(
                f"Cannot record the file {str(value)!r} of {self.model._meta.label}, because it "
                "is not in the store: only save() of an instance stores or removes a file, not "
                "bulk_create(), bulk_update() or update(). Use adopt() for files that are in the "
                "store already."
            )
        return super().get_db_prep_save(value, connection)

    def _is_stored(self, value: Any) -> bool:
        """Return whether the column may have the value: a stored name, None or an expression."""
        if isinstance(value, DeliveryFieldFile):
            committed = value._committed and not value._is_unproven
            return committed and value.field.model is self.model
        if isinstance(value, str):
            return isinstance(value, StoredName) or not value
        return not isinstance(value, File)

    def formfield(self, **kwargs: Any) -> Any:
        widget = kwargs.get("widget")
        if widget is None or issubclass(
            widget if isinstance(widget, type) else type(widget), forms.ClearableFileInput
        ):
            kwargs["widget"] = forms.FileInput  # files are deleted with their rows, not cleared
        defaults = {"allow_empty_file": True, "max_length": FILENAME_MAX_LENGTH}
        return super().formfield(**{**defaults, **kwargs})


def _refuse_historical(*, sender: Any, instance: Any, **kwargs: Any) -> None:
    """Raise HistoricalModel if the row has a file: no tombstone would be written."""
    # Django knows a sender by its id(), which another class may have later.
    if not is_historical(sender):
        return
    for field in sender._meta.concrete_fields:
        if isinstance(field, DeliveryFileField) and (file := getattr(instance, field.name)):
            raise HistoricalModel(
                f"Cannot delete {sender._meta.label} '{instance.pk}', which has the file "
                f"{file.name!r}, with the model that a migration provides: no tombstone would be "
                "written. Delete it with the model itself."
            )


def _connect_historical(*, sender: Any, **kwargs: Any) -> None:
    # Proxies and multi-table children, too: signals of a delete have their classes.
    if is_historical(sender):
        signals.pre_delete.connect(_refuse_historical, sender=sender)


signals.class_prepared.connect(_connect_historical)
