"""Forms and a serializer for files, as in a site."""

from __future__ import annotations

from django import forms
from rest_framework import serializers

from devilry_storage.deliveries.models import FileMeta


class FileForm(forms.ModelForm):  # type: ignore[type-arg]
    """A form with a filename and a file."""

    class Meta:
        model = FileMeta
        fields = ("delivery", "filename", "content")


class UploadForm(forms.ModelForm):  # type: ignore[type-arg]
    """A form with a file, but without a filename."""

    class Meta:
        model = FileMeta
        fields = ("delivery", "content")


class FileSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """A serializer of all fields that clients of an API may write."""

    class Meta:
        model = FileMeta
        fields = ("id", "delivery", "filename", "content")
