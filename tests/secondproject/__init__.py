"""A project without ``devilry_storage.deliveries``: its models, stores and users are its own.

Its settings are its own, too, so that ``tests/test_second_project.py`` runs it, and the tests in
``claims.py``, in processes of their own.
"""
