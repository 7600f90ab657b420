"""Shows a task that has no app of its own: its fields and examples, and the answer as it is."""

from appkit_apps.app import App
from appkit_apps.generic.page import build

__all__ = ["APP"]

APP = App("generic", build)
