"""Base models: found, loaded, fingerprinted, quantized, and computed with."""
