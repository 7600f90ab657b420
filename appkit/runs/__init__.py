"""Runs: train, evaluate and check from one configuration; what they write lies in a run directory."""
