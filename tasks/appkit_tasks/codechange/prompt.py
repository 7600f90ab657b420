"""Asks for a commit message, a review, or an updated comment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from appkit.task import Message, Text
from appkit_tasks.codechange.config import CodeChangeConfig
from appkit_tasks.codechange.diffs import Change
from appkit_tasks.codechange.load import ChangeRow, Example
from appkit_tasks.codechange.remarks import Remark, parse_remarks, render_remarks
from appkit_tasks.codechange.view import render

__all__ = ["allows", "few_shot", "prompt", "similar_text", "target"]

ASKED = {
    "commit_message": "Write the commit message of the change.",
    "review": "Review the change. Name the line and what is wrong with it, or answer: No remark.",
    "comment_update": "Update the comment so that it fits the changed code.",
}
SHOWN = 1200
"""characters of a diff in the base's few-shot prompt, at most"""
DAY = len("2024-01-31")
COMPARED = 1500
"""characters of the changed lines by which changes are alike"""


def prompt(row: ChangeRow, options: CodeChangeConfig) -> list[Message]:
    """Writes what is asked with examples, and last the change with what is known of it."""
    lines = [ASKED[options.problem]]
    if options.problem == "commit_message" and options.body:
        lines[0] = (
            "Write the commit message of the change: a subject, and below a blank line what a reader needs."
        )
    for example in row.examples:
        comment = (
            f"Comment: {example.comment}\n" if example.comment and options.problem == "comment_update" else ""
        )
        view = _show(example.change, options.example_chars, options)
        lines.append(f"Example:\n{comment}{view}\n=> {_write_answer(example, options)}")
    return [Message.of("system", "\n".join(lines)), Message.of("user", _describe(row, options))]


def _show(change: Change, chars: int, options: CodeChangeConfig) -> str:
    numbers, before_after = options.problem == "review", options.view == "before_after"
    return render(change, chars, numbers=numbers, before_after=before_after).text


def _describe(row: ChangeRow, options: CodeChangeConfig) -> str:
    known = ", ".join(filter(None, (row.written_in, row.function and f"in {row.function}")))
    lines = [f"Language: {known}"] if known else []
    if options.problem == "comment_update":
        lines.append(f"Comment: {row.comment}")
    return "\n".join([*lines, _show(row.change, options.diff_chars, options)])


def target(row: ChangeRow, options: CodeChangeConfig) -> Text:
    """Returns what is to be learned: the subject or message, the remarks with their places, or the new comment."""
    return Text(_write_answer(row, options))


def _write_answer(row: ChangeRow | Example, options: CodeChangeConfig) -> str:
    if options.problem == "commit_message":
        return row.answer if options.body else row.answer.split("\n")[0].strip()
    if options.problem == "comment_update":
        return row.answer
    remarks = parse_remarks(row.answer)
    if len(remarks) == 1 and remarks[0].line is None and row.line is not None:
        files = row.change.files
        path = row.file or files[0].path if len(files) > 1 else None
        severity = row.severity or remarks[0].severity
        remarks = (Remark(remarks[0].text, path, row.line, row.end_line, severity),)
    return render_remarks(remarks)


def few_shot(rows: Sequence[ChangeRow], options: CodeChangeConfig) -> list[ChangeRow]:
    """Chooses short changes for the base's few-shot prompt, of different languages and beginnings of answers."""
    chosen: dict[str, ChangeRow] = {}
    short = [row for row in rows if len(row.diff) <= SHOWN]
    for row in short:
        # of reviews with a remark and without: a base that sees one kind writes that kind
        chosen.setdefault(f"{row.written_in} {row.answer[:4]}", row)
    return [*chosen.values()] or list(rows)


def similar_text(row: ChangeRow) -> str:
    """Returns the text by which changes are alike: the files' names and the changed lines."""
    lines = [line.text.strip() for file in row.change.files for hunk in file.hunks for line in hunk.changed]
    return "\n".join([*row.change.paths, row.comment, *lines])[:COMPARED]


def allows(row: ChangeRow, other: ChangeRow) -> bool:
    """Tells whether another change may be shown beside a row: it is earlier, of another commit and of other files.

    Rows of different projects have no time in common, and no file; a row without a date goes with any. Of days alone,
    an earlier one counts; a date that cannot be read is never earlier.
    """
    if row.commit is not None and row.commit == other.commit:
        return False
    if row.project != other.project:
        return True
    if row.date and not (other.date and _is_earlier(other.date, row.date)):
        return False
    return not set(row.change.paths) & set(other.change.paths)


def _is_earlier(date: str, than: str) -> bool:
    """Compares two dates of ISO 8601, in UTC where they say no zone."""
    try:
        first, second = (
            moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
            for moment in map(datetime.fromisoformat, (date, than))
        )
    except (ValueError, OverflowError):  # no date, or one at the ends of time
        return False
    if min(len(date), len(than)) <= DAY:
        return first.date() < second.date()
    return first < second
