"""A custom user model with a UUID as primary key, login by email and no username."""
