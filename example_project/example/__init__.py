"""A small project that keeps its deliveries in devilry-storage."""
