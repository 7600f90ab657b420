"""Shows a change file by file with the remarks of its review, its commit message, or its updated comment."""

from appkit_apps.app import App
from appkit_apps.codechange.page import build

__all__ = ["APP"]

APP = App("codechange", build, "Reviews a change of code, writes its commit message, or updates a comment.")
