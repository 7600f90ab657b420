"""Base models: locate, load, fingerprint and quantize them, and compute with them."""
