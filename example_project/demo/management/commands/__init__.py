"""``demo``, ``runserver``, and ``slow_upload``, which the demo starts."""
