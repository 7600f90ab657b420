"""Shows texts with their entities: highlighted, with confidences, and spans that can be corrected."""

from appkit_apps.app import App
from appkit_apps.ner.page import build

__all__ = ["APP"]

APP = App("ner", build, "Finds the names in a text, and says of what type each one is.")
