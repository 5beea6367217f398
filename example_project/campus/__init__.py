"""A small site where students deliver files and examiners download them."""
