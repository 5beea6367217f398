"""A model of how files are deleted, restored and removed, and a search for losses.

- `database`: rows and tombstones, in transactions as PostgreSQL runs them.
- `operations`: what the package does, one generator for each operation: the specification.
- `schedules`: random schedules of these, with crashes, and the promise that is checked.

The model uses neither Django nor a database nor a store.
"""
