"""The tests of devilry-storage."""
