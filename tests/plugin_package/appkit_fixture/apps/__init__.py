"""Task apps, one folder each."""
