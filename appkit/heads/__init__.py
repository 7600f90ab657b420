"""Heads: how answers are made, in words or by choosing labels; one protocol for whatever differs between them."""
