"""Database helpers: the database's clock, transactions, rows and indexes."""
