"""Runs train, evaluate and check from one configuration, and write into a run directory."""
