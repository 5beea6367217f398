"""App configuration of the package."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class DevilryStorageConfig(AppConfig):
    """The app that contains tombstones, system checks and commands."""

    name = "devilry_storage"
    verbose_name = _("Delivery storage")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks  # noqa: F401  # registers them
        from .identity import forget

        post_migrate.connect(forget, sender=self)
