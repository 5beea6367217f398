"""Admins of the courses: a ModelAdmin of Django, and subclasses of devilry_storage.admin."""

from __future__ import annotations

from django.contrib import admin

from devilry_storage.admin import (
    DeliveryAdmin,
    FileMetaAdmin,
    FileMetaInline,
    NewFileMetaInline,
    StoreAdmin,
)

from .models import Course, Handin, Poster, Submission, SubmittedFile


class PosterInline(FileMetaInline):
    """The posters of a course."""

    model = Poster


class NewPosterInline(NewFileMetaInline):
    """New posters of a course."""

    model = Poster


@admin.register(Course)
class CourseAdmin(StoreAdmin):
    """Courses with their posters."""

    search_fields = ("title",)
    inlines = (PosterInline, NewPosterInline)


@admin.register(Handin)
class HandinAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A ModelAdmin that does not use devilry_storage.admin."""

    list_display = ("filename", "course", "student", "size")
    search_fields = ("filename", "student__email")
    autocomplete_fields = ("student",)


admin.site.register(Poster, FileMetaAdmin)
admin.site.register(SubmittedFile, FileMetaAdmin)


class SubmittedFileInline(FileMetaInline):
    """The files of a submission."""

    model = SubmittedFile


class NewSubmittedFileInline(NewFileMetaInline):
    """New files of a submission."""

    model = SubmittedFile


@admin.register(Submission)
class SubmissionAdmin(DeliveryAdmin):
    """Submissions with their files."""

    inlines = (SubmittedFileInline, NewSubmittedFileInline)
