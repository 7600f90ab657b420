"""Defines the gateway's routes."""
