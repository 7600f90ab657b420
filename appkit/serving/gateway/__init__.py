"""The gateway: one endpoint in front of the engines."""
