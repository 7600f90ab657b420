"""Writes the home page: a card for each specialist, from what the gateway says of it and nothing else.

What a gateway does not say, a card says to be unknown; it never shows a zero in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from appkit_apps import bars, parts
from appkit_apps.app import EVIDENCE, App, place
from appkit_apps.looks import ICON
from appkit_apps.markup import show

__all__ = ["badge", "describe_licences", "describe_size", "write_home"]

FEW = 2
"""most cards that share the whole width; more of them keep the width of one in three"""
LONGEST = 200
"""characters of one text that a card shows"""
LABELS = 6
"""labels that a card names"""

GLYPHS = {
    "generate": "M4 7h16M4 12h9M4 17h6M15 17h5M17.5 14.5L20 17l-2.5 2.5",
    "sequence": "M4 4h8l8 8-8 8-8-8zM8.5 8.5h.01",
    "token": "M4 6h16M4 18h16M3 12h3M18 12h3M8 9h8v6H8z",
}
"""how it answers (in words, with a label, with marked words) -> strokes of its sign"""
OTHER = "M5 5h14v14H5zM9 9h6v6H9z"

FIRST = (
    '<div class="empty"><p><strong>No specialist is served here yet.</strong></p>'
    "<p>Train the first with <code>appkit train task=nl2fol</code>, and serve it with "
    "<code>appkit client add DIRECTORY</code>; with an admin key, the page Train does both. Its card appears here.</p>"
    "</div>"
)


def write_home(
    abouts: Mapping[str, Mapping[str, Any]], apps: Callable[[str], App | None], notices: Sequence[str] = ()
) -> str:
    """Writes the home page. abouts: alias -> what `Client.describe` returned; notices: what is to be said first."""
    cards = "".join(
        write_card(number, alias, about, apps(str(about.get("task"))))
        for number, (alias, about) in enumerate(abouts.items())
    )
    width = "alone" if len(abouts) == 1 else "few" if len(abouts) <= FEW else "many"
    count = f"{len(abouts)} specialist{'s' if len(abouts) > 1 else ''}"
    return (
        f'<div class="look home"><div class="masthead">{ICON}<div><p>appkit</p><h1>Specialists</h1></div></div>'
        '<p class="lead">Each is a small adapter on a base model, trained for one job. Its bars show how it scores '
        f'beside what it has to beat; <a href="{EVIDENCE}">Evidence</a> shows how that was measured.</p>'
        + "".join(f'<p class="notice" role="status">{show(notice)}</p>' for notice in notices)
        + (f'<h2>{count}</h2><ul class="cards {width}">{cards}</ul>' if cards else FIRST)
        + "</div>"
    )


def write_card(number: int, alias: str, about: Mapping[str, Any], app: App | None) -> str:
    """Writes the card of an alias: what it does, its scores, certificate, example and facts. number: its place."""
    path = GLYPHS.get(str(about.get("kind")), OTHER)
    sign = (
        '<svg viewBox="0 0 24 24" width="24" height="24" fill="none" stroke="currentColor" stroke-width="1.8" '
        f'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="{path}"/></svg>'
    )
    title = f"card-{number}"
    # names of links beside the first must not hold the alias: they would be taken for it
    proof = f"{EVIDENCE}?{urlencode({'bundle': alias}, errors='replace')}"
    return (
        f'<li class="card"><div class="top">{sign}<h3 id="{title}"><a href="{place(alias)}">{show(alias)}</a></h3>'
        f'{badge(about.get("certificate"))}</div><p class="does">{_describe_job(about, app)}</p>{_list_labels(about)}'
        f'<div>{_draw_scores(about)}</div><div class="bottom">{_link_example(alias, about, title)}'
        f'<dl class="facts">{_list_facts(about)}</dl>'
        f'<p class="note"><a href="{proof}" aria-describedby="{title}">How it was measured</a></p></div></li>'
    )


def badge(certificate: Any) -> str:
    """Writes whether a version is certified, and for which engine."""
    if not isinstance(certificate, Mapping):
        return '<span class="badge uncertified">not certified</span>'
    name = certificate.get("engine")
    engine = f" for {show(name, LONGEST)}" if name else ""
    if not certificate.get("sealed"):
        return f'<span class="badge uncertified">certified elsewhere{engine}</span>'
    return f'<span class="badge certified">✓ certified{engine}</span>'


def _describe_job(about: Mapping[str, Any], app: App | None) -> str:
    """Says what a specialist does: in its app's sentence, else in its pack's summary."""
    if app is not None and app.sentence:
        return show(app.sentence, LONGEST)
    summary = str(about.get("summary") or "").replace("->", "→").strip().rstrip(".")
    if not summary:
        return "The gateway does not say what it does."
    return show(f"{summary[0].upper()}{summary[1:]}.", LONGEST)


def _list_labels(about: Mapping[str, Any]) -> str:
    labels = about.get("labels")
    if not isinstance(labels, list) or not labels:
        return ""
    names = [str(label) for label in labels]
    if about.get("kind") == "token":  # tags begin or continue an entity of a type, or are outside of any
        names = list(dict.fromkeys(re.sub(r"^[BI]-", "", name) for name in names if name != "O"))
    named = show(", ".join(names[:LABELS]), LONGEST)
    more = f", and {len(names) - LABELS} more" if len(names) > LABELS else ""
    return f'<p class="note">It knows {len(names)} label{"" if len(names) == 1 else "s"}: {named}{more}.</p>'


def _draw_scores(about: Mapping[str, Any]) -> str:
    """Draws the primary metric of the adapter and of what it has to beat."""
    primary = str(about.get("primary") or "")
    scores = bars.read_scores(about.get("metrics"), primary)
    measure = bars.read_measure(about.get("measures"), primary)
    ours = [score for score in scores if score.who == bars.OURS]
    if not ours:
        return f'<p class="metric">No score of {show(primary, LONGEST) or "it"} was recorded.</p>'
    rivals = find_rivals(scores, measure)
    meaning = f' <span class="note">{show(measure.description, LONGEST)}</span>' if measure else ""
    alone = "" if rivals else '<p class="note">Nothing was measured beside it.</p>'
    verdict = str(about.get("verdict") or "").split(": ")[0].rstrip(".")
    said = (
        f'<p class="verdict">{show(verdict[0].upper() + verdict[1:], LONGEST)}.</p>'
        if verdict and rivals
        else ""
    )
    return f'<p class="metric">{show(primary, LONGEST)}{meaning}</p>{bars.draw([*rivals, *ours], measure)}{alone}{said}'


def find_rivals(scores: Sequence[bars.Score], measure: bars.Measure | None) -> list[bars.Score]:
    """Finds what a card shows beside the adapter: the base, and the best other contender where it beats the base."""
    base = [score for score in scores if score.who == "base" or score.who.startswith("base,")]
    others = [score for score in scores if score not in base and not _is_ours(score)]
    if measure is None:
        return [*base, *others]
    best = bars.order([*others, *base], measure)[:1]
    return [*base, *(score for score in best if score not in base)]


def _is_ours(score: bars.Score) -> bool:
    return score.who == bars.OURS or score.who.startswith(f"{bars.OURS},")


def _link_example(alias: str, about: Mapping[str, Any], title: str) -> str:
    """Writes a link to the alias's page with the first example that fits into a link; says where there is none."""
    main = str(about.get("input") or "")
    for example in about.get("examples") or ():
        fields = fill_fields(example, main)
        query = parts.query(fields)
        if query:
            text = " ".join((fields.get(main) or next(iter(fields.values()))).split())
            return (
                f'<a class="example" href="{place(alias)}?{show(query)}" aria-describedby="{title}">'
                f"<span>Try it</span>{show(text, LONGEST)}</a>"
            )
    return '<p class="note">It brings no example that fits into a link.</p>'


def fill_fields(example: Any, main: str) -> dict[str, str]:
    """Returns an example's values for a page's boxes; an empty line parts the items of a list, as pages read it."""
    values = example if isinstance(example, Mapping) else {main: example}
    return {
        str(name): "\n\n".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in values.items()
        if value is not None and value != ""
    }


def _list_facts(about: Mapping[str, Any]) -> str:
    base = about.get("base")
    name = show(base["name"], LONGEST) if isinstance(base, Mapping) and base.get("name") else "unknown"
    facts = {
        "Base": f"{name}{_count_parameters(about.get('size'))}",
        "Licence": describe_licences(about.get("licences")),
        "Size": describe_size(about.get("size")),
        "Version": f"<code>{show(about.get('model') or 'unknown', LONGEST)}</code>",
    }
    return "".join(f"<div><dt>{term}</dt><dd>{value}</dd></div>" for term, value in facts.items())


def _count_parameters(size: Any) -> str:
    count = size.get("base_parameters") if isinstance(size, Mapping) else None
    if not isinstance(count, int) or isinstance(count, bool) or count <= 0:
        return ""
    for unit, word in ((1e9, "billion"), (1e6, "million")):
        if count >= unit:
            return f", {count / unit:.3g} {word} parameters"
    return f", {count:,} parameters"


def describe_licences(licences: Any) -> str:
    """Says under which licences the parts of a bundle are."""
    if not isinstance(licences, Mapping) or not licences:
        return "unknown"
    return show("; ".join(f"{part}: {name or 'unknown'}" for part, name in licences.items()), LONGEST)


def describe_size(size: Any) -> str:
    """Says how large the adapter's weights are."""
    count = size.get("adapter_bytes") if isinstance(size, Mapping) else None
    if not isinstance(count, int) or isinstance(count, bool) or count <= 0:
        return "unknown"
    for unit, word in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.3g} {word}"
    return f"{count / 1e3:.3g} KB"
