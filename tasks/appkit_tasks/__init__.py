"""Holds the task packs, one folder each. appkit scans this package: a new pack is a new folder."""
