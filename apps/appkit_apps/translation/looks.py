"""Defines how the marks of a translation look; their words tell as much as their colours.

The colours are those of the gallery (`.look`), which have a contrast of 4.5 or more in both themes.
"""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
.sides { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
.side { border: 1px solid var(--edge); border-radius: 8px; padding: .8rem 1rem; background: var(--card); }
.side h2 { font-size: .85rem; font-weight: 600; margin: 0 0 .5rem; color: var(--soft); }
.marked { white-space: pre-wrap; font-size: 1.05rem; line-height: 1.9; }
mark { color: inherit; background: none; padding: .05rem .25rem; border-radius: 4px; }
mark.keep { font-family: ui-monospace, monospace; font-size: .9em; border: 1px solid var(--soft); }
mark.term { text-decoration: underline 2px; text-underline-offset: 3px; background: var(--track); }
mark.wrong { color: var(--open); background: var(--open-back); border: 2px dashed var(--open); }
mark small { font-family: system-ui, sans-serif; font-size: .8rem; font-style: italic; user-select: none; }
ul.remarks { margin-top: .7rem; display: grid; gap: .3rem; font-size: .9rem; }
ul.remarks li { padding: .2rem .6rem; border-radius: 6px; color: var(--open); background: var(--open-back); }
.note { margin-top: .6rem; }
.segments td { min-width: 9rem; }
.review { font-weight: 600; }
progress { width: 100%; accent-color: var(--ours); }
"""
