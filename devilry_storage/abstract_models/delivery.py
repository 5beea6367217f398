"""A delivery: what a group hands in at one time."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, models, transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..conf import conf
from ..db.clock import read_at, with_now
from ..db.routing import database_of
from ..db.rows import (
    intend_to_write,
    loaded_columns,
    lock_row,
    plain_instances,
    restored_on_error,
    stored_rows,
    undone_on_error,
)
from ..db.transactions import has_transaction
from ..exceptions import DeliveryFinished, DeliveryIncomplete, DeliveryStateError
from ..fields import DeliveryFileField
from ..names import validate_filename
from ..resolving import store_for
from ..schema import DELIVERY, GROUP, field_named, foreign_key, has_column
from ..signals import delivery_finished, has_receivers, send_after_commit
from ..storages.base import DeliveryStoreMixin
from ..storages.content import as_file
from ..tables import RowsWithout, Tombstone
from .bulk import add_many, copy_all, twin_of
from .querysets import DeliveryManager

D = TypeVar("D", bound="AbstractDelivery")


class AbstractDelivery(models.Model):
    """What a group hands in at one time.

    A delivery is begun, gets files and is finished. A finished delivery gets no further files.

    A subclass declares ``assignment_group``, a foreign key to the model of groups, and may declare
    ``delivered_by`` (to the user) and ``copy_of`` (to itself), both nullable.
    """

    number = models.PositiveIntegerField(
        _("number"),
        null=True,
        editable=False,
        help_text=_("Counts the deliveries of the group; set when the delivery is finished."),
    )
    time_of_delivery = models.DateTimeField(_("time of delivery"), default=timezone.now)
    successful = models.BooleanField(_("finished"), default=False, editable=False)

    objects = DeliveryManager()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return str(_("Delivery %(id)s") % {"id": self.pk})

    @classmethod
    def filemeta_model(cls) -> Any:
        """Return the model of the files: the one whose ``delivery`` is this model.

        Raises ImproperlyConfigured if there is not exactly one; override it then.
        """
        found = {
            relation.field.model
            for relation in cls._meta.get_fields(include_hidden=True)
            if isinstance(relation, models.ManyToOneRel)
            and relation.one_to_many
            and relation.field.name == DELIVERY
            and isinstance(field_named(relation.field.model, "content"), DeliveryFileField)
        }
        if len(found) == 1:
            return found.pop()
        labels = ", ".join(sorted(model._meta.label for model in found)) or "none"
        raise ImproperlyConfigured(
            f"{cls._meta.label} needs one model of files with a foreign key 'delivery' to it "
            f"(found: {labels}): override filemeta_model()."
        )

    @property
    def files(self) -> models.QuerySet[Any]:
        """The files of the delivery, with or without content."""
        # As in Django's related managers: routers choose a database to read and one to write.
        files: Any = models.QuerySet(self.filemeta_model(), hints={"instance": self})
        return cast("models.QuerySet[Any]", files.filter(delivery=self).order_by("pk"))

    def save(
        self,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Save the row without the fields of ``finish()``, unless ``update_fields`` names them.

        These are ``number``, ``successful`` and, if the instance is unfinished,
        ``time_of_delivery``. So an instance that was loaded before the delivery was finished
        cannot undo that.
        """
        stored = not self._state.adding and self.pk is not None and not force_insert
        if stored and update_fields is None and using in {None, self._state.db, database_of(self)}:
            update_fields = loaded_columns(self) - {"number", "successful"}
            if not self.successful:
                update_fields -= {"time_of_delivery"}
        super().save(
            force_insert=force_insert,
            force_update=force_update,
            using=using,
            update_fields=update_fields,
        )

    # -- Delivering --

    @classmethod
    def begin(cls: type[D], assignment_group: Any, user: Any = None) -> D:
        """Begin a delivery of a group; ``user`` is recorded as ``delivered_by``."""
        fields = {"assignment_group": assignment_group}
        if has_column(cls, "delivered_by"):
            fields["delivered_by"] = user
        delivery = cls(**fields)
        delivery.save(force_insert=True)
        return delivery

    def add_file(self, filename: str, content: Any) -> Any:
        """Store a file in the delivery and return its FileMeta.

        ``content`` is bytes, str, a path, an open file, or an iterable of chunks of bytes or str;
        text is stored as UTF-8. Raises InvalidFilename and DeliveryFinished. Raises
        FileExistsError if a file of this name is stored or is being stored, or if this call takes
        longer than the grace time and another upload takes over its row.
        """
        filename = validate_filename(filename)
        model, using = self.filemeta_model(), database_of(self)

        def stored(filemeta: Any) -> Any:
            filemeta.content = file
            filemeta.save(using=using)
            return filemeta

        with as_file(content, filename) as file:
            was_read = getattr(file, "was_read", False)
            if _insert_finds_clashes(model) and not has_transaction(using):
                try:
                    return stored(model(delivery=self, filename=filename))
                except IntegrityError:
                    # Only that of the INSERT, which comes before the content is read.
                    if getattr(file, "was_read", False) != was_read:
                        raise
            with self._claimed([filename]) as claimed:
                return stored(claimed.get(filename) or model(delivery=self, filename=filename))

    def add_files(self, files: Mapping[str, Any]) -> list[Any]:
        """Store many files concurrently, and return their FileMetas.

        ``files`` maps filenames to contents, see :meth:`add_file`. If one fails, none is added.
        The rows are written in bulk, unless the site has receivers of ``pre_save`` or
        ``post_save``: then the files are added one by one, with these signals.
        """
        return add_many(self, files)

    def finish(self) -> None:
        """Finish the delivery and set its number, if the store has every file with its size.

        Raises DeliveryFinished or DeliveryIncomplete; the delivery stays unfinished then.
        """
        self._finish(timezone.now())

    # A template must not finish a delivery.
    finish.alters_data = True  # type: ignore[attr-defined]

    def _finish(self, time_of_delivery: Any) -> None:
        using = database_of(self)
        with restored_on_error(self), transaction.atomic(using=using):
            current = self._lock_unfinished(using)
            self._refuse_incomplete(using)
            number = next_number(current, using)
            stored_rows(type(self), using).filter(pk=self.pk).update(
                number=number, time_of_delivery=time_of_delivery, successful=True
            )
            self._drop_from_tombstones(using)
            send_after_commit(delivery_finished, self, using)
            # Before COMMIT, because receivers see the instance after it.
            self.number, self.time_of_delivery, self.successful = number, time_of_delivery, True
            self._state.db = using

    def _drop_from_tombstones(self, using: str) -> None:
        """Drop the unfinished delivery from tombstones, so that a restore cannot bring it back.

        A tombstone has the rows of file and delivery as they were. The files may be of any model
        that refers to deliveries.
        """
        if not isinstance(self.pk, int):
            return  # tombstones cannot be looked up by it
        family = [
            model._meta.label_lower
            for model in apps.get_models()
            if issubclass(model, type(self)) or issubclass(type(self), model)
        ]
        of_it = Tombstone.objects.using(using).filter(delivery_id=self.pk)
        # Locked ones are being restored, and wait for this delivery: skip them.
        kept = of_it.select_for_update(skip_locked=True).values("pk")
        of_it.filter(pk__in=kept).update(rows=RowsWithout(family, self.pk))

    def copy(self: D, assignment_group: Any) -> D:
        """Return a finished copy of this finished delivery, delivered to another group.

        The files are copied in the store, concurrently, and their rows in bulk as by
        :meth:`add_files`. The number is the group's next one; time and user are
        those of the original, and ``copy_of`` is the original. Your own unique fields get their
        defaults. Raises DeliveryStateError for an unfinished delivery, and FileNotFoundError if a
        file is missing; no copy is left then.
        """
        if not self.successful:
            raise DeliveryStateError(
                f"Cannot copy {self._meta.label} '{self.pk}', because it is not finished: finish "
                "it first."
            )
        using = database_of(self)
        changed = {"number": None, "successful": False, "assignment_group": assignment_group}
        if has_column(type(self), "copy_of"):
            changed["copy_of"] = self
        twin: D = twin_of(self, changed)
        twin.save(using=using)
        with undone_on_error(twin.delete, using, "An unfinished copy"):
            copy_all(self, twin, using)
            twin._finish(self.time_of_delivery)
        return twin

    def refuse_finished(self) -> None:
        """Raise DeliveryFinished if this instance is finished; the database is not asked."""
        if self.successful:
            raise DeliveryFinished(
                f"{self._meta.label} '{self.pk}' is finished, so it gets no further files or "
                "content and cannot be finished again. Begin another delivery."
            )

    def _lock_unfinished(self, using: str) -> Any:
        model = cast("type[AbstractDelivery]", type(self)._meta.concrete_model)
        current = lock_row(model, self.pk, using, {"assignment_group", "successful"})
        if current is None:
            raise type(self).DoesNotExist(f"{self._meta.label} '{self.pk}' does not exist.")
        current.refuse_finished()
        return current

    @contextmanager
    def _claimed(self, filenames: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Take over abandoned rows (no content, older than the grace time) with these filenames.

        Gives the rows by filename. Raises FileExistsError for filenames that have content or are
        being stored. If the block fails, ``created`` of the rows is set back.
        """
        claimed: dict[str, Any] = {}
        left_behind: dict[Any, Any] = {}
        using = database_of(self)
        rows = self.files.using(using).filter(filename__in=list(filenames))

        def set_back() -> None:
            for row in claimed.values():
                mine = rows.filter(pk=row.pk, created=row.created, content__isnull=True)
                mine.update(created=left_behind[row.pk])

        intend_to_write(rows, using)
        with undone_on_error(set_back, using, "A row that seems to be still in use by an upload"):
            for row in with_now(rows):
                left_behind[row.pk] = row.created
                self._take_over(row)
                claimed[row.filename] = row
            try:
                yield claimed
            except IntegrityError as exception:
                if transaction.get_connection(using).needs_rollback:
                    raise
                if row := rows.exclude(pk__in=left_behind).first():
                    raise FileExistsError(
                        f"{row.filename!r} of {self._meta.label} '{self.pk}' is being added by "
                        "another upload: use another filename."
                    ) from exception
                raise

    def _take_over(self, row: Any) -> None:
        where = f"{row.filename!r} of {self._meta.label} '{self.pk}'"
        if row.content:
            raise FileExistsError(f"{where} exists already: use another filename.")
        # By the database's clock, because clocks of hosts may differ.
        now = read_at(row)
        rows = self.files.using(row._state.db).filter(
            pk=row.pk, created=row.created, content__isnull=True
        )
        if row.created > now - conf.grace or not rows.update(created=now):
            raise FileExistsError(
                f"{where} is still being stored (since {row.created:%Y-%m-%d %H:%M}): wait, "
                "delete that row, or use another filename."
            )
        row.created = now
        row._is_taken_over = True

    def _refuse_incomplete(self, using: str) -> None:
        """Raise DeliveryIncomplete unless there are files and the store has all of them."""
        rows = list(plain_instances(self.files.using(using)))
        where = f"{self._meta.label} '{self.pk}'"
        if not rows:
            raise DeliveryIncomplete(f"{where} has no files: add a file before you finish it.")
        store = store_for(rows[0])
        folder = store.layout.folder(rows[0].key_ids()[0])
        sizes = {entry.name: entry.size for entry in store.scan(folder)}
        found = ((row.filename, _fault(row, store, folder, sizes)) for row in rows)
        if faults := [(filename, fault) for filename, fault in found if fault]:
            more = f"; and {len(faults) - 10} more" if len(faults) > 10 else ""
            raise DeliveryIncomplete(
                f"{where} cannot be finished: {'; '.join(fault for _, fault in faults[:10])}"
                f"{more}. Add these files again, or delete them.",
                [filename for filename, _fault in faults],
            )


def _insert_finds_clashes(model: Any) -> bool:
    """Return whether the INSERT of a row with a filename that is taken just fails."""
    unique = [*model._meta.unique_together]
    for constraint in model._meta.total_unique_constraints:
        # Some databases do not have others.
        is_plain = constraint.deferrable is None and not constraint.include
        if is_plain and getattr(constraint, "nulls_distinct", None) is None:
            unique.append(constraint.fields)
    is_unique = any(set(fields) == {DELIVERY, "filename"} for fields in unique)
    return is_unique and not model._meta.parents and not has_receivers(model)


def _fault(row: Any, store: DeliveryStoreMixin, folder: str, sizes: Mapping[str, int]) -> str:
    name = row.content.name
    if not name:
        return f"{row.filename!r} is still being stored"
    size = sizes.get(name)
    if size is None and not name.startswith(f"{folder}/"):
        with suppress(FileNotFoundError):
            size = store.size(name)  # adopted, so not in the delivery's folder
    if size is None:
        return f"{row.filename!r} is missing in the store ({name!r})"
    if size != row.size:
        return f"{row.filename!r} has {size} bytes in the store, not {row.size} ({name!r})"
    return ""


def next_number(delivery: Any, using: str) -> int | None:
    """Lock the delivery's group until COMMIT, and return its next number."""
    if not has_column(type(delivery), "assignment_group") or delivery.assignment_group_id is None:
        return None
    to_group = foreign_key(type(delivery), GROUP)
    group_id, target = delivery.assignment_group_id, to_group.target_field.attname
    lock_row(to_group.related_model, group_id, using, (), by=target)
    siblings = stored_rows(type(delivery), using).filter(assignment_group_id=group_id)
    return int(siblings.aggregate(highest=Max("number"))["highest"] or 0) + 1
