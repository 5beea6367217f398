"""Tags of the admin's own templates."""

from __future__ import annotations

from typing import Any

import django
from django import template
from django.contrib.admin.utils import quote
from django.template import Context
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from ..conf import conf

register = template.Library()


@register.simple_tag(takes_context=True)
def breadcrumbs(context: Context, opts: Any, title: str, row: Any = None) -> str:
    """Return the way to a page below a model's list, in the markup of the Django that runs."""
    site = getattr(context.get("request"), "current_app", None)

    def url(name: str, *args: Any) -> str:
        return reverse(f"admin:{name}", args=args, current_app=site)

    model = f"{opts.app_label}_{opts.model_name}"
    steps = [
        (url("index"), _("Home")),
        (url("app_list", opts.app_label), opts.app_config.verbose_name),
        (url(f"{model}_changelist"), capfirst(opts.verbose_name_plural)),
    ]
    if row is not None:
        steps.append((url(f"{model}_change", quote(row.pk)), str(row)))
    if django.VERSION >= (6, 1):
        links = format_html_join("", '<li><a href="{}">{}</a></li>', steps)
        return format_html(
            '<ol class="breadcrumbs">{}<li aria-current="page">{}</li></ol>', links, title
        )
    links = format_html_join("", '<a href="{}">{}</a> &rsaquo; ', steps)
    return format_html('<div class="breadcrumbs">{}{}</div>', links, title)


@register.simple_tag
def what_becomes_of_bytes() -> str:
    """Return what becomes of the bytes of files that are about to be deleted."""
    if not conf.retention:
        return _(
            "The bytes of deleted files are removed from the store at once: nobody can bring them "
            "back."
        )
    due = timezone.now() + conf.retention
    if timezone.is_aware(due):
        due = timezone.localtime(due)
    text = _(
        "The bytes of deleted files stay in the store until %(due)s. A tombstone for each file "
        "keeps its row: until then, whoever may restore tombstones can bring back files and "
        "deliveries with their ids. Afterwards they are gone for good."
    )
    return text % {"due": formats.date_format(due, "DATETIME_FORMAT")}
