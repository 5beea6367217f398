"""A small site: students deliver, examiners fetch what was delivered."""
