"""The commands ``demo``, ``runserver`` and ``slow_upload``."""
