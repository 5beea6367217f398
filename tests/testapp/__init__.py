"""A small app for the tests, with all kinds of file models, and forms, views and stores."""
