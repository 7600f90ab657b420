"""Compares what a translation must keep with its source: placeholders, tags, URLs, code and marks.

Two spans are the same if their keys are: the words inside a role, a link or the branch of a plural are translated.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from appkit_tasks.translation.icu import CATEGORIES, parse_choice
from appkit_tasks.translation.spans import KINDS, STRFTIME, TAG, VOID, Span, find

__all__ = [
    "KINDS",
    "WORDS",
    "Difference",
    "Span",
    "compare",
    "find",
    "find_arguments",
    "is_numbered",
    "key_of",
    "share",
]

TRANSLATED = frozenset(
    {"alt", "title", "placeholder", "aria-label", "label", "summary", "lang", "xml:lang", "dir"}
)
"""attributes whose values belong to the language"""

ATTRIBUTE = re.compile(r"([\w:@.-]+)(?:\s?=\s?(\\?\"[^\"]*\"|\\?'[^']*'|[^\s\"'<>=`]+))?")

WORDS = {
    "abbr", "dfn", "emphasis", "guilabel", "menuselection", "strong", "sub", "subscript", "sup", "superscript",
    "term", "title", "title-reference", "kbd",
}  # fmt: skip
"""RST roles whose text is translated, as that of a glossary's term is"""

QUOTES = "\\\"'"

NUMBER = re.compile(r"(?<=%)(\d{1,2})\$")
CACHED = 200
"""characters of a span whose key is remembered"""

STRUCTURAL = {"&lt;", "&gt;", "&nbsp;"}
"""entities that are not just another spelling of a letter or a sign of the language"""


@dataclass(frozen=True)
class Difference:
    """What a translation does not keep; false where it keeps all."""

    missing: tuple[Span, ...] = ()
    """spans of the source"""
    extra: tuple[Span, ...] = ()
    """spans of the target, as are the next two"""
    reordered: tuple[Span, ...] = ()
    """printf arguments without number out of order, or tags inside others than before"""
    unbalanced: tuple[Span, ...] = ()
    """tags that open or close nothing, where the source's tags are in pairs"""

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.reordered or self.unbalanced)

    def __str__(self) -> str:
        parts = (
            ("lost", self.missing),
            ("added", self.extra),
            ("out of order", self.reordered),
            ("without partner", self.unbalanced),
        )
        return "; ".join(f"{what} {_listed(spans)}" for what, spans in parts if spans)


SAME = Difference()


def _listed(spans: Sequence[Span]) -> str:
    texts = [span.text if len(span.text) <= 40 else f"{span.text[:39]}…" for span in spans[:4]]
    more = [f"{len(spans) - 4} more"] if len(spans) > 4 else []
    return ", ".join([*(text.replace("\n", "\\n") for text in texts), *more])


def compare(source: str, target: str, *, accelerators: bool = False) -> Difference:
    """Tells which spans of the source the target lacks, adds, reorders or breaks.

    Named and numbered placeholders may stand in any order; printf arguments without a number may not, unless the
    target numbers them (`%2$d %1$s`).
    """
    ours, theirs = find(source, accelerators=accelerators), find(target, accelerators=accelerators)
    if [span.text for span in ours] == [span.text for span in theirs]:
        return SAME
    our_turn, their_turn = find_arguments(ours), find_arguments(theirs)
    numbered = _may_number(our_turn, their_turn)
    keys = [_key_in_turn(span) if numbered and _number(span) else key_of(span) for span in theirs]
    missing, extra = _unmatched(ours, theirs, keys)
    missing = [span for span in missing if not _is_spelled(span, target)]
    markup = any(span.kind == "tag" for span in ours)
    extra = [span for span in extra if not (markup and _is_entity(span)) and not _is_marked(span, source)]
    lost_or_added = {span.kind for span in (*missing, *extra)}
    reordered = [] if "printf" in lost_or_added else _out_of_turn(our_turn, their_turn)
    our_unpaired, nesting = _elements(ours)
    unbalanced = [] if our_unpaired else _elements(theirs)[0]
    if not our_unpaired and not unbalanced and "tag" not in lost_or_added:
        reordered += _moved_tags(theirs, nesting)
    return Difference(tuple(missing), tuple(extra), tuple(reordered), tuple(unbalanced))


def share(source: str, target: str) -> tuple[int, int]:
    """Counts the spans that are kept, and all: those of the source and those that the target adds.

    A span out of order, or without its partner, is not kept.
    """
    difference = compare(source, target)
    total = len(find(source)) + len(difference.extra)
    broken = {*difference.reordered, *difference.unbalanced} - {*difference.extra}
    kept = total - len(difference.extra) - len(difference.missing) - len(broken)
    return kept, total


def key_of(span: Span) -> tuple[str, str]:
    """Returns what must be the same in source and target."""
    return span.kind, _cached_key(*span[:2]) if len(span.text) <= CACHED else _key(*span[:2])


def _key(kind: str, text: str) -> str:
    return KEYS[kind](text) if kind in KEYS else text


_cached_key = lru_cache(maxsize=1 << 14)(_key)


def _tag_key(text: str) -> str:
    """Returns the tag with its attributes sorted, without the values that are translated."""
    tag = TAG.fullmatch(text)
    if tag is None:
        return text
    attributes = sorted(
        name if name.lower() in TRANSLATED else f"{name}={value.strip(QUOTES)}"
        for name, value in ATTRIBUTE.findall(tag["attributes"])
    )
    mark = "/" if tag["empty"] and tag["name"].lower() not in VOID else ""  # <br> is <br/>
    return " ".join([f"<{tag['close'] or ''}{tag['name']}", *attributes]) + f"{mark}>"


def _rst_key(text: str) -> str:
    """Returns role and target: of `` :ref:`words <target>` `` the words are translated."""
    if text.startswith("``") or text[0] in "|[":
        return text
    role, _, content = text.partition("`")
    content, _, after = content.rpartition("`")
    if role.strip(":").rpartition(":")[2].lower() in WORDS:
        return role
    if target := re.search(r"<([^<>]*)>\Z", content):
        content = target[1]
    elif after:
        content = "_"  # a link by its words; its URL stands elsewhere
    return f"{role}{content.lstrip('~!.').removesuffix('()')}"


def _markdown_key(text: str) -> str:
    """Returns of a code block its language, of a link its URL without the title."""
    if text.startswith("```"):
        return text.partition("\n")[0]
    return re.sub(r"\s\"[^\"]*\"\)\Z", ")", text)


def _icu_key(text: str) -> str:
    """Returns variable, type and keywords, and what the branches hold beside words.

    Of a plural only the branch `other` must hold the same: each language has its own categories, and `one file` may
    stand for `{n} file`.
    """
    choice = parse_choice(text, 0)
    if choice is None:
        return re.sub(r"\s", "", text)
    parts = [f"{{{choice.variable}, {choice.type}, {choice.offset}"]
    everything: set[str] = set()
    for branch in sorted(choice.branches):
        inside = _inside(text[branch.start : branch.end])
        everything.update(inside)
        if choice.type == "select" or branch.keyword == "other":
            parts.append(f"{branch.keyword} {inside}")
        elif branch.keyword not in CATEGORIES:
            parts.append(branch.keyword)
    return " ".join([*parts, *sorted(everything)])


def _inside(message: str) -> list[str]:
    """Lists what a branch must keep: its spans, and whether it shows the number."""
    keys = [key_of(span)[1] for span in find(message) if not span.text.startswith("#")]
    return sorted(keys + ["#"] * ("#" in message))


KEYS: dict[str, Callable[[str], str]] = {
    "tag": _tag_key,
    "rst": _rst_key,
    "markdown": _markdown_key,
    "icu": _icu_key,
    "brace": lambda text: re.sub(r"\s", "", text),
    "url": lambda text: text.rstrip("/"),
    "accelerator": lambda text: "&",
}


def _unmatched(
    ours: Sequence[Span], theirs: Sequence[Span], their_keys: Sequence[tuple[str, str]]
) -> tuple[list[Span], list[Span]]:
    """Lists the spans without a partner of the same key: those of the source, and those of the target."""
    left = Counter(their_keys)
    missing = []
    for span in ours:
        key = key_of(span)
        if left[key]:
            left[key] -= 1
        else:
            missing.append(span)
    extra = []
    for span, key in zip(reversed(theirs), reversed(their_keys), strict=True):  # the last are those too many
        if left[key]:
            left[key] -= 1
            extra.append(span)
    return missing, extra[::-1]


def _is_entity(span: Span) -> bool:
    """Tells whether a span is an entity for a letter or sign that a language may or may not need."""
    return span.kind == "tag" and span.text[0] == "&" and span.text not in STRUCTURAL


def _is_spelled(span: Span, target: str) -> bool:
    """Tells whether the target needs no such entity: it may write another one, or the sign itself."""
    if span.text == "&nbsp;":
        return "\xa0" in target or "\u202f" in target
    return _is_entity(span)


def _is_marked(span: Span, source: str) -> bool:
    """Tells whether a span of the target is code that the source has too, perhaps without the marks of code."""
    return span.text[0] == "`" and span.text.strip("`") in source


def find_arguments(spans: Sequence[Span]) -> list[Span]:
    """Lists the printf arguments in the order in which they are taken: `%s`, `%2$s`, not `%(name)s`, `%%`.

    None where dates are written (`%d.%m.%Y`), whose order is the language's.
    """
    arguments = [span for span in spans if span.kind == "printf" and span.text[1] not in "%("]
    if any(STRFTIME.fullmatch(span.text) for span in arguments):
        return []
    return sorted(arguments, key=_number) if all(map(_number, arguments)) else arguments


def is_numbered(span: Span) -> bool:
    """Tells whether a printf argument says which it is: `%2$s`."""
    return _number(span) > 0


def _number(span: Span) -> int:
    """Returns 2 for `%2$s`, 0 for `%s`."""
    match = NUMBER.search(span.text)
    return int(match[1]) if match else 0


def _key_in_turn(span: Span) -> tuple[str, str]:
    return span.kind, NUMBER.sub("", span.text)


def _may_number(ours: Sequence[Span], theirs: Sequence[Span]) -> bool:
    """Tells whether the target numbers arguments that the source takes in turn: each once, from 1."""
    numbers = [_number(span) for span in theirs]
    return not any(map(_number, ours)) and numbers == [*range(1, len(theirs) + 1)]


def _out_of_turn(ours: Sequence[Span], theirs: Sequence[Span]) -> list[Span]:
    """Lists the target's arguments that are taken for others; those that the source numbers never are."""
    in_turn = [span for span in ours if not _number(span)]
    if len(in_turn) < len(ours):
        theirs = [span for span in theirs if not _number(span)]
    return [
        span
        for other, span in zip(in_turn, theirs, strict=False)
        if _key_in_turn(other) != _key_in_turn(span)
    ]


def _elements(spans: Sequence[Span]) -> tuple[list[Span], Counter[tuple[str, str]]]:
    """Returns the tags without partner, and how often each tag stands in which other: (tag, enclosing tag)."""
    open_tags: list[tuple[str, Span]] = []
    unpaired = []
    nesting: Counter[tuple[str, str]] = Counter()
    for span in spans:
        tag = TAG.fullmatch(span.text) if span.kind == "tag" else None
        if tag is None:
            continue
        name = tag["name"]
        if not tag["close"]:
            nesting[_key("tag", span.text), _key("tag", open_tags[-1][1].text) if open_tags else ""] += 1
            if not tag["empty"] and name.lower() not in VOID:
                open_tags.append((name, span))
        elif open_tags and open_tags[-1][0] == name:
            open_tags.pop()
        else:
            unpaired.append(span)
    return unpaired + [span for _, span in open_tags], nesting


def _moved_tags(spans: Sequence[Span], nesting: Counter[tuple[str, str]]) -> list[Span]:
    """Lists the tags of the target that stand in other tags than in the source."""
    _, theirs = _elements(spans)
    moved = {tag for tag, _ in theirs - nesting}
    return [span for span in spans if span.kind == "tag" and _key("tag", span.text) in moved]
