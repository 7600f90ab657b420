"""Runs the gateway, one endpoint in front of the engines."""
