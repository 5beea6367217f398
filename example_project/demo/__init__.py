"""Fill the example project with real files and demonstrate devilry-storage."""
