"""Template tags of the admin pages."""

from __future__ import annotations

from django import template
from django.utils.translation import gettext as _

from ..admin.utils import restorable_until
from ..conf import conf

register = template.Library()


@register.simple_tag
def retention_notice() -> str:
    """Return until when files that are about to be deleted can be restored."""
    if not conf.retention:
        return _("The files will be removed permanently. They cannot be restored.")
    text = _(
        "The files can be restored until %(until)s, together with their deliveries and with the "
        "same ids, by users who may restore deleted files. After that they are removed "
        "permanently."
    )
    return text % {"until": restorable_until()}
