"""A user model unlike Django's: UUID as primary key, login by email, no username."""
