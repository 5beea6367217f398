"""An app with courses and their files."""
