"""Engines that answer with bundles, and what has to hold before one may."""
