"""Data: files become rows, rows become splits, and a report says what is wrong with them."""
