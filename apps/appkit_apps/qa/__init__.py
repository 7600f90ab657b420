"""Shows questions with their answers and the passages that the answers were given from."""

from appkit_apps.app import App
from appkit_apps.qa.page import build

__all__ = ["APP"]

APP = App("qa", build, "Answers a question from passages and cites them, or says that they leave it open.")
