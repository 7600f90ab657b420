"""Bundles are the results of runs: written, found, loaded, certified and served."""
