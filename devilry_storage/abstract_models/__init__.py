"""Models that a site subclasses: AbstractDelivery and AbstractFileMeta."""
