"""Evaluation computes scores with intervals, fits baselines, and writes the report and its pictures."""
