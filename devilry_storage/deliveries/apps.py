"""The app of the concrete models; its label leaves ``deliveries`` to the site's own."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DeliveriesConfig(AppConfig):
    """Has models and admin, and nothing to do when it is ready."""

    name = "devilry_storage.deliveries"
    label = "devilry_deliveries"
    verbose_name = _("Deliveries")
    default_auto_field = "django.db.models.BigAutoField"
