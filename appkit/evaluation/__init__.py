"""Evaluation: scores with intervals, baselines, the report and its pictures."""
