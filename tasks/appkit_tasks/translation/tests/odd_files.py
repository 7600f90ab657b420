"""Odd files of every format, as they come from real tools."""

from __future__ import annotations

from appkit_tasks.translation.tests.odd_po import PO
from appkit_tasks.translation.tests.odd_text import MARKDOWN, PARALLEL, TEXT
from appkit_tasks.translation.tests.odd_xml import TMX, XLIFF

FILES = [*PO, *XLIFF, *TMX, *PARALLEL, *TEXT, *MARKDOWN]
