"""Task packs, one folder each. Found by scanning: a new pack is a new folder."""
