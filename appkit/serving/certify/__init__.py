"""Certificates: the engine gives what training gave."""
