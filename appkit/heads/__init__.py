"""Heads make the answers, in words or by choosing labels; one protocol covers what differs between them."""
