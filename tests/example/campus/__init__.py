"""What the example site does, told in a project of its settings."""
