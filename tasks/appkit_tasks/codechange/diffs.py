"""Reads unified diffs: of git, of other tools, of merges, and hunks alone as hosting services keep them with a remark.

A parser of ours, since rows hold hunks without a file, and hunks that end at the line remarked on, which parsers of
whole patches refuse.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, NamedTuple

__all__ = [
    "Change",
    "File",
    "Hunk",
    "Line",
    "diff_texts",
    "parse",
    "quote_path",
    "split_files",
    "unquote_path",
    "write_hunk",
]

Status = Literal["changed", "added", "deleted", "renamed", "copied"]

HUNK = re.compile(r"(?:@@ )?@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)", re.DOTALL)
COMBINED = re.compile(r"(@{3,}) ((?:-\d+(?:,\d+)? )+)\+(\d+)(?:,(\d+))? @{3,} ?(.*)", re.DOTALL)
GIT_PATHS = re.compile(r'(?:("a/.*"|a/.*?) ("b/.*")|("a/.*"|a/.*?) (b/.*))', re.DOTALL)
PREFIXES = ({"a", "b"}, {"i", "w"}, {"c", "i"}, {"c", "w"}, {"o", "w"})
"""folders that git invents for both sides of a file; the last ones with `diff.mnemonicPrefix`"""
LARGEST = 10**9
"""of a line's number; more is no diff"""
REMEMBERED = 20_000
"""characters of a diff whose reading is kept; longer ones would fill the memory"""
COSTLIEST = 1_000_000
"""pairs of equal lines that difflib may look at: its time grows with them"""

ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}
SUBMODULE = "160000"
NO_END = "\\ No newline at end of file"


class Line(NamedTuple):
    """A line of a hunk."""

    sign: Literal[" ", "+", "-"]
    text: str
    """without its sign and end; a carriage return stays"""
    old: int | None
    """number in the file before, from 1; None for an added line"""
    new: int | None
    """number in the file afterwards; None for a removed line"""
    ends: bool = True
    """False: the file ends here without a line end"""


@dataclass(frozen=True)
class Hunk:
    """Neighbouring changed lines with lines around them."""

    old: int
    """number of its first line in the file before"""
    new: int
    """number of its first line in the file afterwards"""
    section: str
    """what git writes behind the numbers: the line that begins the function around it"""
    lines: tuple[Line, ...]
    cut: bool = False
    """it has fewer lines than its header says"""

    @property
    def changed(self) -> tuple[Line, ...]:
        """The lines that were added or removed."""
        return tuple(line for line in self.lines if line.sign != " ")

    @property
    def only_space(self) -> bool:
        """Whether the change is one of white space alone."""
        sides = ("".join(line.text for line in self.lines if line.sign == sign) for sign in "-+")
        before, after = ("".join(side.split()) for side in sides)
        return before == after


@dataclass(frozen=True)
class File:
    """What a diff says of a file."""

    path: str
    """afterwards; of a deleted file, before; "" for a hunk without a file"""
    old_path: str = ""
    """before, where it differs"""
    status: Status = "changed"
    modes: tuple[str, str] = ("", "")
    """before and afterwards, where the diff says them"""
    binary: bool = False
    combined: bool = False
    """against both sides of a merge"""
    hunks: tuple[Hunk, ...] = ()

    @property
    def submodule(self) -> bool:
        """Whether it is a pointer to a commit of another repository."""
        return SUBMODULE in self.modes


@dataclass(frozen=True)
class Change:
    """What a diff says, file by file."""

    files: tuple[File, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """The files' names, before and afterwards, each once."""
        names = [name for file in self.files for name in (file.path, file.old_path) if name]
        return tuple(dict.fromkeys(names))


@dataclass
class _Draft:
    """A file while its diff is read."""

    path: str = ""
    old_path: str = ""
    named: bool = False
    """by --- and +++: better than by `diff --git`"""
    open: bool = False
    """lines that say something of the file may follow"""
    status: Status = "changed"
    modes: list[str] = field(default_factory=lambda: ["", ""])
    binary: bool = False
    combined: bool = False
    hunks: list[Hunk] = field(default_factory=list)

    def finish(self) -> File:
        old = self.old_path if self.old_path and self.old_path != self.path else ""
        path = self.path or old
        return File(
            path,
            "" if old == path else old,
            self.status,
            (self.modes[0], self.modes[1]),
            self.binary,
            self.combined,
            tuple(self.hunks),
        )


def parse(text: str) -> Change:
    """Reads a diff; text around it, such as a commit's header, is skipped.

    Raises ValueError for a text without a diff.
    """
    return _parse_short(text) if len(text) <= REMEMBERED else _parse(text)


def split_files(text: str) -> list[str]:
    """Splits a diff of git into its files'; any other diff is one part."""
    starts = [match.start() for match in re.finditer(r"^diff --(?:git|cc|combined) ", text, re.MULTILINE)]
    ends = [*starts[1:], len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)] if starts else [text]


def _parse(text: str) -> Change:
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    drafts: list[_Draft] = []
    at = 0
    while at < len(lines):
        line = lines[at].removesuffix("\r")
        if match := HUNK.fullmatch(line):
            at = _read_hunk(lines, at + 1, match, _current(drafts))
        elif match := COMBINED.fullmatch(line):
            at = _read_combined(lines, at + 1, match, _current(drafts))
        else:
            at += _read_header(line, lines[at + 1 : at + 2], drafts)
    files = tuple(draft.finish() for draft in drafts)
    files = tuple(file for file in files if file.path or file.hunks)
    if not files:
        raise ValueError("no diff: neither a hunk (@@ -1,2 +1,3 @@) nor a file (diff --git) is in it")
    return Change(files)


_parse_short = lru_cache(maxsize=512)(_parse)
"""a row's diff is read several times in a row"""


def _current(drafts: list[_Draft]) -> _Draft:
    if not drafts:
        drafts.append(_Draft())
    return drafts[-1]


def _read_header(line: str, following: list[str], drafts: list[_Draft]) -> int:
    """Reads a line outside hunks; returns how many lines it took."""
    if line.startswith("diff --git "):
        old, new = _split_paths(line.removeprefix("diff --git "))
        drafts.append(_Draft(old_path=old, path=new, open=True))
        return 1
    if line.startswith(("diff --cc ", "diff --combined ")):
        path = unquote_path(line.split(" ", 2)[2])
        drafts.append(_Draft(path=path, combined=True, open=True))
        return 1
    if line.startswith("--- ") and following and following[0].startswith("+++ "):
        _read_names(line[4:], following[0].removesuffix("\r")[4:], drafts)
        return 2
    if drafts and drafts[-1].open:
        # what follows a file, such as the next message in a mailbox, may use the same words
        drafts[-1].open = _read_extended(line, drafts[-1])
    elif line.startswith("Binary files ") and line.endswith(" differ"):
        names = line.removeprefix("Binary files ").removesuffix(" differ").partition(" and ")
        old, new = _strip(unquote_path(names[0]), unquote_path(names[2]))
        drafts.append(_Draft(path=old if new == "/dev/null" else new, binary=True))
    return 1


def _split_paths(names: str) -> tuple[str, str]:
    """Splits the two names of a `diff --git` line, which are equal unless other lines name them; names have spaces."""
    middle = len(names) // 2
    old, new = names[:middle], names[middle + 1 :]
    if names[middle : middle + 1] == " ":
        stripped = _strip(unquote_path(old), unquote_path(new))
        if stripped[0] == stripped[1]:
            return stripped
    if match := GIT_PATHS.fullmatch(names):
        old, new = match[1] or match[3], match[2] or match[4]
    else:
        old, _, new = names.partition(" ")
    return _strip(unquote_path(old), unquote_path(new))


def _strip(old: str, new: str) -> tuple[str, str]:
    """Removes the folders that git invents from the names of a file; a side that does not exist has none."""
    heads = {name[0] for name in (old, new) if name[1:2] == "/" and name != "/dev/null"}
    sides = [name for name in (old, new) if name != "/dev/null"]
    invented = any(heads <= pair for pair in PREFIXES) and all(name[1:2] == "/" for name in sides)
    if invented and len(heads) == len(sides):  # the same folder on both sides is a real one
        old, new = (name if name == "/dev/null" else name[2:] for name in (old, new))
    return old, new


def _read_names(old: str, new: str, drafts: list[_Draft]) -> None:
    """Reads `--- a/x` and `+++ b/x`; without `diff --git` before them a file begins."""
    if not drafts or drafts[-1].hunks or drafts[-1].named:
        drafts.append(_Draft())
    draft = drafts[-1]
    draft.named, draft.open = True, False
    before, after = _strip(*(unquote_path(name.split("\t")[0]) for name in (old, new)))
    if before == "/dev/null":
        draft.status, draft.old_path = "added", ""
    else:
        draft.old_path = before
    if after == "/dev/null":
        draft.status, draft.path = "deleted", draft.old_path
    else:
        draft.path = after


def _read_extended(line: str, draft: _Draft) -> bool:
    """Reads what git says of a file besides its lines; returns whether it was something of that kind."""
    word, _, rest = line.partition(" ")
    match word, rest.split(" ")[0]:
        case ("rename" | "copy") as what, ("from" | "to") as side:
            name = unquote_path(rest.partition(" ")[2])
            draft.status = "renamed" if what == "rename" else "copied"
            if side == "from":
                draft.old_path = name
            else:
                draft.path = name
        case "new", "file":
            draft.status, draft.modes[1] = "added", line.rpartition(" ")[2]
        case "deleted", "file":
            draft.status, draft.modes[0] = "deleted", line.rpartition(" ")[2]
        case "old", "mode":
            draft.modes[0] = line.rpartition(" ")[2]
        case "new", "mode":
            draft.modes[1] = line.rpartition(" ")[2]
        case "index", _ if line.endswith(f" {SUBMODULE}"):
            draft.modes[:] = [SUBMODULE, SUBMODULE]
        case "mode", _ if ".." in rest:  # of a merge
            draft.modes[:] = [rest.partition("..")[0].split(",")[0], rest.partition("..")[2]]
        case "Binary", "files":
            draft.binary = line.endswith(" differ")
        case "GIT", "binary":
            draft.binary = True
        case _:
            return word in ("index", "similarity", "dissimilarity", "mode")
    return True


def _read_hunk(lines: list[str], at: int, match: re.Match[str], draft: _Draft) -> int:
    """Reads a hunk's lines, as many as its header says at most; returns the place of the line after it."""
    old, new = int(match[1][:10]), int(match[3][:10])
    left_old, left_new = (int(length[:10]) if length else 1 for length in (match[2], match[4]))
    if max(old, new, left_old, left_new) > LARGEST:
        return at
    hunk = Hunk(old, new, match[5], ())
    found: list[Line] = []
    draft.open = False
    while at < len(lines):
        sign, text = lines[at][:1] or " ", lines[at][1:]
        if sign == "\r":  # an empty line that lost its sign
            sign, text = " ", "\r"
        if sign == "\\" and found:
            found[-1] = found[-1]._replace(ends=False)
            at += 1
            continue
        if not (left_old or left_new) or (sign == "-" and _begins_file(lines, at, left_old, left_new)):
            break
        if sign == " " and left_old and left_new:
            found.append(Line(" ", text, old, new))
        elif sign == "-" and left_old:
            found.append(Line("-", text, old, None))
        elif sign == "+" and left_new:
            found.append(Line("+", text, None, new))
        else:
            break
        old, left_old = old + (sign != "+"), left_old - (sign != "+")
        new, left_new = new + (sign != "-"), left_new - (sign != "-")
        at += 1
    draft.hunks.append(replace(hunk, lines=tuple(found), cut=bool(left_old or left_new)))
    return at


def _begins_file(lines: list[str], at: int, left_old: int, left_new: int) -> bool:
    """Tells whether a hunk is cut short here by the names of another file, which look like changed lines.

    Behind them is a hunk's header, and no line begins so; as the last two lines of a hunk they are lines.
    """
    if (left_old, left_new) == (1, 1) or at + 2 >= len(lines):
        return False
    names, header = lines[at : at + 2], lines[at + 2].removesuffix("\r")
    return names[0].startswith("--- ") and names[1].startswith("+++ ") and bool(HUNK.fullmatch(header))


def _read_combined(lines: list[str], at: int, match: re.Match[str], draft: _Draft) -> int:
    """Reads a hunk of a merge, with a sign for each parent: a line with any + is new, with any - it is gone."""
    parents = len(match[1]) - 1
    lengths = [int(length[:10] or 1) for length in re.findall(r"-\d+,?(\d*)", match[2])]
    first = new = int(match[3][:10])
    left = int(match[4][:10]) if match[4] else 1
    if len(lengths) != parents or max(*lengths, new, left) > LARGEST:
        return at
    draft.combined, draft.open = True, False
    found: list[Line] = []
    while at < len(lines):
        signs, text = lines[at][:parents], lines[at][parents:]
        if lines[at].startswith("\\") and found:
            found[-1] = found[-1]._replace(ends=False)
            at += 1
            continue
        removed = "-" in signs
        # a parent has a line unless it was added to it, or removed from another
        rest = [
            length - (sign == ("-" if removed else " ")) for length, sign in zip(lengths, signs, strict=False)
        ]
        if len(signs) < parents or signs.strip(" +-") or ("+" in signs and removed):
            break
        if min(rest) < 0 or not (removed or left):
            break
        lengths = rest
        sign: Literal[" ", "+", "-"] = "-" if removed else "+" if "+" in signs else " "
        found.append(Line(sign, text, None, None if removed else new))
        new, left = new + (not removed), left - (not removed)
        at += 1
    draft.hunks.append(Hunk(0, first, match[5], tuple(found), left > 0 or max(lengths) > 0))
    return at


def unquote_path(name: str) -> str:
    """Reads a name that git wrote in quotes, with escapes for bytes; bytes that are no UTF-8 become U+FFFD."""
    if len(name) < 2 or name[0] != '"' or name[-1] != '"':
        return name
    content = bytearray()
    for plain, octal, escape in re.findall(r"([^\\]+)|\\([0-7]{3})|\\(.)", name[1:-1], re.DOTALL):
        if plain:
            content += plain.encode("utf-8", "replace")
        elif octal:
            content.append(int(octal, 8) & 255)
        else:
            content += bytes([ESCAPES[escape]]) if escape in ESCAPES else escape.encode("utf-8", "replace")
    return content.decode("utf-8", "replace")


def quote_path(name: str) -> str:
    """Writes a name as git does in a diff: in quotes where it has a quote, a backslash or a control character."""
    if not re.search(r'["\\\x00-\x1f\x7f]', name):
        return name
    escapes = {code: f"\\{letter}" for letter, code in ESCAPES.items()}
    return (
        '"'
        + "".join(escapes.get(ord(c), f"\\{ord(c):03o}" if c < " " or c == "\x7f" else c) for c in name)
        + '"'
    )


def write_hunk(hunk: Hunk) -> str:
    """Writes a hunk as a diff of its own, without the file's name."""
    old, new = (sum(line.sign != absent for line in hunk.lines) for absent in "+-")
    lines = [f"@@ -{hunk.old},{old} +{hunk.new},{new} @@ {hunk.section}".rstrip()]
    for line in hunk.lines:
        lines.append(line.sign + line.text)
        lines += [] if line.ends else [NO_END]
    return "\n".join(lines) + "\n"


def diff_texts(before: str, after: str, path: str = "", context: int = 3) -> str:
    """Writes the unified diff of two texts; "" where they are equal. path: of the file, "" writes hunks alone."""
    if before == after:
        return ""
    old, new = _split_lines(before), _split_lines(after)
    found = (
        list(difflib.unified_diff(old, new, n=context))[2:] if _is_cheap(old, new) else _replace_all(old, new)
    )
    header = f"--- {quote_path('a/' + path)}\n+++ {quote_path('b/' + path)}\n" if path else ""
    return header + "".join(line if line.endswith("\n") else f"{line}\n{NO_END}\n" for line in found)


def _split_lines(text: str) -> list[str]:
    """Splits at line feeds alone, which stay: other characters that Python takes for line ends are content."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _is_cheap(old: list[str], new: list[str]) -> bool:
    """Tells whether difflib is fast: lines in more than a hundredth of a long text count for nothing with it."""
    counts = Counter(new)
    most = 1 + len(new) // 100 if len(new) >= 200 else len(new)
    return sum(counts[line] for line in old if counts[line] <= most) <= COSTLIEST


def _replace_all(old: list[str], new: list[str]) -> list[str]:
    """Writes one hunk that removes all old lines and adds all new ones."""
    ranges = (f"{min(1, len(lines))},{len(lines)}" for lines in (old, new))
    header = "@@ -{} +{} @@\n".format(*ranges)
    return [header, *(f"-{line}" for line in old), *(f"+{line}" for line in new)]
