"""Deleted files: tombstones, purging, orphans."""
