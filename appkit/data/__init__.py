"""Data: readers turn files into rows, rows are split, and a report says what is wrong with them."""
