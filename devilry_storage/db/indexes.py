"""Indexes for the beginnings of texts, which a search in millions of rows needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from django.db import connections, models
from django.db.models import F, Q
from django.db.models.expressions import OrderBy

#: Django compiles ``istartswith`` to a LIKE of UPPER() on PostgreSQL; SQLite's ignores the case.
_FORMS = {"postgresql": "UPPER({})", "sqlite": "{} COLLATE NOCASE"}


class PrefixIndex(models.Index):
    """Finds the beginnings of texts in either case: what ``istartswith`` asks for.

    ``PrefixIndex(fields=["filename"], name="handin_filename")`` in a model's ``Meta.indexes``, on
    PostgreSQL and SQLite. Django's own indexes of a text are of no use to ``istartswith``.
    """

    def __init__(self, *, fields: Sequence[str], name: str, **kwargs: Any) -> None:
        # Bytewise, whatever the collation: LIKE has no use for any other order.
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
    """The order in which a :class:`PrefixIndex` of the field has the rows.

    Asked for the first matches in this order, PostgreSQL has no better plan than to read just
    these of the index, whatever it believes of how many there are. ``exact``: the order of the
    index that Django makes for ``startswith``.
    """

    def __init__(self, field: str, *, exact: bool = False) -> None:
        super().__init__(F(field))
        self.exact = exact

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        form = "{}" if self.exact else _FORMS["postgresql"]
        # Django looks for one of the two words, which do not go with an operator.
        template = f"{form.format('%(expression)s')} USING ~<~ /* ASC */"
        return self.as_sql(compiler, connection, template=template)

    def as_sqlite(self, compiler: Any, connection: Any) -> Any:
        form = "{}" if self.exact else _FORMS["sqlite"]
        template = f"{form.format('%(expression)s')} ASC"
        return self.as_sql(compiler, connection, template=template)


def begins_with(field: str, text: str, using: str) -> Q:
    """Return the condition that a field begins with the text in its case, for Django's own index.

    ``using`` is the alias of the database that is to be asked. That is ``startswith``, but on
    SQLite a range: its LIKE ignores the case, and so has no use for an index that does not.
    """
    if connections[using].vendor != "sqlite":
        return Q(**{f"{field}__startswith": text})
    # The last of all code points is no character of any text.
    return Q(**{f"{field}__gte": text, f"{field}__lt": text + chr(sys.maxunicode)})
