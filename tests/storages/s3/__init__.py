"""Tests of storages/s3."""
