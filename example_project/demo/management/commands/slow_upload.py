"""``slow_upload``: the process that the demo kills."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from demo.killing import slow_upload
from devilry_storage.deliveries.models import Delivery


class Command(BaseCommand):
    """Add a large file to a delivery, slowly."""

    help = "Adds a file to an unfinished delivery, very slowly. The demo starts and kills it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("delivery", type=int, help="id of the delivery")
        parser.add_argument("filename")

    def handle(self, *args: Any, **options: Any) -> None:
        delivery = Delivery.objects.get(pk=options["delivery"])
        delivery.add_file(options["filename"], slow_upload())
