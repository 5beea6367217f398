"""Index texts for prefix searches in millions of rows."""

import sys
from collections.abc import Sequence
from typing import Any

from django.db import connections, models
from django.db.models import F, Q
from django.db.models.expressions import OrderBy

#: Django compiles ``istartswith`` to LIKE of UPPER() on PostgreSQL. LIKE of SQLite ignores case.
_FORMS = {"postgresql": "UPPER({})", "sqlite": "{} COLLATE NOCASE"}


class PrefixIndex(models.Index):
    """An index for ``istartswith``, on PostgreSQL and SQLite.

    Add ``PrefixIndex(fields=["filename"], name="handin_filename")`` to a model's ``Meta.indexes``.
    ``istartswith`` cannot use Django's own indexes of a text.
    """

    def __init__(self, *, fields: Sequence[str], name: str, **kwargs: Any) -> None:
        # LIKE can only use an index in byte order, which may not be that of the collation.
        kwargs["opclasses"] = ["text_pattern_ops"] * len(fields)
        super().__init__(fields=fields, name=name, **kwargs)

    def deconstruct(self) -> Any:
        path, expressions, kwargs = super().deconstruct()
        del kwargs["opclasses"]
        return path, expressions, kwargs

    def create_sql(
        self, model: type[models.Model], schema_editor: Any, using: str = "", **kwargs: Any
    ) -> Any:
        statement: Any = super().create_sql(model, schema_editor, using, **kwargs)
        form = _FORMS.get(schema_editor.connection.vendor, "{}")
        columns = statement.parts["columns"]
        quote = columns.quote_name
        columns.quote_name = lambda column: form.format(quote(column))
        return statement


class InPrefixOrder(OrderBy):
    """The order of the rows in a :class:`PrefixIndex` of the field.

    A query for the first matches in this order makes PostgreSQL read only these from the index,
    even if it misjudges the number of matches. ``exact`` selects the order of the index that
    Django makes for ``startswith``.
    """

    def __init__(self, field: str, *, exact: bool = False) -> None:
        super().__init__(F(field))
        self.exact = exact

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        form = "{}" if self.exact else _FORMS["postgresql"]
        # Django appends ASC or DESC unless the template has one; USING permits neither.
        template = f"{form.format('%(expression)s')} USING ~<~ /* ASC */"
        return self.as_sql(compiler, connection, template=template)

    def as_sqlite(self, compiler: Any, connection: Any) -> Any:
        form = "{}" if self.exact else _FORMS["sqlite"]
        template = f"{form.format('%(expression)s')} ASC"
        return self.as_sql(compiler, connection, template=template)


def begins_with(field: str, text: str, using: str) -> Q:
    """Return the condition that a field begins with the text, which Django's own index can use.

    That is ``startswith``. On SQLite it is a range, because its LIKE ignores case, and so cannot
    use an index that does not. ``using`` is the alias of the database.
    """
    if connections[using].vendor != "sqlite":
        return Q(**{f"{field}__startswith": text})
    # The last code point does not occur in texts.
    return Q(**{f"{field}__gte": text, f"{field}__lt": text + chr(sys.maxunicode)})
