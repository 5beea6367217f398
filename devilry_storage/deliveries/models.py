"""Models of groups, deliveries and files for sites without models of their own."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from ..models import AbstractDelivery, AbstractFileMeta, PrefixIndex


class AssignmentGroup(models.Model):
    """Candidates who deliver together, and the examiners of their deliveries."""

    name = models.CharField(_("name"), max_length=255)
    candidates = models.ManyToManyField(
        settings.AUTH_USER_MODEL, verbose_name=_("candidates"), related_name="+", blank=True
    )
    examiners = models.ManyToManyField(
        settings.AUTH_USER_MODEL, verbose_name=_("examiners"), related_name="+", blank=True
    )

    class Meta:
        verbose_name = _("assignment group")
        verbose_name_plural = _("assignment groups")
        indexes = [PrefixIndex(fields=["name"], name="devilry_deliveries_group_name")]

    def __str__(self) -> str:
        return self.name


class Delivery(AbstractDelivery):
    """The files that a group hands in at one time."""

    assignment_group = models.ForeignKey(
        AssignmentGroup,
        models.PROTECT,
        verbose_name=_("assignment group"),
        related_name="deliveries",
    )
    delivered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("delivered by"),
        related_name="+",
        null=True,
        blank=True,
    )
    copy_of = models.ForeignKey(
        "self",
        models.SET_NULL,
        verbose_name=_("copy of"),
        related_name="copies",
        null=True,
        blank=True,
        editable=False,
    )

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        constraints = [
            models.UniqueConstraint(
                fields=["assignment_group", "number"], name="devilry_deliveries_number_unique"
            )
        ]
        # For the ordering and the filter of the admin.
        indexes = [
            models.Index(fields=["time_of_delivery", "id"], name="devilry_deliveries_time"),
            models.Index(
                fields=["successful", "time_of_delivery", "id"], name="devilry_deliveries_state"
            ),
        ]


class FileMeta(AbstractFileMeta):
    """A file of a delivery."""

    delivery = models.ForeignKey(
        Delivery, models.CASCADE, verbose_name=_("delivery"), related_name="filemetas"
    )

    class Meta:
        verbose_name = _("file")
        verbose_name_plural = _("files")
        constraints = [
            models.UniqueConstraint(
                fields=["delivery", "filename"],
                name="devilry_deliveries_filename_unique",
                violation_error_message=_("The delivery has a file of this name already."),
            )
        ]
        indexes = [
            models.Index(fields=["created", "id"], name="devilry_deliveries_created"),
            # For few rows among millions, for which a database might read the whole table.
            models.Index(
                fields=["created", "id"],
                condition=models.Q(content__isnull=True),
                name="devilry_deliveries_pending",
            ),
            PrefixIndex(fields=["filename"], name="devilry_deliveries_beginning"),
        ]
