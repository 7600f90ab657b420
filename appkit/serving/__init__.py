"""Serves bundles: engines that answer with them, and the checks that come before."""
