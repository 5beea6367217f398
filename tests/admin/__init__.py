"""Tests of the admin, which use its pages as a browser would."""
