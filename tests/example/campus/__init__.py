"""Tests of the example site, which run with its settings."""
