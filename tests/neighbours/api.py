"""An API for delivered files, as the tutorial of REST framework shows."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers, viewsets

from devilry_storage.exceptions import DeliveryFinished, InvalidFilename

from .models import SentFile


class SentFileSerializer(serializers.ModelSerializer[SentFile]):
    class Meta:
        model = SentFile
        fields = ["id", "delivery", "filename", "content", "size", "sha256"]

    def save(self, **kwargs: Any) -> Any:
        # REST framework does not call clean() of the model.
        try:
            return super().save(**kwargs)
        except (DeliveryFinished, InvalidFilename) as exception:
            raise serializers.ValidationError(str(exception)) from exception


class SentFileViewSet(viewsets.ModelViewSet[SentFile]):
    queryset: Any = SentFile.objects.order_by("pk")
    serializer_class = SentFileSerializer
    permission_classes: Any = []
