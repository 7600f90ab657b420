"""Writes translations into PO: the lines of a msgstr, and the flag fuzzy for those that are doubtful."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from appkit_tasks.translation.formats.encoding import PO_CHARSET, Raw, line_end
from appkit_tasks.translation.formats.po import Entry, messages, require_language
from appkit_tasks.translation.formats.segments import Counts, Document, Edit, Plan, Segment, Translation

__all__ = ["open_po"]

WIDTH = 78
"""columns of a line with its quotes, as gettext and polib wrap"""

LINE_BREAKS = "it begins or ends with a line break where the source does not, or the other way round"


class _Lines:
    """The lines of a file and their places."""

    def __init__(self, data: bytes, lines: Sequence[bytes]) -> None:
        self.lines = lines
        self.starts = [0]
        for line in lines:
            self.starts.append(self.starts[-1] + len(line))
        self.new_line = line_end(data)
        # a file that has a long line which could have been wrapped is one of those that are not
        self.width = 0 if any(re.match(rb'[^"]{0,20}"[^"]* [^"]{79}', line) for line in lines) else WIDTH

    def start(self, number: int) -> int:
        """Returns the byte of a line's first sign."""
        line = self.lines[number]
        return self.starts[number] + len(line) - len(line.lstrip())

    def end(self, number: int) -> int:
        """Returns the byte behind a line's last sign: where its line end begins."""
        return self.starts[number] + len(self.lines[number].rstrip(b"\r\n"))

    def line_end(self, number: int) -> str:
        line = self.lines[number]
        return line[len(line.rstrip(b"\r\n")) :].decode() or self.new_line


def open_po(path: Path, source_language: str, target_language: str) -> Document:
    """Opens a PO or POT file; ValueError if it is none, or its header names another language."""
    raw, counts = Raw.read(path, PO_CHARSET), Counts()
    lines = raw.lines()
    places: list[tuple[int, Entry, str]] = []
    segments: list[Segment] = []
    text = (line.decode() for line in lines)
    for number, (entry, made, header) in enumerate(
        messages(text, source_language, target_language, path.name, counts)
    ):
        # a template may name the language of its msgids
        require_language(header, target_language, source_language)
        for keyword, segment in made:
            if segment.source.strip():
                places.append((number, entry, keyword))
                segments.append(segment)
            else:
                counts.leave_out("the source is empty", segment.place)
    plan = partial(_plan, _Lines(raw.data, lines), places, segments)
    return Document(path, tuple(segments), counts, raw, plan)


def _plan(
    lines: _Lines,
    places: Sequence[tuple[int, Entry, str]],
    segments: Sequence[Segment],
    translations: Mapping[int, Translation],
) -> Plan:
    plan = Plan()
    of_entry: dict[int, list[int]] = defaultdict(list)
    for index, translation in translations.items():
        of_entry[places[index][0]].append(index)
        if _breaks(segments[index].source) != _breaks(translation.text):
            plan.doubts[index] = LINE_BREAKS
        elif translation.doubtful:
            plan.doubts[index] = translation.reason
    for indices in of_entry.values():
        entry = places[indices[0]][1]
        new = {places[index][2]: translations[index].text for index in indices}
        plan.edits.extend([_string(lines, entry, keyword, text) for keyword, text in new.items()])
        if any(index in plan.doubts for index in indices):
            if not entry.is_fuzzy:
                plan.edits.append(_add_fuzzy(lines, entry))
        elif entry.is_fuzzy and all(
            keyword in new or not any(string.parts)
            for keyword, string in entry.strings.items()
            if keyword.startswith("msgstr")
        ):
            plan.edits.extend(_drop_fuzzy(lines, entry))
    return plan


def _breaks(text: str) -> tuple[bool, bool]:
    return text.startswith("\n"), text.endswith("\n")


def _string(lines: _Lines, entry: Entry, keyword: str, text: str) -> Edit:
    """Replaces the lines of a string; a plural form that the entry lacks is added behind those it has."""
    string = entry.strings.get(keyword)
    if string is None:
        last = max(string.last for string in entry.strings.values())
        new_line = lines.line_end(last)
        written = "".join(new_line + line for line in _written(keyword, text, lines.width))
        return Edit(lines.end(last), lines.end(last), written.encode())
    written = lines.line_end(string.first).join(_written(keyword, text, lines.width))
    return Edit(lines.start(string.first), lines.end(string.last), written.encode())


def _written(keyword: str, text: str, width: int) -> list[str]:
    """Writes a string as PO: on one line if it fits, else a line of the file for each of the text, and wrapped.

    width: columns; 0 wraps nothing.
    """
    from polib import escape

    parts = [escape(part) for part in re.findall(r"[^\n]*\n|[^\n]+", text)]
    if len(parts) == 1 and (not width or len(keyword) + 3 + len(parts[0]) <= width):
        return [f'{keyword} "{parts[0]}"']
    result = [f'{keyword} ""']
    for part in parts:
        line = ""
        for word in re.findall(r"[^ ]+ *| +", part) if width else [part]:
            if line and len(line) + len(word) + 2 > width:
                result.append(f'"{line}"')
                line = ""
            line += word
        result.append(f'"{line}"')
    return result


def _add_fuzzy(lines: _Lines, entry: Entry) -> Edit:
    """Adds the flag to the line of flags, or in a line of its own where gettext has it: above #| and msgid."""
    if entry.flag_lines:
        start = lines.start(entry.flag_lines[0]) + len("#,")
        has_others = any(entry.flags)
        return Edit(start, start, b" fuzzy," if has_others else b" fuzzy")
    number = entry.first if entry.above is None else entry.above
    start = lines.starts[number]
    return Edit(start, start, f"#, fuzzy{lines.line_end(number)}".encode())


def _drop_fuzzy(lines: _Lines, entry: Entry) -> list[Edit]:
    """Takes the flag away, and its line if it holds no other."""
    edits = []
    for number in entry.flag_lines:
        start, end = lines.start(number), lines.end(number)
        flags = lines.lines[number].strip().decode()[2:].split(",")
        others = [flag for flag in flags if flag.strip() != "fuzzy"]
        if not any(flag.strip() for flag in others):
            edits.append(Edit(lines.starts[number], lines.starts[number + 1], b""))
        elif len(others) < len(flags):
            edits.append(Edit(start, end, f"#,{','.join(others)}".encode()))
    return edits
