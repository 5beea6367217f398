"""Courses, and what is handed in there."""
