"""Task packs, one folder each."""
