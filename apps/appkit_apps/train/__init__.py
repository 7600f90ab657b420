"""The page where a specialist is trained, for admin keys."""

from appkit_apps.train.page import build

__all__ = ["build"]
