"""Data sets that ship with appkit, one folder each: card.yaml, JSONL. Imports nothing."""
