"""Heads: what is learned at the labelled positions. A head declares the unit its loss is counted in."""
