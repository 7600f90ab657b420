"""The page of qa: a question, the answer, and the passages that it was given from."""

from appkit_apps.app import App
from appkit_apps.qa.page import build

__all__ = ["APP"]

APP = App("qa", build)
