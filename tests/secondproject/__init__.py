"""A project without ``devilry_storage.deliveries``, with its own models, stores and users.

It has its own settings, too. ``tests/test_second_project.py`` therefore runs it, and the tests in
``claims.py``, in separate processes.
"""
