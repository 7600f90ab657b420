"""Defines how the gallery looks: theme, styles, and its icon. Nothing of it comes from another machine."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import gradio as gr

__all__ = ["ICON", "LOOKS"]

FONT = ("system-ui", "sans-serif")
BUTTON = "#b93c0b"
"""white on it has a contrast of 5.6, in both themes"""
# fonts of the reader's machine: the page fetches none
THEME = gr.themes.Default(font=FONT, font_mono=("ui-monospace", "monospace")).set(
    button_primary_background_fill=BUTTON,
    button_primary_background_fill_dark=BUTTON,
    button_primary_background_fill_hover="#9a3412",
    button_primary_background_fill_hover_dark="#9a3412",
)
UPLOAD = "2mb"

# a broad base, and the small adapter on it
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" width="48" height="48" aria-hidden="true">'
    f'<rect width="32" height="32" rx="7" fill="{BUTTON}"/>'
    '<rect x="6" y="18" width="20" height="8" rx="2" fill="#ffd3bd"/>'
    '<rect x="14" y="7" width="12" height="9" rx="2" fill="#fff"/></svg>'
)
HEAD = f'<link rel="icon" type="image/svg+xml" href="data:image/svg+xml,{quote(ICON)}">'

PAGES = """
a[data-sveltekit-reload] { color: var(--body-text-color) !important; }
button[role=tab].selected { color: var(--body-text-color) !important; }
span.or { color: var(--body-text-color) !important; }
#report, #audit { overflow: visible !important; }
.about { overflow-wrap: anywhere; }
.gradio-container, .gradio-container * { min-width: 0; }
.gradio-container pre, .gradio-container code { white-space: pre-wrap; overflow-wrap: anywhere; }
ul.tree, ul.tree ul { list-style: none; padding-left: 1.25rem; border-left: 1px solid var(--border-color-primary); }
ul.tree li { margin: .15rem 0; font-size: 1rem; }
ul.tree .node { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
ul.tree .quantifier, ul.tree .connective, ul.tree .negation { font-weight: 600; }
#diff textarea { font-family: ui-monospace, monospace; }
.gradio-container > .main.fillable { max-width: 1264px !important; }
"""

# shared by the home page and the evidence page; every pair of colours has a contrast of 4.5 or more, bars of 3
COLOURS = """
.look {
    --soft: #52525b; --card: #fff; --edge: #d4d4d8; --link: #1d4ed8;
    --ours: #2563eb; --rival: #71717a; --track: #e4e4e7; --line: #18181b;
    --good: #14532d; --good-back: #dcfce7; --open: #713f12; --open-back: #fef3c7;
    color: var(--body-text-color); line-height: 1.5;
}
.dark .look {
    --soft: #c0c0c8; --card: #1c1c1f; --edge: #3f3f46; --link: #93c5fd;
    --ours: #3b82f6; --rival: #8b8b95; --track: #33333a; --line: #fafafa;
    --good: #dcfce7; --good-back: #14532d; --open: #fef3c7; --open-back: #713f12;
}
.look * { box-sizing: border-box; overflow-wrap: anywhere; }
.look a { color: var(--link) !important; text-decoration: underline; text-underline-offset: 2px; }
.look a:not(.example) { padding: 0 !important; margin: 0 !important; }
.look a:focus-visible, .look .wide:focus-visible {
    outline: 3px solid var(--ours); outline-offset: 2px; border-radius: 4px;
}
.look p { margin: 0; }
.look ul { list-style: none; padding: 0; margin: 0; }
.look li { margin: 0 !important; }
.proof tr { border: 0 !important; }
.badge { display: inline-block; padding: .1rem .6rem; border-radius: 1rem; font-size: .85rem; font-weight: 600; }
.badge.certified { color: var(--good); background: var(--good-back); }
.badge.uncertified { color: var(--open); background: var(--open-back); }
ul.bars { display: grid; gap: .5rem; }
ul.bars li { display: flex; flex-wrap: wrap; justify-content: space-between; column-gap: .75rem; font-size: .9rem; }
ul.bars .value { font-variant-numeric: tabular-nums; }
ul.bars .ours { font-weight: 600; }
.bar {
    position: relative; display: block; flex: 0 0 100%; height: .7rem; border-radius: 3px; background: var(--track);
}
.bar i { position: absolute; display: block; }
.bar .fill { top: 0; bottom: 0; border-radius: 3px; background: var(--rival); }
.ours .bar .fill { background: var(--ours); }
.bar .spread { top: calc(50% - 1px); height: 2px; min-width: 2px; background: var(--line); }
.bar .spread::before, .bar .spread::after {
    content: ""; position: absolute; top: -3px; width: 2px; height: 8px; background: var(--line);
}
.bar .spread::before { left: 0; }
.bar .spread::after { right: 0; }
.scale { margin-top: .35rem !important; }
.scale, .note { font-size: .8rem; color: var(--soft); }
dl.facts { margin: 0; font-size: .85rem; }
dl.facts div { display: flex; gap: .5rem; }
dl.facts dt { flex: 0 0 4.5rem; color: var(--soft); }
dl.facts dd { margin: 0; }
"""

HOME = """
.home .masthead { display: flex; align-items: center; gap: .9rem; margin-top: .5rem; }
.home .masthead svg { flex: none; }
.home .masthead p { font-weight: 600; color: var(--soft); line-height: 1.1; }
.home h1 { font-size: 2rem; font-weight: 700; line-height: 1.15; margin: 0; }
.home .lead { font-size: 1.05rem; max-width: 46rem; margin: .9rem 0 0; }
.home h2 { font-size: 1.1rem; font-weight: 600; margin: 1.5rem 0 .75rem; }
.home .notice {
    margin-top: 1rem; padding: .6rem .9rem; border-radius: 8px; color: var(--open); background: var(--open-back);
}
.home ul.cards {
    display: grid; gap: 1rem; align-items: stretch;
    grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr));
}
.home ul.cards.few { grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); }
.home ul.cards.alone { grid-template-columns: 1fr; max-width: 44rem; }
.home .card {
    display: flex; flex-direction: column; gap: .7rem; padding: 1.1rem;
    border: 1px solid var(--edge); border-radius: 12px; background: var(--card);
}
.home .top { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem .6rem; }
.home .top svg { flex: none; color: var(--soft); }
.home h3 { font-size: 1.2rem; font-weight: 700; margin: 0; flex: 1 1 auto; }
.home .does { font-size: 1rem; }
.home .metric { font-size: .9rem; font-weight: 600; margin-bottom: .35rem; }
.home .metric .note { font-weight: 400; }
.home .verdict { font-size: .9rem; margin-top: .4rem; }
.home a.example {
    display: block; padding: .55rem .8rem; border-radius: 8px; border: 1px solid var(--edge);
    background: var(--track); color: var(--body-text-color) !important; text-decoration: none; text-align: left;
    font-weight: 400;
}
.home a.example:hover { border-color: var(--ours); }
.home a.example span { display: block; font-size: .8rem; font-weight: 600; }
.home .bottom { margin-top: auto; display: grid; gap: .5rem; }
.home .empty { padding: 1.5rem; border: 1px dashed var(--edge); border-radius: 12px; margin-top: 1.5rem; }
.home .empty p + p { margin-top: .6rem; }
"""

EVIDENCE = """
.proof h2 { font-size: 1.3rem; font-weight: 700; margin: 1.5rem 0 .5rem; }
.proof h3 { font-size: 1rem; font-weight: 600; margin: 1rem 0 .4rem; }
.proof .sentence { font-size: 1.35rem; font-weight: 600; line-height: 1.35; max-width: 52rem; }
.proof .verdict { padding-left: 1rem; border-left: 4px solid var(--ours); display: grid; gap: .6rem; }
.proof .beside {
    display: grid; gap: 1.25rem; align-items: start;
    grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
}
.proof .beside > * + .note { grid-column: 1 / -1; }
.proof .wide { overflow-x: auto; }
.proof table { border-collapse: collapse; width: 100%; font-size: .9rem; border: 0 !important; }
.proof th, .proof td {
    text-align: left; vertical-align: top; padding: .4rem .7rem .4rem 0 !important;
    border: 0 !important; border-bottom: 1px solid var(--edge) !important;
    min-width: 4.5rem;
}
.proof thead th { color: var(--soft); font-weight: 600; }
.proof tbody th { font-weight: 600; }
.proof tbody th small { display: block; font-weight: 400; color: var(--soft); max-width: 22rem; }
.proof td { font-variant-numeric: tabular-nums; }
.proof td .bar { min-width: 6rem; margin-top: .35rem; }
.proof figure { margin: 0; }
.proof figure img { max-width: 100%; height: auto; background: #fff; border-radius: 8px; }
.proof figcaption { font-size: .8rem; color: var(--soft); }
"""

# options of the gallery, and of pages that are mounted into it later
LOOKS: dict[str, Any] = {
    "show_error": False,
    "ssr_mode": False,
    "max_file_size": UPLOAD,
    "footer_links": [],
    "theme": THEME,
    "css": PAGES + COLOURS + HOME + EVIDENCE,
    "head": HEAD,
}
