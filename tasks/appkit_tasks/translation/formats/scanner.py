"""Reads XML by expat and says where in the file each element begins and ends. Nothing outside the file is read.

lxml knows no places in bytes, so it could not leave the rest of a file as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from xml.parsers import expat

from appkit.errors import shortened

__all__ = [
    "Element",
    "Scanner",
    "Span",
    "escape",
    "local_name",
    "prefix_of",
    "with_attribute",
    "without_attribute",
]

DEPTH = 200
"""most elements within each other; files for translation have some ten"""

LONGEST_TOKEN = 4 << 20
"""bytes of a tag or comment; expat reads an unfinished one again with each chunk"""

TAG = re.compile(rb"<[^<>\"']*(?:\"[^\"]*\"[^<>\"']*|'[^']*'[^<>\"']*)*>")
ATTRIBUTE = re.compile(rb"\s+([^\s=]+)\s*=\s*(\"[^\"]*\"|'[^']*')")

Start = Callable[[str, dict[str, str]], None]
End = Callable[[str], None]
Text = Callable[[str], None]


def local_name(name: str) -> str:
    return name.rpartition(":")[2]


def prefix_of(name: str) -> str:
    """Returns the prefix of a name with its colon; "" if it has none."""
    return name[: name.rfind(":") + 1]


def escape(text: str, line_end: str = "\n") -> bytes:
    """Writes text as the content of an element; "\\n" becomes `line_end`, which XML reads as "\\n" again."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    return text.replace("\n", line_end).encode()


def _attribute(tag: bytes, name: str) -> re.Match[bytes] | None:
    """Finds an attribute of a start tag; what looks like one in the value of another is none."""
    return next((match for match in ATTRIBUTE.finditer(tag) if match[1] == name.encode()), None)


def with_attribute(tag: bytes, name: str, value: str) -> bytes:
    """Gives a start tag an attribute: its value is replaced where it stands, else it becomes the last."""
    written = value.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").encode()
    if match := _attribute(tag, name):
        return tag[: match.start(2)] + b'"' + written + b'"' + tag[match.end(2) :]
    before = tag[: -2 if tag.endswith(b"/>") else -1].rstrip()
    return before + b" " + name.encode() + b'="' + written + b'"' + tag[len(before) :]


def without_attribute(tag: bytes, name: str) -> bytes:
    """Takes an attribute out of a start tag, if it has it."""
    match = _attribute(tag, name)
    return tag[: match.start()] + tag[match.end() :] if match else tag


class Span(NamedTuple):
    """Where an element lies in a text: bytes, ends exclusive."""

    start: int
    inside: int
    """end of the start tag"""
    inside_end: int
    """start of the end tag; of `<x/>`, `end`"""
    end: int


class Element(NamedTuple):
    """An element as it was met. start: byte of its start tag; close: byte of its end tag."""

    start: int
    close: int

    def span(self, data: bytes) -> Span:
        """Finds its ends in the text that was read."""
        match = TAG.match(data, self.start)
        assert match is not None  # expat has read it as a tag
        if match[0].endswith(b"/>"):
            return Span(self.start, match.end(), match.end(), match.end())
        return Span(self.start, match.end(), self.close, data.index(b">", self.close) + 1)


class Scanner:
    """Calls `start(name, attributes)`, `end(name)`, `text(text)` for a file's parts; `place` and `line` say where."""

    def __init__(self, start: Start, end: End, text: Text) -> None:
        self._start, self._end, self._depth = start, end, 0
        parser = expat.ParserCreate("utf-8")  # the text is; what the declaration says is of the file
        parser.buffer_text = True
        parser.StartElementHandler = self._open
        parser.EndElementHandler = self._close
        parser.CharacterDataHandler = text
        parser.EntityDeclHandler = _refuse_entity
        parser.SkippedEntityHandler = _refuse_reference
        self._parser = parser

    @property
    def place(self) -> int:
        """Byte at which the present tag begins."""
        return self._parser.CurrentByteIndex

    @property
    def line(self) -> int:
        return self._parser.CurrentLineNumber

    def scan(self, chunks: Iterable[bytes]) -> Iterator[None]:
        """Reads UTF-8 without byte order mark; yields after each chunk, when its elements have been reported.

        Raises ValueError if it is not well-formed XML, declares entities, or is nested too deeply.
        """
        size = 0
        try:
            for chunk in chunks:
                self._parser.Parse(chunk, False)
                size += len(chunk)
                if size - max(self.place, 0) > LONGEST_TOKEN + len(chunk):
                    raise ValueError(
                        f"line {self.line}: a tag or comment has more than {LONGEST_TOKEN >> 20} MiB; "
                        "take it out of the file"
                    )
                yield
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise ValueError(
                f"line {error.lineno}: it is not well-formed XML ({expat.ErrorString(error.code)}); correct it, or "
                "export the file again"
            ) from None
        yield

    def _open(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH:
            raise ValueError(
                f"line {self.line}: more than {DEPTH} elements are open within each other; is the file damaged?"
            )
        self._start(name, attributes)

    def _close(self, name: str) -> None:
        self._depth -= 1
        self._end(name)


def _refuse_entity(name: str, *_: object) -> None:
    raise ValueError(
        f"its DOCTYPE declares the entity {shortened(name)}; entities are not read, since they can fill the memory: "
        "write the text itself, and take the declarations out"
    )


def _refuse_reference(name: str, is_parameter: bool) -> None:
    raise ValueError(
        f"it uses the entity {shortened(name)}, which is not one of XML's own; write the character itself"
    )
