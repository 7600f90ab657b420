"""Turns inline elements of XLIFF and TMX into tags in the text, and the tags of a translation into elements again.

The text of a segment holds the tags written out and all other text unescaped: `Press <g id="1">Save</g> &` for
`Press <g id="1">Save</g> &amp;`. Codes, such as `<ph id="1">…</ph>`, stay whole: what they hold is not for translation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Literal, NamedTuple

from appkit_tasks.translation.formats.encoding import LONGEST
from appkit_tasks.translation.formats.scanner import Element, escape, local_name

__all__ = ["Builder", "Content", "put_back"]

CODES = frozenset(["x", "bx", "ex", "ph", "bpt", "ept", "it", "ut", "sc", "ec", "cp", "sm", "em"])
"""elements that hold or stand for code of the original; other inline elements enclose text"""

BEGINS, ENDS = frozenset(["bpt", "bx", "sc", "sm"]), frozenset(["ept", "ex", "ec", "em"])
PARTNER = ("rid", "startRef", "i", "id")
"""attributes that name the partner of a code that begins or ends something, the first that is there"""


class Token(NamedTuple):
    """A tag in a text, or a code as a whole."""

    shown: str
    """in the segment's text"""
    role: Literal["open", "close", "code"]
    name: str
    element: Element
    """of a tag that closes, both places are its own"""
    opens: str = ""
    """of a code that begins something: the partner's key"""
    closes: str = ""
    """of a code that ends something: the partner's key"""


class Content(NamedTuple):
    """What stands in a source or target."""

    text: str
    tokens: tuple[Token, ...]
    has_subflow: bool
    """whether a code holds text for translation of its own (`sub`), which stays as it is"""


def _start_tag(name: str, attributes: Mapping[str, str], end: str = ">") -> str:
    parts = [name]
    for key, value in attributes.items():
        value = value.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
        parts.append(f'{key}="{value}"')
    return f"<{' '.join(parts)}{end}"


def _is_code(name: str, attributes: Mapping[str, str]) -> bool:
    name = local_name(name)
    return name in CODES or (
        name == "mrk" and (attributes.get("translate") == "no" or attributes.get("mtype") == "protected")
    )


def _partner(attributes: Mapping[str, str]) -> str:
    return next((attributes[key] for key in PARTNER if key in attributes), "")


class Builder:
    """Builds the content of a source or target from what the scanner reports of its inside."""

    def __init__(self, shows_sentences: bool = True) -> None:
        """shows_sentences: show the marks of sentences (`<mrk mtype="seg">`), which are a tool's, not the text's."""
        self._shows_sentences = shows_sentences
        self._parts: list[str] = []
        self._length = 0
        self._tokens: list[Token] = []
        self._open: list[tuple[str, Mapping[str, str], int, int, int]] = []
        """name, attributes, byte, number of parts and of tokens before it"""
        self._in_code = 0
        """elements of `_open` from the outermost code on"""
        self._has_subflow = False

    def start(self, name: str, attributes: Mapping[str, str], place: int) -> None:
        self._open.append((name, attributes, place, len(self._parts), len(self._tokens)))
        if self._in_code or _is_code(name, attributes):
            self._in_code += 1
            self._has_subflow |= local_name(name) == "sub"
        elif self._hides(name, attributes):
            return
        else:
            shown = _start_tag(name, attributes)
            self._tokens.append(Token(shown, "open", name, Element(place, place)))
        self._add(_start_tag(name, attributes))

    def end(self, name: str, place: int) -> None:
        _, attributes, start, parts, tokens = self._open.pop()
        if not self._in_code and self._hides(name, attributes):
            return
        is_empty = len(self._parts) == parts + 1
        if is_empty:
            self._parts[-1] = _start_tag(name, attributes, "/>")
        else:
            self._add(f"</{name}>")
        if self._in_code:
            self._in_code -= 1
            if self._in_code:
                return
        elif not is_empty:
            self._tokens.append(Token(f"</{name}>", "close", name, Element(place, place)))
            return
        # a code, or an element that encloses nothing
        del self._tokens[tokens:]
        local = local_name(name)
        opens = _partner(attributes) if local in BEGINS else ""
        closes = _partner(attributes) if local in ENDS else ""
        shown = "".join(self._parts[parts:])
        self._tokens.append(Token(shown, "code", name, Element(start, place), opens, closes))

    def _hides(self, name: str, attributes: Mapping[str, str]) -> bool:
        return not self._shows_sentences and local_name(name) == "mrk" and attributes.get("mtype") == "seg"

    def text(self, text: str) -> None:
        if self._in_code:
            text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        self._add(text)

    def _add(self, part: str) -> None:
        self._parts.append(part)
        self._length += len(part)
        if self._length > LONGEST:
            raise ValueError(
                f"a segment has more than {LONGEST} characters; split it, or take it out of the file"
            )

    def content(self) -> Content:
        return Content("".join(self._parts), tuple(self._tokens), self._has_subflow)


def put_back(content: Content, translation: str, data: bytes, line_end: str) -> bytes | None:
    """Writes a translation as XML with the elements of its source, which lies in `data`.

    None if the translation does not hold each tag of the source once, well nested, with the codes that begin before
    those that end.
    """
    if not content.tokens:
        return escape(translation, line_end)
    left = Counter(token.shown for token in content.tokens)
    tokens = {token.shown: token for token in content.tokens}
    pattern = re.compile("|".join(map(re.escape, tokens)))
    pieces, at, stack, begun = [], 0, [], set()
    begins = {token.opens for token in content.tokens if token.opens}
    for match in pattern.finditer(translation):
        token = tokens[match[0]]
        left[token.shown] -= 1
        if token.role == "open":
            stack.append(token.name)
        elif token.role == "close" and (not stack or stack.pop() != token.name):
            return None
        begun.add(token.opens)
        if token.closes in begins - begun:
            return None
        pieces += [escape(translation[at : match.start()], line_end), _raw(token, data)]
        at = match.end()
    if any(left.values()):
        return None
    return b"".join([*pieces, escape(translation[at:], line_end)])


def _raw(token: Token, data: bytes) -> bytes:
    """Finds a token as it stands in the file."""
    start = token.element.start
    if token.role == "close":
        return data[start : data.index(b">", start) + 1]
    span = token.element.span(data)
    return data[start : span.inside if token.role == "open" else span.end]
