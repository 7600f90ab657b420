"""Writes a change as HTML, file by file, with the remarks of its review below their lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from appkit_apps.codechange.texts import write_answer, write_runs, write_visible
from appkit_apps.markup import show

__all__ = ["Review", "write_change", "write_seen"]

Tool = Mapping[str, Any]
"""what a tool of the pack answered"""

ROWS = {"+": "added", "-": "removed", " ": "same"}
TOP = (
    '<colgroup><col class="no"><col class="no"><col class="sign"><col></colgroup><thead><tr>'
    '<th scope="col">Old line</th><th scope="col">New line</th><th scope="col">Sign</th>'
    '<th scope="col">Code</th></tr></thead>'
)
MOST_REMARKS = 100
"""of an answer"""
LONGEST_REMARK = 4000
LONGEST_PATH = 200
"""characters that are shown"""


@dataclass
class Review:
    """The remarks of an answer, each to be written once."""

    title: str
    by: str
    """what each remark says of its writer; "" for the adapter"""
    remarks: Sequence[Tool]
    """as the pack's tool has them"""
    note: str = ""
    """what is said of the answer as a whole"""
    read: bool = True
    """the answer could be read as remarks, or as none"""
    waiting: list[Tool] = field(init=False)
    """those that are not written yet"""

    def __post_init__(self) -> None:
        self.waiting = list(self.remarks[:MOST_REMARKS])

    def take(self, **wanted: Any) -> list[Tool]:
        """Takes the remarks whose fields have these values."""
        taken = [
            remark for remark in self.waiting if all(remark[name] == value for name, value in wanted.items())
        ]
        self.waiting = [remark for remark in self.waiting if remark not in taken]
        return taken

    def write(self) -> str:
        """Writes what the review says as a whole: how many remarks, and those without a line."""
        counts = Counter(remark["severity"] or "without a severity" for remark in self.remarks)
        said = ", ".join(f"{count} {severity}" for severity, count in counts.items())
        placed = sum(remark["shown"] for remark in self.remarks)
        body = "No remark." if self.read else ""
        if self.remarks:
            body = f"{_count(len(self.remarks), 'remark')} ({said}), {placed} beside a line."
        if (more := len(self.remarks) - MOST_REMARKS) > 0:
            body += f" The first {MOST_REMARKS} are shown, {more} are not."
        general = "".join(f"<li>{_write_remark(self.by, remark)}</li>" for remark in self.take(line=None))
        return write_answer(self.title, show(body), self.note, f"<ul>{general}</ul>" if general else "")


def write_change(diff: Tool, reviews: Sequence[Review] = ()) -> str:
    """Writes the files of a diff. reviews: whose remarks stand below their lines, or below the file."""
    files = "".join(_write_file(place, file, reviews) for place, file in enumerate(diff["files"]))
    left = [(review.by, remark) for review in reviews for remark in review.waiting]
    elsewhere = _list_remarks(left, "Remarks on files that are not shown")
    return files + (f'<section class="file">{elsewhere}</section>' if elsewhere else "") + _write_rest(diff)


def write_seen(view: Tool) -> str:
    """Writes how much of the change the model read, with the text itself to be opened."""
    count = _count(view["shown"] + view["left_out"], "hunk")
    how_much = f"a part of the change: {view['shown']} of {count}" if view["notes"] else "the whole change"
    notes = "".join(f'<p class="note">{write_visible(note)}</p>' for note in view["notes"])
    return (
        f'<section class="seen"><p>The model read {how_much}.</p>{notes}<details><summary>What it read</summary>'
        f'<pre dir="ltr">{write_visible(view["text"])}</pre></details></section>'
    )


def _write_file(place: int, file: Tool, reviews: Sequence[Review]) -> str:
    """Writes a file: what is said of it, its hunks, and below them the remarks whose lines it does not show."""
    rows = "".join(_write_hunk(place, hunk, reviews) for hunk in file["hunks"])
    title = write_visible(file["description"])
    table = f"<table>{TOP}<tbody>{rows}</tbody></table>" if rows else ""
    left = [(review.by, remark) for review in reviews for remark in review.take(place=place)]
    below = _list_remarks(left, "Remarks on lines that are not shown in the diff")
    return f'<section class="file"><h2>{title}</h2>{table}{below}</section>'


def _write_hunk(place: int, hunk: Tool, reviews: Sequence[Review]) -> str:
    old = f"-{hunk['old']} " if hunk["old"] else ""
    cut = ' <span class="faint">(it has fewer lines than it says)</span>' if hunk["cut"] else ""
    head = f'<tr class="hunk"><td colspan="4">@@ {old}+{hunk["new"]} @@ {write_visible(hunk["section"])}{cut}</td></tr>'
    return head + "".join(_write_line(place, line, reviews) for line in hunk["lines"])


def _write_line(place: int, line: Tool, reviews: Sequence[Review]) -> str:
    """Writes a line as a row, and the remarks on it as a row below."""
    notes = []
    if line["more"]:
        notes.append(f"… {line['more']:,} more characters")
    if not line["ends"]:
        notes.append("no line end at the end of the file")
    said = f' <span class="faint">({"; ".join(notes)})</span>' if notes else ""
    old, new = (line[side] or "" for side in ("old", "new"))
    sign = "−" if line["sign"] == "-" else line["sign"]
    row = (
        f'<tr class="{ROWS[line["sign"]]}"><td class="no">{old}</td><td class="no">{new}</td>'
        f'<td class="sign">{sign}</td><td class="code" dir="ltr">{write_runs(line["runs"])}{said}</td></tr>'
    )
    remarks = "".join(
        _write_remark(review.by, remark)
        for review in reviews
        if line["new"]
        for remark in review.take(place=place, below=line["new"])
    )
    return row + (f'<tr><td class="said" colspan="4">{remarks}</td></tr>' if remarks else "")


def _write_remark(by: str, remark: Tool, where: bool = False) -> str:
    """Writes a remark: severity, writer, line and text. where: with its file, even if that is told by its place."""
    severity = remark["severity"] or ""
    words = [severity.capitalize() or "Remark", *filter(None, [by])]
    if where and remark["file"]:
        words.append(remark["file"][:LONGEST_PATH])
    if remark["line"]:
        last = f" to {remark['end']}" if remark["end"] and remark["end"] != remark["line"] else ""
        words.append(f"line {remark['line']}{last}")
    head = f"<strong>{write_visible(' · '.join(words))}</strong>"
    text = write_visible(remark["text"], LONGEST_REMARK)
    return f'<div class="remark {show(severity)}" dir="auto">{head}\n{text}</div>'


def _list_remarks(remarks: Sequence[tuple[str, Tool]], title: str) -> str:
    """Lists remarks that stand at no line, below a title; "" for none."""
    items = "".join(f"<li>{_write_remark(by, remark, where=True)}</li>" for by, remark in remarks)
    return f'<p class="note">{show(title)}:</p><ul>{items}</ul>' if items else ""


def _write_rest(diff: Tool) -> str:
    """Says what of the diff is not shown, and how many secrets are masked; "" for neither."""
    left = [_count(count, name[:-1]) for name, count in diff["left_out"].items() if count]
    said = [f"The diff goes on; not shown are {', '.join(left)}."] if left else []
    if diff["masked"]:
        said.append(f"Secrets masked, here and for the model: {diff['masked']}.")
    return f'<section class="seen"><p>{" ".join(said)}</p></section>' if said else ""


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
