"""Defines how a change looks; signs and words tell as much as colours.

Every ink has a contrast of 4.5 or more on each of the backs, in both themes.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["BACKS", "INKS", "STYLE"]

THEMES = ("light", "dark")
BACKS: Mapping[str, tuple[str, str]] = {
    "same": ("#ffffff", "#1c1c1f"),
    "added": ("#dcf5e3", "#12321f"),
    "removed": ("#fde4e4", "#451a1e"),
    "head": ("#e4e4e7", "#33333a"),
}
"""what lies behind code: unchanged, added and removed lines, and heads -> its colour in the light theme and the dark"""
INKS: Mapping[str, tuple[str, str]] = {
    "plain": ("#18181b", "#fafafa"),
    "faint": ("#52525b", "#c0c0c8"),
    "comment": ("#4b5563", "#b4bcc8"),
    "keyword": ("#a11236", "#ff9db0"),
    "string": ("#0b5a37", "#8fe0b4"),
    "number": ("#0a4fa3", "#93c5fd"),
    "name": ("#6231a8", "#d6b8ff"),
}
"""class of a run, plain code, and line numbers -> its colour in both themes"""


def _define(theme: int) -> str:
    return " ".join(f"--{name}: {colours[theme]};" for name, colours in {**BACKS, **INKS}.items())


RUNS = "\n".join(f".change .{name} {{ color: var(--{name}); }}" for name in INKS)

# scoped by Gradio to its component, which & stands for
STYLE = f"""
.change {{ {_define(0)} display: grid; gap: 1rem; }}
.dark & .change {{ {_define(1)} }}
.change > * {{ border: 1px solid var(--edge); border-radius: 8px; background: var(--same); color: var(--plain); }}
.change h2 {{ font-size: .9rem; font-weight: 600; margin: 0 !important; color: var(--plain); }}
.change .answers {{
    display: grid; gap: 1rem; border: 0; background: none;
    grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr));
}}
.change .answer {{
    border: 1px solid var(--edge); border-radius: 8px; padding: .8rem 1rem; background: var(--same);
    color: var(--plain);
}}
.change .prose {{ white-space: pre-wrap; margin-top: .5rem !important; font-size: 1.05rem; color: var(--plain); }}
.change .seen {{ padding: .6rem 1rem; font-size: .9rem; }}
.change .note {{ color: var(--faint); font-size: .85rem; }}
.change summary {{ cursor: pointer; }}
.change pre {{ margin: .5rem 0 0; font-size: .85rem; background: none; color: var(--plain); }}
.change .file {{ overflow: hidden; }}
.change .file > h2 {{ padding: .5rem 1rem; background: var(--head); }}
.change .file > p {{ padding: .5rem 1rem; }}
.change table {{ width: 100%; table-layout: fixed; border-collapse: collapse; border: 0 !important; margin: 0; }}
.change th, .change td {{
    border: 0 !important; padding: 0 .4rem !important; vertical-align: top; text-align: left; font-size: .85rem;
    line-height: 1.5; color: var(--plain); font-weight: 400;
}}
.change tr {{ border: 0 !important; background: none; }}
.change thead th {{ height: 1px; font-size: 1px; line-height: 1px; color: transparent; }}
.change col.no {{ width: 3.4rem; }}
.change col.sign {{ width: 1.4rem; }}
@media (max-width: 640px) {{ .change col.no {{ width: 2.4rem; }} }}
.change td.no {{ text-align: right; font-variant-numeric: tabular-nums; user-select: none; color: var(--faint); }}
.change td.sign {{ user-select: none; }}
.change td.code, .change pre, .change td.sign {{ font-family: ui-monospace, monospace; }}
.change td.code {{ white-space: pre-wrap; tab-size: 4; }}
.change tr.added td {{ background: var(--added); }}
.change tr.removed td {{ background: var(--removed); }}
.change tr.hunk td {{ background: var(--head); padding: .2rem 1rem !important; }}
.change mark {{
    color: var(--plain); background: none; border: 1px solid var(--faint); border-radius: 3px; font-size: .8em;
    padding: 0 .1rem; user-select: none;
}}
.change ins {{ background: var(--added); text-decoration: underline 2px; text-underline-offset: 3px; }}
.change del {{ background: var(--removed); text-decoration: line-through; }}
.change ul {{ display: grid; gap: .4rem; padding: .5rem 1rem; }}
.change .answer ul {{ padding: .5rem 0 0; }}
.change .remark {{
    white-space: pre-wrap; border: 1px solid var(--faint); border-left: 5px solid var(--faint); border-radius: 6px;
    padding: .35rem .7rem; background: var(--same); color: var(--plain); font-size: .9rem;
}}
.change td.said {{ padding: .4rem 1rem !important; background: var(--head); }}
.change .remark + .remark {{ margin-top: .4rem; }}
.change .remark.error {{ border-left-color: var(--keyword); }}
.change .remark.warning {{ border-left-color: var(--name); }}
{RUNS}
"""
