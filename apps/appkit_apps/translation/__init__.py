"""Shows texts beside their translations, with terms and placeholders marked, and translates files."""

from appkit_apps.app import App
from appkit_apps.translation.page import build

__all__ = ["APP"]

APP = App("translation", build, "Translates texts and files, and keeps terms, placeholders and format.")
