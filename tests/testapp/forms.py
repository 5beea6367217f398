"""Forms and a serializer of files, as a site would write them."""

from __future__ import annotations

from django import forms
from rest_framework import serializers

from devilry_storage.deliveries.models import FileMeta


class FileForm(forms.ModelForm):  # type: ignore[type-arg]
    """Filename and file."""

    class Meta:
        model = FileMeta
        fields = ("delivery", "filename", "content")


class UploadForm(forms.ModelForm):  # type: ignore[type-arg]
    """Nothing but the file."""

    class Meta:
        model = FileMeta
        fields = ("delivery", "content")


class FileSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """All that a client of an API may write."""

    class Meta:
        model = FileMeta
        fields = ("id", "delivery", "filename", "content")
