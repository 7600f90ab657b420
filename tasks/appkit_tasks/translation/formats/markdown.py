"""Reads and writes Markdown: headings, paragraphs, list items, quotes and table cells are translated, the rest stays.

Front matter, code, HTML blocks, link definitions and math stay as they are. Within a text, code and the targets of
links must come through the translation; where they do not, the text stays untranslated.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from appkit_tasks.translation.formats.encoding import Raw
from appkit_tasks.translation.formats.segments import Counts, Document
from appkit_tasks.translation.formats.text import Block, has_words, make_document, require_text
from appkit_tasks.translation.spans import find

__all__ = ["open_markdown"]

QUOTE = re.compile(r" {0,3}>[ \t]?")
ITEM = re.compile(r"(?P<indent>[ \t]*)(?:[-*+]|(?P<number>\d{1,9})[.)])(?:[ \t]+(?:\[[ xX]\][ \t]+)?|$)")
FOOTNOTE = re.compile(r" {0,3}\[\^[^\]\s]+\]:[ \t]*")
FENCE = re.compile(r"[ \t]*(`{3,}(?=[^`]*$)|~{3,}|\${2}(?=\s*$)|:{3,})")
"""begins code, math, or a directive's line"""
HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]+|$)")
RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
UNDERLINE = re.compile(r"[ \t]*(?:=+|-+)[ \t]*$")
DEFINITION = re.compile(r" {0,3}\[(?!\^)[^\]]+\]:")
DELIMITER = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?$")
ADMONITION = re.compile(
    r"[ \t]*(?:!!!|\?\?\?\+?)[ \t]|[ \t]*\{%.*%\}[ \t]*$|[ \t]*\[\[?toc\]?\][ \t]*$", re.IGNORECASE
)
HARD_BREAK = ("  ", "\\")
"""ends of lines"""
MOST_MARKS = 20
"""of list items that begin on one line"""
FRONT_MATTER = {"---": ("---", "..."), "+++": ("+++",)}

BLOCK_NAMES = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|"
    "fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|"
    "menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|"
    "track|ul"
)
HTML = (
    (
        re.compile(r"<(?:script|pre|style|textarea)(?:[\s>]|$)", re.I),
        re.compile(r"</(?:script|pre|style|textarea)>", re.I),
    ),
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<\?"), re.compile(r"\?>")),
    (re.compile(r"<![A-Za-z]"), re.compile(r">")),
    (re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>")),
    (re.compile(rf"</?(?:{BLOCK_NAMES})(?:[\s>]|/>|$)", re.I), None),
)
"""what begins a block of HTML, what ends it; none: a blank line. As in CommonMark 0.31, kinds 1 to 6"""
LONE_TAG = re.compile(r"(?:<[A-Za-z][\w-]*(?:\s[^<>]*)?/?>|</[A-Za-z][\w-]*\s*>)\s*$")
"""kind 7: it cannot interrupt a paragraph"""

CELL = re.compile(r"(?:\\.|`[^`]*`|[^|\\`]|`)+")


@dataclass
class _State:
    """Where the reader is."""

    blocks: list[Block] = field(default_factory=list)
    paragraph: list[tuple[int, int]] = field(default_factory=list)
    first: int = 0
    """number of the paragraph's first line"""
    depth: int = 0
    """quotes within each other around the paragraph"""
    fence: str = ""
    """signs that end the code; "" outside code"""
    block_depth: int = 0
    """quotes around the code or HTML"""
    html_end: re.Pattern[str] | None = None
    in_html: bool = False
    in_table: bool = False
    indents: list[int] = field(default_factory=list)
    """columns at which the contents of the list items begin that the line may be in"""

    @property
    def indent(self) -> int:
        return self.indents[-1] if self.indents else 0

    def leave_items(self, column: int) -> bool:
        """Ends the items whose content begins behind a column; says whether there were any."""
        before = len(self.indents)
        while self.indent > column:
            self.indents.pop()
        return len(self.indents) < before

    def flush(self, form: Literal["text", "heading"] = "text") -> None:
        if self.paragraph:
            self.blocks.append(Block(self.first, tuple(self.paragraph), form))
            self.paragraph = []

    def add(self, number: int, start: int, end: int) -> None:
        """Adds a line to the paragraph."""
        if not self.paragraph:
            self.first = number
        self.paragraph.append((start, end))


def open_markdown(path: Path, source_language: str, target_language: str) -> Document:
    """Opens a Markdown file. Raises ValueError for a file that is not text."""
    raw = Raw.read(path)
    require_text(raw)
    blocks = _blocks([line.decode() for line in raw.lines()])
    return make_document(path, raw, blocks, Counts(), (source_language, target_language), _refuse)


def _blocks(lines: Sequence[str]) -> list[Block]:
    state = _State()
    skipped = _front_matter(lines)
    at = 0
    for number, line in enumerate(lines):
        text = line.rstrip("\r\n")
        if number >= skipped:
            following = lines[number + 1].rstrip("\r\n") if number + 1 < len(lines) else ""
            _read_line(state, text, following, number + 1, at)
        at += len(line.encode())
    state.flush()
    return state.blocks


def _front_matter(lines: Sequence[str]) -> int:
    """Counts the lines of YAML or TOML at the top."""
    ends = FRONT_MATTER.get(lines[0].rstrip(), ()) if lines else ()
    return next((place + 1 for place, line in enumerate(lines) if place and line.rstrip() in ends), 0)


def _read_line(state: _State, text: str, following: str, number: int, at: int) -> None:
    """Reads a line without its end, which begins at byte `at`."""
    place = _after_quotes(text)
    depth = text.count(">", 0, place)
    rest = text[place:]
    state.in_table = state.in_table and depth == state.depth and not HEADING.match(rest)
    if depth > state.depth:
        state.flush()
    if depth > state.depth or not state.paragraph:
        state.depth = depth  # a line with fewer goes on a paragraph, which keeps its own
    if depth < state.block_depth:
        state.fence, state.in_html, state.block_depth = "", False, 0  # they end with the quote around them
    if state.fence:
        if depth == state.block_depth and re.match(rf"[ \t]*{re.escape(state.fence)}+[ \t]*$", rest):
            state.fence = ""
        return
    if not rest.strip():
        state.flush()
        state.in_table = False
        if state.html_end is None:
            state.in_html = False
        return
    if state.in_html:
        state.in_html = state.html_end is None or not state.html_end.search(rest)
        return
    if state.paragraph and UNDERLINE.match(rest):
        state.flush()
        return
    base, place = place, _after_items(state, text, place)
    rest = text[place:]
    if _is_code(state, text, base, place):
        return
    if _opens_block(state, rest):
        state.block_depth = depth if state.fence or state.in_html else 0
        state.in_table = False
        return
    if state.in_table or (not state.paragraph and "|" in rest and _is_delimiter(following)):
        state.in_table = True
        if not DELIMITER.match(rest.strip()):
            _add_cells(state, text, place, number, at)
        return
    _add_text(state, text, place, number, at)


def _after_quotes(text: str) -> int:
    place = 0
    while match := QUOTE.match(text, place):
        place = match.end()
    return place


def _is_delimiter(text: str) -> bool:
    rest = text[_after_quotes(text) :]
    is_item = re.match(r"[ \t]*-[ \t]", rest)
    return "|" in rest and not is_item and DELIMITER.match(rest.strip()) is not None


def _columns(text: str) -> int:
    """Counts the columns of the white space at the start."""
    wide = text.expandtabs(4)
    return len(wide) - len(wide.lstrip())


def _after_items(state: _State, text: str, base: int) -> int:
    """Passes over the marks of list items and footnotes; they end a paragraph."""
    place = base
    if not state.paragraph:
        state.leave_items(_columns(text[base:]))
    if RULE.match(text[base:]):
        return base
    for _ in range(MOST_MARKS):
        match = ITEM.match(text, place) or FOOTNOTE.match(text, place)
        if match is None:
            break
        if match.re is ITEM:
            column = len(text[base : match.end("indent")].expandtabs(4))
            is_sibling = state.leave_items(column)
            if column - state.indent >= 4:
                break  # code, or it goes on the paragraph
            # CommonMark: so that a year at the start of a wrapped line begins no list
            if state.paragraph and not is_sibling and (match["number"] or "1") != "1":
                break
        state.flush()
        state.in_table = False
        place = match.end()
        state.indents.append(len(text[base:place].expandtabs(4)) if match.re is ITEM else 4)
        place += _after_quotes(text[place:])
    return place


def _is_code(state: _State, text: str, base: int, place: int) -> bool:
    """Tells whether a line is indented code, which cannot end a paragraph."""
    has_mark = bool(text[base:place].strip())
    return not has_mark and not state.paragraph and _columns(text[base:]) - state.indent >= 4


def _opens_block(state: _State, rest: str) -> bool:
    """Passes over a line that stays as it is, and notes what it begins."""
    inner = rest.strip()
    if match := FENCE.match(rest):
        state.flush()
        state.fence = "" if match[1].startswith(":") else match[1]
        return True
    if RULE.match(rest) or (DEFINITION.match(rest) and not state.paragraph) or ADMONITION.match(rest):
        state.flush()
        return True
    for begin, end in HTML:
        if begin.match(inner):
            state.flush()
            state.html_end = end
            state.in_html = end is None or not end.search(inner)
            return True
    if not state.paragraph and LONE_TAG.match(inner) and not re.match(r"<[a-z]+:", inner):
        state.html_end, state.in_html = None, True
        return True
    return False


def _add_text(state: _State, text: str, place: int, number: int, at: int) -> None:
    """Adds a line to the paragraph, or a heading, which ends it."""
    heading = HEADING.match(text, place)
    end = len(text)
    if heading:
        state.flush()
        place = heading.end()
        end = place + _heading_end(text[place:])
    has_break = text.endswith(HARD_BREAK)
    if has_break:
        end = min(end, len(text.removesuffix("\\")))
    inner = text[place:end]
    start = place + len(inner) - len(inner.lstrip())
    stop = place + len(inner.rstrip())
    if start < stop:
        state.add(number, at + len(text[:start].encode()), at + len(text[:stop].encode()))
    if heading or has_break:
        state.flush("heading" if heading else "text")


def _heading_end(text: str) -> int:
    """Finds the end of a heading's text, before signs that close it (`## A ##`) and an identifier (`{#a}`)."""
    head = text.rstrip()
    start = head.rfind("{")
    if head.endswith("}") and start > 0 and head[start - 1] in " \t":
        head = head[:start].rstrip()
    unmarked = head.rstrip("#")
    if unmarked != head and (not unmarked or unmarked[-1] in " \t"):
        head = unmarked.rstrip()
    return len(head)


def _add_cells(state: _State, text: str, place: int, number: int, at: int) -> None:
    for start, end in _cells(text, place):
        offset = at + len(text[:start].encode())
        state.blocks.append(Block(number, ((offset, offset + len(text[start:end].encode())),), form="cell"))


def _cells(text: str, place: int) -> Iterator[tuple[int, int]]:
    """Finds the cells of a row that are not blank, without the space around them."""
    for match in CELL.finditer(text, place):
        inner = match[0].strip()
        if inner:
            start = match.start() + match[0].index(inner)
            yield start, start + len(inner)


def _fixed(text: str) -> Counter[str]:
    """Counts the parts that are not translated: code, targets of links, tags, URLs."""
    return Counter(
        span.text
        for span in find(text)
        if span.kind == "url"
        or span.text.startswith(("`", "]("))
        or (span.kind == "tag" and span.text[0] == "<")
    )


def _begins_block(line: str) -> bool:
    return bool(
        QUOTE.match(line)
        or ITEM.match(line)
        or HEADING.match(line)
        or RULE.match(line)
        or UNDERLINE.match(line)
        or FENCE.match(line)
        or DEFINITION.match(line)
        or ADMONITION.match(f"{line} ")
        or (line[:1] in "|<" and not _is_inline_tag(line))
    )


def _is_inline_tag(line: str) -> bool:
    return line.startswith("<") and not any(begin.match(line) for begin, _ in HTML)


def _refuse(block: Block, source: str, lines: Sequence[str]) -> str:
    """Says why a translation would not be read as the same block of text."""
    text = " ".join(lines)
    if not has_words(text):
        return "the translation has no words"
    if _fixed(source) != _fixed(text):
        return "code, a link's target, a URL or a tag is not as in the source"
    if any(line.endswith(HARD_BREAK) for line in lines):
        return "the translation ends a line with a break"
    if block.form == "heading" and _heading_end(text) < len(text):
        return "the translation ends with signs that a heading does not show"
    # beside its neighbours: a bar or backslash at its end would move or join the next cell
    if block.form == "cell" and (len([*_cells(text, 0)]), len([*_cells(f"x{text}|x", 0)])) != (1, 2):
        return "the translation would be more than one cell"
    if any(_begins_block(line) for line in lines[1:]) or (
        _begins_block(lines[0]) and not _begins_block(source)
    ):
        return "the translation would begin another kind of block"
    return ""
