"""Shows texts with their labels: bars of calibrated probabilities, many rows at once, and which words mattered."""

from appkit_apps.app import App
from appkit_apps.classification.page import build

__all__ = ["APP"]

APP = App("classification", build, "Gives a text its label, and says how sure it is of each.")
