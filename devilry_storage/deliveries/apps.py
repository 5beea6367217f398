"""The app with concrete models. Its label leaves ``deliveries`` free for apps of the site."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DeliveriesConfig(AppConfig):
    """Configuration of the app with concrete models."""

    name = "devilry_storage.deliveries"
    label = "devilry_deliveries"
    verbose_name = _("Deliveries")
    default_auto_field = "django.db.models.BigAutoField"
