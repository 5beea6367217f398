"""A small app for the tests: every shape that a model of files may have, and what uses it."""
