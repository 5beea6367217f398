"""Other packages in real use with this one: ``tox -e neighbours``."""
