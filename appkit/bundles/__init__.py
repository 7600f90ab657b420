"""Bundles: what a run leaves behind to be loaded, certified and served."""
