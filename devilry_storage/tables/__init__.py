"""The package's own models: tombstones, store marks, monthly sums."""
