"""Template tags of the admin pages."""

from django import template
from django.utils.translation import gettext as _

from ..conf import conf
from ..dates import restorable_until

register = template.Library()


@register.simple_tag
def retention_notice() -> str:
    """Return until when files that are about to be deleted can be restored."""
    if not conf.retention:
        return _("The files will be removed permanently. They cannot be restored.")
    text = _(
        "Until %(until)s, users who may restore deleted files can bring the files and their "
        "deliveries back. After that the files are removed permanently."
    )
    return text % {"until": restorable_until()}
