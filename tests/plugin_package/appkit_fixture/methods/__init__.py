"""Adapter methods, one folder each."""
