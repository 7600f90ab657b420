"""Finds the parts of a text that a translation must keep: placeholders, tags, URLs, code and marks.

One pass over the text: a regular expression stops at each sign that can begin a span, and the scanner of that sign
decides. Spans do not overlap. Bounds in the patterns keep the time linear in the length of any text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from appkit_tasks.translation.icu import parse_choice

__all__ = ["KINDS", "STRFTIME", "VOID", "Span", "find"]

KINDS = {
    "printf": "%s, %1$s, %(name)d, %-5.2f, %%; %1 of Qt; %Y of strftime",
    "brace": "{0}, {name}, {name!r:>10}, {{ name }}, %{name}",
    "icu": "{n, plural, …}, {n, select, …}, {n, number}",
    "tag": "<b>, </b>, <br/>, &nbsp;",
    "url": "https://example.com/a, www.example.com",
    "email": "ada@example.com",
    "markdown": "`code`, **, ](url), #",
    "rst": "``code``, :role:`name`, |name|, [1]_",
    "env": "$NAME, ${NAME}, %NAME%",
    "escape": "a literal \\n, \\t, \\u00e9",
    "accelerator": "& or _ before the letter of a shortcut; only where asked for",
}


class Span(NamedTuple):
    """A part of a text that is to survive."""

    kind: str
    """one of KINDS"""
    text: str
    start: int
    """character at which it begins"""
    end: int
    """exclusive"""


VOID = {
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr", "x",
    "bx", "ex", "ph", "cp", "sc", "ec",
}  # fmt: skip
"""elements without an end tag, of HTML and XLIFF"""

ELEMENTS = {
    "a", "b", "big", "blockquote", "br", "code", "dd", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6",
    "hr", "i", "img", "li", "ol", "p", "pre", "small", "span", "strong", "sub", "sup", "table", "td", "th", "tr", "tt",
    "u", "ul", "wbr", "bpt", "bx", "cp", "ec", "ept", "ex", "g", "it", "mrk", "pc", "ph", "sc", "x", "xliff:g",
}  # fmt: skip
"""elements that are tags even without partner or attribute; `<time>` and `<source>` stand in usage lines too"""

BARE = "checked|disabled|hidden|multiple|open|readonly|required|selected"
VALUE = r"""\\?"[^"<>]{0,2000}"|\\?'[^'<>]{0,2000}'|[^\s"'<>=`]{1,500}"""
TAG = re.compile(
    rf"<(?P<close>/)?(?P<name>[A-Za-z][\w:.-]{{0,60}}|\d{{1,3}})"
    rf"(?P<attributes>(?:\s+(?:[\w:@.-]{{1,60}}\s?=\s?(?:{VALUE})|(?:{BARE})\b))*)\s*(?P<empty>/)?>"
)
ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,31}|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});")

PRINTF = re.compile(
    r"%(?:%"
    r"|(?:\([^()\n%]{1,60}\)|\d{1,2}\$)?(?:[+0#,']{0,3}|[-+0#,']{1,4}(?=[\d*]))(?:\d{1,3}|\*(?:\d{1,2}\$)?)?"
    r"(?:\.(?:\d{1,3}|\*)?)?(?:hh?|ll?|[jztLq])?"
    r"(?:[dsufx@]|(?<=l)i|[ioXeEFgGaAcCSrpn](?![A-Za-z0-9]))"
    r"|L?[1-9]\d?(?![\w$.,%]))",
    re.ASCII,
)
AFTER_NUMBER = re.compile(r"%(?:%|(?:\([^()\n%]{1,60}\)|\d{1,2}\$)l?[dsufx]|[dsuf@](?!['’]?[A-Za-z]))")
"""what is a placeholder even there: not `100 %sure`, `5 %d'intérêt`, `27%.A`, but `5%%` and `Python 3 %s`"""

STRFTIME = re.compile(r"%[-_0^#]?[YmHMyBbjUWwZzIGVk](?![A-Za-z]{2})")
"""directives that printf does not have; a text with one of them writes dates, whose order is the language's"""

RUBY = re.compile(r"%\{\w{1,60}\}|%<\w{1,60}>[-\d.]{0,6}[sdfx]", re.ASCII)
WINDOWS = re.compile(r"%[A-Z][A-Z0-9_]{1,60}%")
SHELL = re.compile(
    r"\$(?:[A-Z][A-Z0-9_]{1,60}\$|(?!(?:AU|CAN?|HK|MX|NZ|SG|US)\b)[A-Za-z_]\w{1,60}"  # 5 $US is money
    r"|\{[A-Za-z_]\w{0,60}(?::?[-+?=][^{}\n]{0,80})?\})",
    re.ASCII,  # $PATH에서: what follows is Korean
)

DOUBLE = re.compile(r"\{\{[^{}\n]{0,100}\}\}|\{%[^{}\n]{1,200}%\}")
FIELD = re.compile(
    r"\{(?:[A-Za-z_][\w.-]{0,60}(?<!-)|\d{1,3})?(?:\[[\w'\".-]{1,40}\]|\.\w{1,40}){0,5}(?:![rsa])?(?:,-?\d{1,3})?"
    r"(?:: ?(?:[^{}\s\"']|\{\w{0,40}\}){0,40})?\}",
    re.ASCII,
)
TYPED = re.compile(
    r"\{\s*\w{1,60}\s*,\s*(?:number|date|time|spellout|ordinal|duration)\s*(?:,[^{}\n]{1,80})?\}"
)
COMMAND = re.compile(r"[\\@][A-Za-z]{1,20}\Z")
"""before a brace: `\\emph{…}` of LaTeX and `@emph{…}` of Texinfo enclose words"""

SCHEMES = ("https", "http", "ftps", "ftp", "sftp", "file", "ssh", "git", "irc", "svn", "ws", "wss")
URL = re.compile(
    '[^\\s<>"{}|\\\\^`\u2018-\u201f\u00ab\u00bb\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]{1,2000}'
)
AFTER_URL = ".,;:!?'*_…।"
"""signs that end a sentence or a mark rather than a URL"""

LOCAL = re.compile(r"[A-Za-z0-9._%+-]{1,64}\Z")
DOMAIN = re.compile(r"@(?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,24}(?![A-Za-z0-9-])")

ROLE = re.compile(r"(?::[A-Za-z][\w+.-]{0,40}){1,3}:`[^`\n]{1,500}`")
FENCE = re.compile(r"(?m:^)[ \t]*```[^`\n]{0,40}\n[\s\S]{0,20000}?\n[ \t]*```")
LITERAL = re.compile(r"``(?!\s)(?:[^`\n]|`(?!`)){1,1000}(?<!\s)``(?!`)")
LINK = re.compile(r"`[^`<>\n]{0,500}<[^<>`\s]{1,1000}>`__?|`[^`<>\n]{1,300}`__?(?!\w)")
CODE = re.compile(r"`(?![\s`])[^`\n]{1,500}(?<!\s)`(?!`)")
PLACEHOLDER = re.compile(r"%[\d(sd]|\{\w*\}")
TARGET = re.compile(r"\]\([^()\s]{0,1000}(?:\([^()\s]{0,200}\)[^()\s]{0,200})?(?:\s\"[^\"\n]{0,200}\")?\)")
FOOTNOTE = re.compile(r"\[[^\[\]\s]{1,60}\]_(?!\w)")
SUBSTITUTION = re.compile(r"\|[A-Za-z][A-Za-z0-9_.-]{0,60}\|_{0,2}(?![\w|])")
STARS = re.compile(r"\*{2,1000}")
HEADING = re.compile(r"(?m:^)#{1,6}(?= )")
ESCAPE = re.compile(r"\\(?:[nrt0\\]|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|x[0-9A-Fa-f]{2})")
ACCELERATOR = re.compile(r"[&_](?=[^\W_])")

TRIGGER = re.compile(r"[%{<&`$\\@|*\[\]:#]")
WITH_WWW = re.compile(r"[%{<&`$\\@|*\[\]:#w]")
WITH_ACCELERATORS = re.compile(r"[%{<&`$\\@|*\[\]:#w_]")


def find(text: str, *, accelerators: bool = False) -> tuple[Span, ...]:
    """Finds the spans of a text, in order. accelerators: take `&File` and `_File` for shortcuts."""
    trigger = WITH_ACCELERATORS if accelerators else WITH_WWW if "www." in text else TRIGGER
    match = trigger.search(text)
    spans: list[Span] = []
    floor = 0
    tags = False
    while match:
        at = match.start()
        span = SCANNERS[text[at]](text, at, floor)
        if span is None and accelerators and (mark := ACCELERATOR.match(text, at)):
            span = _accelerator(text, mark)
        if span is not None:
            spans.append(span)
            tags = tags or span.text[0] == "<"
        floor = floor if span is None else span.end
        match = trigger.search(text, max(floor, at + 1))
    return tuple(_real_tags(spans) if tags else spans)


def _span(kind: str, match: re.Match[str] | None) -> Span | None:
    return None if match is None else Span(kind, match[0], match.start(), match.end())


def _percent(text: str, at: int, floor: int) -> Span | None:
    if match := WINDOWS.match(text, at):
        return _span("env", match)
    if text[max(at - 2, 0) : at].strip()[-1:].isdigit():
        return _span("printf", AFTER_NUMBER.match(text, at))
    if match := RUBY.match(text, at):
        return _span("brace", match)
    return _span("printf", PRINTF.match(text, at) or STRFTIME.match(text, at))


def _brace(text: str, at: int, floor: int) -> Span | None:
    if choice := parse_choice(text, at):
        return Span("icu", text[at : choice.end], at, choice.end)
    if match := TYPED.match(text, at):
        return _span("icu", match)
    match = DOUBLE.match(text, at) or FIELD.match(text, at)
    if match is None or COMMAND.search(text, max(at - 21, floor), at):
        return None
    return _span("brace", match)


def _less_than(text: str, at: int, floor: int) -> Span | None:
    return _span("tag", TAG.match(text, at))


def _ampersand(text: str, at: int, floor: int) -> Span | None:
    return _span("tag", ENTITY.match(text, at))


def _backtick(text: str, at: int, floor: int) -> Span | None:
    if match := FENCE.match(text, at):
        return _span("markdown", match)
    if match := LITERAL.match(text, at) or LINK.match(text, at):
        return _span("rst", match)
    match = CODE.match(text, at)
    if match is None or match[0].count("'") % 2 or PLACEHOLDER.search(match[0]):
        return None  # GNU quotes (`this' and `that'), or quotes about a placeholder
    return _span("markdown", match)


def _colon(text: str, at: int, floor: int) -> Span | None:
    if text.startswith("://", at):
        before = text[max(at - 6, floor) : at].lower()
        scheme = next((scheme for scheme in SCHEMES if before.endswith(scheme)), None)
        return None if scheme is None else _url(text, at - len(scheme), at + 3)
    return _span("rst", ROLE.match(text, at))


def _www(text: str, at: int, floor: int) -> Span | None:
    if not text.startswith("www.", at) or text[at - 1 : at].isalnum():
        return None
    return _url(text, at, at + 4)


def _url(text: str, start: int, host: int) -> Span | None:
    """Reads a URL up to its last sign that is part of it: brackets only in pairs, no sign that ends a sentence."""
    match = URL.match(text, host)
    if match is None:
        return None
    end = match.end()
    opened = text.count("(", host, end) - text.count(")", host, end)
    squared = text.count("[", host, end) - text.count("]", host, end)
    while end > host:
        last = text[end - 1]
        if last == ")" and opened < 0:
            opened += 1
        elif last == "]" and squared < 0:
            squared += 1
        elif last not in AFTER_URL:
            break
        end -= 1
    return Span("url", text[start:end], start, end) if end > host else None


def _at(text: str, at: int, floor: int) -> Span | None:
    local = LOCAL.search(text, max(at - 64, floor), at)
    domain = DOMAIN.match(text, at)
    if local is None or domain is None:
        return None
    return Span("email", text[local.start() : domain.end()], local.start(), domain.end())


def _dollar(text: str, at: int, floor: int) -> Span | None:
    return None if text[at - 1 : at].isalnum() else _span("env", SHELL.match(text, at))


def _star(text: str, at: int, floor: int) -> Span | None:
    run = STARS.match(text, at)
    if run is None:
        return None
    if len(run[0]) > 3 or text[at - 1 : at] in ("*", "\\"):
        return None  # a line of stars, or an escaped one
    return Span("markdown", "**", at, at + 2)


def _bracket(text: str, at: int, floor: int) -> Span | None:
    if text[at] == "[":
        return _span("rst", FOOTNOTE.match(text, at))
    return _span("markdown", TARGET.match(text, at))


def _pipe(text: str, at: int, floor: int) -> Span | None:
    return None if text[at - 1 : at].isalnum() else _span("rst", SUBSTITUTION.match(text, at))


def _hash(text: str, at: int, floor: int) -> Span | None:
    return _span("markdown", HEADING.match(text, at))


def _backslash(text: str, at: int, floor: int) -> Span | None:
    return _span("escape", ESCAPE.match(text, at))


def _accelerator(text: str, mark: re.Match[str]) -> Span | None:
    """Takes the sign for a shortcut unless a word with `_` in it, `R&D` or `a & b` holds it."""
    at = mark.start()
    if at and (text[at - 1].isalnum() or text[at - 1] in "_&"):
        return None
    return Span("accelerator", mark[0], at, at + 1)


def _real_tags(spans: list[Span]) -> list[Span]:
    """Leaves out what only looks like a tag: `<file>` in a usage line, which translators translate."""
    tags = {place: TAG.fullmatch(span.text) for place, span in enumerate(spans) if span.text[0] == "<"}
    opened = {tag["name"] for tag in tags.values() if tag and not tag["close"]}
    closed = {tag["name"] for tag in tags.values() if tag and tag["close"]}
    return [
        span
        for place, span in enumerate(spans)
        if (tag := tags.get(place)) is None
        or tag["name"].lower() in ELEMENTS
        or tag["empty"]
        or tag["attributes"]
        or (tag["name"] in opened and tag["name"] in closed)
    ]


SCANNERS: dict[str, Callable[[str, int, int], Span | None]] = {
    "%": _percent,
    "{": _brace,
    "<": _less_than,
    "&": _ampersand,
    "`": _backtick,
    ":": _colon,
    "w": _www,
    "@": _at,
    "$": _dollar,
    "*": _star,
    "[": _bracket,
    "]": _bracket,
    "|": _pipe,
    "#": _hash,
    "\\": _backslash,
    "_": lambda text, at, floor: None,
}
