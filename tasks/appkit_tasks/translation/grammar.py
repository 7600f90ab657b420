"""Writes a grammar (EBNF of xgrammar) that a translation must follow to keep the spans of its source.

Each line of the source becomes an automaton. A state is what of the line has been written; from it any span may
follow that its order allows, with free text between. Placeholders with a name or a number, code and URLs may come in
any order; printf arguments without a number come in their own; tags stay nested as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

from appkit_tasks.translation.icu import parse_choice
from appkit_tasks.translation.protected import WORDS, find_arguments, is_numbered
from appkit_tasks.translation.spans import TAG, VOID, Span, find

__all__ = ["pattern"]

STATES = 128
"""of a line; one with more orders than that keeps the order of its source"""

SIGNS = "%{}<>`\\*_|@$~^[]="
"""signs that free text may have only where the source's has them: they begin spans, or stand where one was lost"""

SLACK = 12
"""characters that free text may have beyond twice the longest of the source"""

BREAK = re.compile(r"\r\n|\r|\n")
TITLED = re.compile(r"(?P<words>[^<>`]*)(?P<target> ?<[^<>]*>)\Z")


def pattern(source: str, *, numbered: bool = False) -> str:
    """Returns the grammar of translations that keep the source's spans, in an order it allows, and its line breaks.

    Free text has none of the signs that begin a span, unless the source has them outside its spans. numbered: `%s %d`
    may also become `%2$d %1$s`, as C, Java and PHP read it and Python does not.
    """
    grammar = _Grammar(_free_text(source))
    spans = find(source)
    roots = [grammar.write_message(source, spans)]
    arguments = find_arguments(spans)
    if numbered and len(arguments) > 1 and not any(map(is_numbered, arguments)):
        numbers = {span.start: number for number, span in enumerate(arguments, 1)}
        renamed = [
            span._replace(text=f"%{numbers[span.start]}${span.text[1:]}") if span.start in numbers else span
            for span in spans
        ]
        roots.append(grammar.write_message(source, renamed))
    return "\n".join([f"root ::= {' | '.join(roots)}", f"text ::= {grammar.text}", *grammar.rules, ""])


def _free_text(source: str) -> str:
    """Returns the expression of text between spans."""
    outside, at = [], 0
    for span in find(source):
        outside.append(source[at : span.start])
        at = span.end
    outside.append(source[at:])
    free = "".join(outside)
    excluded = "".join(_class_sign(sign) for sign in SIGNS if sign not in free)
    # bounded: else a model that has lost a span writes on until it is cut off
    longest = 2 * max(map(len, outside)) + SLACK
    return f"[^{excluded}\\r\\n]{{0,{longest}}}"


def _class_sign(sign: str) -> str:
    return f"\\{sign}" if sign in "\\]^-" else sign


def _quote(text: str) -> str:
    """Writes a text as a literal of EBNF."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


@dataclass
class _Grammar:
    """Collects the rules of a grammar."""

    text: str
    """expression of free text"""
    rules: list[str] = field(default_factory=list)

    def write_message(self, source: str, spans: Sequence[Span]) -> str:
        """Writes the rules of a text with its spans and line breaks; returns the expression of the whole."""
        in_turn = {span.start for span in find_arguments(spans) if not is_numbered(span)}
        parts: list[str] = []
        line: list[Span] = []
        start = 0
        for mark in _marks(source, spans):
            if isinstance(mark, Span):
                line.append(mark)
            else:
                parts += [self._write_line(source[start : mark.start()], line, in_turn), _quote(mark[0])]
                line, start = [], mark.end()
        return " ".join([*parts, self._write_line(source[start:], line, in_turn)])

    def _write_line(self, line: str, spans: Sequence[Span], in_turn: Set[int]) -> str:
        """Writes the rules of a line; returns the expression of the whole line."""
        if not line.strip():
            return "[ \\t]*"
        head = ""
        if spans and spans[0].kind == "markdown" and spans[0].text.startswith("#"):
            head, spans = f"{_quote(spans[0].text + ' ')} ", spans[1:]
        items = [self._write_span(span) for span in spans]
        orders = _orders(spans, in_turn)
        if orders is None:
            return head + " ".join(["text", *(f"{item} text" for item in items)])
        names: dict[frozenset[int], str] = {}
        for state in orders:
            names[state] = f"s{len(self.rules)}"
            self.rules.append("")  # its place; it names states that come later
        for state, following in orders.items():
            choices = " | ".join(f"{items[place]} {names[state | {place}]}" for place in following)
            self.rules[int(names[state][1:])] = (
                f"{names[state]} ::= text {f'({choices})' if choices else ''}".rstrip()
            )
        return head + names[frozenset()]

    def _write_span(self, span: Span) -> str:
        """Returns the expression of a span; the words in a plural, a role or a link are free."""
        if span.kind == "icu" and (choice := parse_choice(span.text, 0)):
            parts, at = [], 0
            for branch in choice.branches:
                inside = span.text[branch.start : branch.end]
                spans = [nested for nested in find(inside) if nested.text[0] != "#"]  # here it is the number
                parts += [_quote(span.text[at : branch.start]), self.write_message(inside, spans)]
                at = branch.end
            return " ".join([*parts, _quote(span.text[at:])])
        if span.kind == "rst" and "`" in span.text and not span.text.startswith("``"):
            before, _, inside = span.text.partition("`")
            inside, _, after = inside.rpartition("`")
            if titled := TITLED.match(inside):
                inside = titled["target"] if titled["words"] else ""
            elif before.strip(":").rpartition(":")[2].lower() in WORDS or after:
                inside = ""
            else:
                return _quote(span.text)
            return f"{_quote(before + '`')} [^`<>\\r\\n]+ {_quote(inside + '`' + after)}"
        return _quote(span.text)


def _marks(source: str, spans: Sequence[Span]) -> Iterator[Span | re.Match[str]]:
    """Lists spans and the line breaks outside them, in order."""
    at = 0
    for span in spans:
        yield from BREAK.finditer(source, at, span.start)
        yield span
        at = span.end
    yield from BREAK.finditer(source, at)


def _orders(spans: Sequence[Span], in_turn: Set[int]) -> dict[frozenset[int], list[int]] | None:
    """Returns which spans may follow which have been written, from none to all; None where there are too many ways.

    in_turn: where the arguments begin that are taken in turn.
    """
    opened, enclosing = _nesting(spans)
    earlier = [
        frozenset(
            before
            for before, other in enumerate(spans[:place])
            if (span.kind == other.kind == "tag" and opened is None)
            or (span.start in in_turn and other.start in in_turn)
            or (span.kind != "tag" and span.text == other.text)  # two of the same are not two ways
        )
        for place, span in enumerate(spans)
    ]
    orders: dict[frozenset[int], list[int]] = {}
    waiting = [frozenset[int]()]
    while waiting:
        written = waiting.pop()
        if written in orders:
            continue
        if len(orders) == STATES:
            return None
        unclosed = [start for start, end in (opened or {}).items() if start in written and end not in written]
        innermost = max(unclosed, default=-1)
        orders[written] = [
            place
            for place in range(len(spans))
            if place not in written
            and earlier[place] <= written
            and enclosing.get(place, innermost) == innermost
        ]
        waiting += [written | {place} for place in orders[written]]
    return orders


def _nesting(spans: Sequence[Span]) -> tuple[dict[int, int] | None, dict[int, int]]:
    """Returns the end tag of each start tag (None if they are not in pairs), and the start tag around each tag, or -1.

    An end tag counts as inside its element.
    """
    pairs: dict[int, int] = {}
    enclosing: dict[int, int] = {}
    stack: list[tuple[str, int]] = []
    for place, span in enumerate(spans):
        tag = TAG.fullmatch(span.text) if span.kind == "tag" else None
        if tag is None:
            continue
        enclosing[place] = stack[-1][1] if stack else -1
        if tag["close"]:
            if not stack or stack[-1][0] != tag["name"]:
                return None, {}
            pairs[stack.pop()[1]] = place
        elif not tag["empty"] and tag["name"].lower() not in VOID:
            stack.append((tag["name"], place))
    return (None, {}) if stack else (pairs, enclosing)
