"""Shows English as first-order logic: the formula, its tree, the base's answer beside it, and a prover."""

from appkit_apps.app import App
from appkit_apps.nl2fol.page import build

__all__ = ["APP"]

APP = App("nl2fol", build, "Writes an English sentence as a formula of first-order logic.")
