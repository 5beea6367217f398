"""Tests of storages/disk."""
