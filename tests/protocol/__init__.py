"""A model of the protocol for deleting, restoring and removing files, and a search for losses.

- `database`: rows and tombstones, in transactions that behave as in PostgreSQL.
- `operations`: the specification, with one generator for each operation of the package.
- `schedules`: random schedules of operations and crashes, and checks of the promise.

The model does not use Django, a database or a store.
"""
