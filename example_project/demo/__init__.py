"""Fills the example project with real files, and shows what devilry-storage does with them."""
