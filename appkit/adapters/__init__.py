"""Adapters holds the adapter methods, a folder each; files are parts that several methods share."""
