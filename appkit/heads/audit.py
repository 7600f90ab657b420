"""How the label audit shows texts: what is learned, before step 0."""

from __future__ import annotations

import re

__all__ = ["SHOWN", "fenced"]

SHOWN = 5
"""rows in an audit"""


def fenced(text: str) -> str:
    """A block of Markdown that shows text as it is, whatever stands in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
