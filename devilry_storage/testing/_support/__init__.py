"""Helpers of the conformance suite."""
