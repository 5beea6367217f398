"""A site's own models with FileFields of Django, without migrations, and tests of their files."""
