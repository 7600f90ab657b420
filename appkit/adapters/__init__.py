"""Adapter methods: one folder each; files are the parts that several share."""
