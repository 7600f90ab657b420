"""`appkit update-comments` finds comments that did not follow a change, and writes a patch that updates them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from appkit.task import AnswerInputs, Command, Outcome
from appkit_tasks.codechange import functions
from appkit_tasks.codechange.commands.options import (
    UNCALIBRATED,
    clean_line,
    require_problem,
    split_paths,
)
from appkit_tasks.codechange.commands.source import describe_unchanged, open_range
from appkit_tasks.codechange.diffs import Change, diff_texts, parse, quote_path
from appkit_tasks.codechange.functions import (
    DIRECTIVE,
    Function,
    comment_text,
    find_functions,
    pair_functions,
    rewrite_comment,
)
from appkit_tasks.codechange.git import Repository
from appkit_tasks.codechange.languages import is_generated, language_of
from appkit_tasks.codechange.load import LONGEST
from appkit_tasks.codechange.secrets import MASK, mask

__all__ = ["UPDATE_COMMENTS", "UpdateOptions", "find_stale", "run"]

LONGEST_COMMENT, LONGEST_NAME = 20_000, 500
"""characters of a comment and of a function's name in a row"""


class UpdateOptions(BaseModel):
    """Options of `appkit update-comments`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    range: str = Field(min_length=1, description="BASE..HEAD")
    repo: Path = Field(Path(), description="the repository; it is only read")
    paths: str = Field("", description="folders or patterns of the files, with commas; none: all")
    min_confidence: float = Field(0.5, ge=0, le=1, description="comments below it stay, and are counted")


@dataclass(frozen=True)
class Stale:
    """A function whose code changed and whose comment did not."""

    path: str
    source: bytes
    """of the file afterwards"""
    before: Function
    after: Function
    names: frozenset[str]
    """of all functions of the file"""


def run(options: UpdateOptions, pack: Any, answer: AnswerInputs | None) -> Outcome:
    """Asks for each comment and writes the patch. Raises ValueError for what cannot be read."""
    assert answer is not None
    require_problem(pack, "comment_update")
    paths = split_paths(options.paths)
    repository, base, head, text = open_range(options.repo, options.range, paths)
    if not text.strip():
        return Outcome("", [describe_unchanged(options.range, paths)])
    counts: Counter[str] = Counter()
    stale = list(find_stale(repository, base, head, parse(text), counts))
    answers = answer([_make_row(one) for one in stale]) if stale else []
    edits: dict[str, list[tuple[Stale, str]]] = {}
    for one, (prediction, confidence) in zip(stale, answers, strict=True):
        new = prediction.text.strip()
        if confidence is not None and confidence < options.min_confidence:
            counts[f"below --min-confidence {options.min_confidence:g}"] += 1
        elif prediction.truncated or not new:
            counts["without a whole answer"] += 1
        elif MASK in new and MASK not in one.after.comment:
            counts["whose comment holds a secret"] += 1
        elif new.split() == comment_text(one.after.comment).split():
            counts["that fit already"] += 1
        else:
            try:
                comment = _write_comment(one, new)
            except ValueError:
                counts["whose answer cannot stand in a comment"] += 1
                continue
            edits.setdefault(one.path, []).append((one, comment))
    patch = "".join(_write_patch(path, some) for path, some in edits.items())
    asked = f"{len(stale)} comments of changed functions are asked about, {sum(map(len, edits.values()))} are updated"
    notes = [asked + "".join(f"; {count} {what}" for what, count in counts.items())]
    if any(confidence is None for _, confidence in answers):
        notes.append(UNCALIBRATED)
    if patch:
        notes.append("apply it with: git apply")
    return Outcome(patch.removesuffix("\n"), notes)


def find_stale(
    repository: Repository, base: str, head: str, change: Change, counts: Counter[str]
) -> Iterator[Stale]:
    """Yields the functions whose code changes between two commits and whose comment does not."""
    for file in change.files:
        language = language_of(file.path)
        if file.status not in ("changed", "renamed") or not file.hunks or is_generated(file.path):
            continue
        if language not in functions.LANGUAGES:
            counts["files left out: languages without a grammar"] += 1
            continue
        try:
            old, new = repository.blob(base, file.old_path or file.path), repository.blob(head, file.path)
            new.decode("utf-8")
        except ValueError:
            counts["files left out: no UTF-8"] += 1
            continue
        functions_after = find_functions(new, language)
        names = frozenset(function.name for function in functions_after)
        for before, after in pair_functions(find_functions(old, language), functions_after):
            if before.code.split() == after.code.split():
                continue
            text = comment_text(after.comment)
            if not text or comment_text(before.comment).split() != text.split():
                continue
            if reason := _refuse(before, after, text):
                counts[reason] += 1
            else:
                yield Stale(file.path, new, before, after, names)


def _refuse(before: Function, after: Function, text: str) -> str:
    """Says why a function is not asked about; "" where it is."""
    if max(len(before.code), len(after.code)) > LONGEST or len(text) > LONGEST_COMMENT:
        return "left out: functions or comments that are too long"
    if any(DIRECTIVE.match(line.strip()) for line in after.comment.encode().split(b"\n")):
        return "left out: comments that hold directives of tools"
    if mask(before.code)[0] == mask(after.code)[0]:
        return "left out: functions in which only a secret changes"
    return ""


def _make_row(one: Stale) -> dict[str, Any]:
    return {
        "file": one.path,
        "language": language_of(one.path),
        "function": one.after.name[:LONGEST_NAME],
        "before": mask(one.before.code)[0],
        "after": mask(one.after.code)[0],
        "comment": mask(comment_text(one.after.comment))[0],
    }


def _write_comment(one: Stale, text: str) -> str:
    """Writes the new text as the comment of the function. Raises ValueError for one that would change code."""
    line = one.source[: one.after.comment_start].rpartition(b"\n")[2].decode("utf-8", "replace")
    indent = line[: len(line) - len(line.lstrip())]
    # code in a comment of Go is indented by tabs
    printable = "\n".join(clean_line(part, keep="\t").rstrip() for part in text.split("\n"))
    comment = rewrite_comment(one.after.comment, printable, indent).replace("\r\n", "\n")
    if b"\r\n" in one.source:
        comment = comment.replace("\n", "\r\n")
    _check_comment(one, comment, printable)
    return comment


def _check_comment(one: Stale, comment: str, text: str) -> None:
    """Raises ValueError unless the file, read again, has the same functions, and this text as the comment."""
    after = one.after
    source = one.source[: after.comment_start] + comment.encode() + one.source[after.comment_end :]
    again = {function.name: function for function in find_functions(source, language_of(one.path))}
    now = again.get(after.name)
    if again.keys() != one.names or now is None or now.code != after.code:
        raise ValueError("the new comment would change the code around it")
    if comment_text(now.comment).split() != text.split():
        raise ValueError("the new comment would not be read as it is meant")


def _write_patch(path: str, edits: Sequence[tuple[Stale, str]]) -> str:
    """Writes the patch of a file."""
    source = edits[0][0].source
    parts: list[bytes] = []
    at = 0
    for one, comment in sorted(edits, key=lambda edit: edit[0].after.comment_start):
        parts += [source[at : one.after.comment_start], comment.encode()]
        at = one.after.comment_end
    new = b"".join([*parts, source[at:]])
    name = quote_path(f"a/{path}"), quote_path(f"b/{path}")
    diff = diff_texts(source.decode("utf-8"), new.decode("utf-8"), path)
    return f"diff --git {name[0]} {name[1]}\n{diff}" if diff else ""


UPDATE_COMMENTS = Command(
    UpdateOptions,
    run,
    arguments=("range",),
)
