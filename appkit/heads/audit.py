"""Formats texts for the label audit, which shows before step 0 what is learned."""

from __future__ import annotations

import re

__all__ = ["SHOWN", "fenced"]

SHOWN = 5
"""rows in an audit"""


def fenced(text: str) -> str:
    """Puts a text into a fenced block of Markdown that shows it as it is, backticks too."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
