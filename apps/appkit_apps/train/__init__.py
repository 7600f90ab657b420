"""Trains a specialist from a page, for admin keys."""

from appkit_apps.train.page import build

__all__ = ["build"]
