"""Reads PO and POT: entries with their strings, flags and places. polib says what an escaped string means.

polib itself holds the whole file and forgets its lines, so it can neither stream nor leave the rest as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from appkit.errors import shortened
from appkit_tasks.translation.formats.closeness import closeness
from appkit_tasks.translation.formats.encoding import LONGEST, PO_CHARSET, read_lines
from appkit_tasks.translation.formats.plurals import PluralForms, read_forms
from appkit_tasks.translation.formats.segments import Counts, Segment, State

__all__ = ["Entry", "Header", "String", "entries", "messages", "read_pairs", "require_language"]

STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
STRINGS = re.compile(STRING)
LINE = re.compile(
    rf"(?:(msgctxt|msgid_plural|msgid|msgstr(?:\[\d{{1,4}}\])?|domain)\s*)?({STRING}(?:\s*{STRING})*)"
)
SPACE = " \t\f\v\r\n"


@dataclass
class String:
    """A string of an entry, over one or more lines."""

    first: int
    """number of its first line, from 0"""
    last: int
    parts: list[str]
    """as in the file, between the quotes"""
    size: int = 0

    def text(self, unescape: Callable[[str], str]) -> str:
        return unescape("".join(self.parts))


@dataclass
class Entry:
    """A message with its translation."""

    strings: dict[str, String] = field(default_factory=dict)
    """by keyword: msgctxt, msgid, msgid_plural, msgstr, msgstr[0]"""
    flag_lines: list[int] = field(default_factory=list)
    """numbers of the lines that begin with `#,`"""
    flags: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    """for translators: of the program's author (`#.`) and of the translator (`# `)"""
    above: int | None = None
    """number of the first line of `#|` before it"""

    @property
    def is_fuzzy(self) -> bool:
        return "fuzzy" in self.flags

    @property
    def is_plural(self) -> bool:
        return "msgid_plural" in self.strings

    @property
    def first(self) -> int:
        """Number of the first line of its strings."""
        return next(iter(self.strings.values())).first

    @property
    def place(self) -> str:
        return f"line {self.strings['msgid'].first + 1}"


def entries(lines: Iterable[str], counts: Counts) -> Iterator[Entry]:
    """Reads entries from lines with their line ends; obsolete ones are counted.

    Raises ValueError for a line that is no PO, or an entry without msgid or msgstr.
    """
    entry, current = Entry(), ""
    for number, line in enumerate(lines):
        line = line.strip(SPACE)
        if not line:
            continue
        if line[0] == "#":
            if entry.strings:
                yield _checked(entry)
                entry = Entry()
            current = ""
            if line.startswith("#~"):
                entry = Entry()  # the comments above are the obsolete entry's
                if re.match(r"#~\s*msgid\s*\"", line):
                    counts.leave_out("obsolete (#~)", f"line {number + 1}")
            else:
                _read_comment(entry, line, number)
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise ValueError(
                f"line {number + 1} is not PO: {shortened(line)}; a line is a comment, or a keyword such as msgid and "
                'text in double quotes, with \\" for those within'
            )
        keyword, text = match[1], match[2]
        if keyword == "domain":
            counts.note("the file sets a domain, which is passed over")
            continue
        if keyword in ("msgctxt", "msgid") and any(key.startswith("msgstr") for key in entry.strings):
            yield _checked(entry)
            entry = Entry()
        if keyword:
            if keyword in entry.strings:
                raise ValueError(
                    f"line {number + 1} has a second {keyword} in one entry; is the msgstr before it missing?"
                )
            entry.strings[keyword], current = String(number, number, []), keyword
        elif not current:
            raise ValueError(
                f"line {number + 1} has text without a keyword: {shortened(line)}; write msgid or msgstr"
            )
        string = entry.strings[current]
        string.last = number
        string.parts += [part[1:-1] for part in STRINGS.findall(text)]
        string.size += len(text)
        if string.size > LONGEST:
            raise ValueError(f"line {number + 1}: a string has more than {LONGEST} characters; split it")
    if entry.strings:
        yield _checked(entry)


def _read_comment(entry: Entry, line: str, number: int) -> None:
    if line.startswith("#,"):
        entry.flag_lines.append(number)
        entry.flags += [flag.strip() for flag in line[2:].split(",")]
    elif line.startswith("#|"):
        entry.above = number if entry.above is None else entry.above
    elif line.startswith(("#.", "# ")):
        entry.comments.append(line[2:].strip())


def _checked(entry: Entry) -> Entry:
    """Raises ValueError for an entry that gettext would refuse too."""
    strings = entry.strings
    where = f"the entry at line {entry.first + 1}"
    if "msgid" not in strings:
        raise ValueError(f"{where} has no msgid; write one, or take it out")
    is_plural = entry.is_plural
    targets = [keyword for keyword in strings if keyword.startswith("msgstr")]
    if not targets:
        raise ValueError(f'{where} has no msgstr; write msgstr "" where nothing is translated')
    if any((keyword != "msgstr") != is_plural for keyword in targets):
        remedy = "msgstr[0], msgstr[1] … belong to a msgid_plural, msgstr to a msgid alone"
        raise ValueError(
            f"{where} has {targets[0]} {'with' if is_plural else 'without'} msgid_plural; {remedy}"
        )
    return entry


@dataclass
class Header:
    """What the header of a file says; its defaults hold for a file without."""

    forms: PluralForms
    note: str
    """a sentence if the plural forms are not the header's"""
    language: str = ""

    @classmethod
    def read(cls, text: str, target_language: str) -> Header:
        values = {
            name.strip().lower(): value.strip()
            for name, colon, value in (line.partition(":") for line in text.split("\n"))
            if colon
        }
        forms, note = read_forms(values.get("plural-forms", ""), target_language)
        return cls(forms, note, values.get("language", ""))


def _segments(
    entry: Entry, header: Header, source_language: str, target_language: str, document: str
) -> list[tuple[str, Segment]]:
    """Makes the segments of an entry, each with the keyword of its string: one, or one for each plural form.

    The form of the number 1 is translated from msgid, the others from msgid_plural.
    """
    from polib import unescape

    texts = {keyword: string.text(unescape) for keyword, string in entry.strings.items()}
    forms = {"msgstr": "msgid"}
    if entry.is_plural:
        forms = {
            f"msgstr[{form}]": "msgid" if form == header.forms.singular else "msgid_plural"
            for form in range(header.forms.number)
        }
    result = []
    for keyword, source in forms.items():
        target = texts.get(keyword, "")
        state: State = "untranslated" if not target else "doubtful" if entry.is_fuzzy else "translated"
        segment = Segment(
            place=f"{entry.place}, {keyword}" if entry.is_plural else entry.place,
            source=texts[source],
            target=target,
            state=state,
            context=texts.get("msgctxt", ""),
            note="\n".join(entry.comments),
            source_language=source_language,
            target_language=target_language,
            document=document,
        )
        result.append((keyword, segment))
    return result


def messages(
    lines: Iterable[str], source_language: str, target_language: str, document: str, counts: Counts
) -> Iterator[tuple[Entry, list[tuple[str, Segment]], Header]]:
    """Yields the entries but the header, with their segments and what the header says."""
    from polib import unescape

    header = Header.read("", target_language)
    for entry in entries(lines, counts):
        is_header = "msgctxt" not in entry.strings and not entry.strings["msgid"].text(unescape)
        if is_header:
            counts.leave_out("the header", entry.place)
            target = entry.strings.get("msgstr")
            header = Header.read(target.text(unescape) if target else "", target_language)
            continue
        if entry.is_plural:
            if header.note:
                counts.note(header.note)
            for _ in range(header.forms.number, sum(key.startswith("msgstr") for key in entry.strings)):
                counts.leave_out(f"plural forms beyond {header.forms.number}", entry.place)
        yield entry, _segments(entry, header, source_language, target_language, document), header


def read_pairs(path: Path, source_language: str, target_language: str, counts: Counts) -> Iterator[Segment]:
    """Yields the translated messages, of plural messages each form; the others are counted.

    Raises ValueError if the header names another language than the target's.
    """
    lines = read_lines(path, PO_CHARSET)
    for _, segments, header in messages(lines, source_language, target_language, path.name, counts):
        require_language(header, target_language)
        for _, segment in segments:
            if segment.state == "untranslated":
                counts.leave_out("not translated", segment.place)
            elif segment.state == "doubtful":
                counts.leave_out("fuzzy", segment.place)
            elif not segment.source.strip():
                counts.leave_out("the source is empty", segment.place)
            else:
                yield segment


def require_language(header: Header, *languages: str) -> None:
    """Raises ValueError if the header names a language that fits none of `languages`."""
    if header.language and not any(closeness(header.language, language) for language in languages):
        raise ValueError(
            f"its header says Language: {shortened(header.language)}, got {languages[0]} for the target; name the "
            "file's language, or correct the header"
        )
