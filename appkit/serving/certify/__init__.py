"""Certifies that an engine computes what the trained model computed."""
