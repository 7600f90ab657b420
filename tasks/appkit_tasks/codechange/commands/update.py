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
from appkit_tasks.codechange.commands.message import require_problem
from appkit_tasks.codechange.commands.source import open_range
from appkit_tasks.codechange.diffs import Change, diff_texts, parse, quote_path
from appkit_tasks.codechange.functions import Function, comment_text, find_functions, rewrite_comment
from appkit_tasks.codechange.git import Repository
from appkit_tasks.codechange.languages import is_generated, language_of
from appkit_tasks.codechange.load import LONGEST

__all__ = ["UPDATE_COMMENTS", "UpdateOptions", "find_stale", "run"]


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


def run(options: UpdateOptions, pack: Any, answer: AnswerInputs | None) -> Outcome:
    """Asks for each comment and writes the patch. Raises ValueError for what cannot be read."""
    assert answer is not None
    require_problem(pack, "comment_update")
    paths = [path.strip() for path in options.paths.split(",") if path.strip()]
    repository, base, head, text = open_range(options.repo, options.range, paths)
    if not text.strip():
        return Outcome("", [f"{options.range} changes nothing"])
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
        elif new.split() == comment_text(one.after.comment).split():
            counts["that fit already"] += 1
        else:
            try:
                edits.setdefault(one.path, []).append((one, _write_comment(one, new)))
            except ValueError:
                counts["whose answer cannot stand in a comment"] += 1
    patch = "".join(_write_patch(path, some) for path, some in edits.items())
    asked = f"{len(stale)} comments of changed functions are asked about, {sum(map(len, edits.values()))} are updated"
    notes = [asked + "".join(f"; {count} {what}" for what, count in counts.items())]
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
        before = {one.name: one for one in find_functions(old, language)}
        for after in find_functions(new, language):
            earlier = before.get(after.name)
            if earlier is None or not after.comment or earlier.code.split() == after.code.split():
                continue
            if comment_text(earlier.comment).split() == comment_text(after.comment).split():
                yield Stale(file.path, new, earlier, after)


def _make_row(one: Stale) -> dict[str, Any]:
    return {
        "file": one.path,
        "language": language_of(one.path),
        "function": one.after.name,
        "before": one.before.code[:LONGEST],
        "after": one.after.code[:LONGEST],
        "comment": comment_text(one.after.comment),
    }


def _write_comment(one: Stale, text: str) -> str:
    """Writes the new text as the comment of the function. Raises ValueError for one that would end it."""
    line = one.source[: one.after.comment_start].rpartition(b"\n")[2].decode("utf-8", "replace")
    indent = line[: len(line) - len(line.lstrip())]
    printable = "\n".join(
        "".join(c for c in part if c.isprintable() or c == "\t").rstrip() for part in text.split("\n")
    )
    return rewrite_comment(one.after.comment, printable, indent)


def _write_patch(path: str, edits: Sequence[tuple[Stale, str]]) -> str:
    """Writes the patch of a file."""
    source = edits[0][0].source
    parts: list[bytes] = []
    at = 0
    for one, comment in sorted(edits, key=lambda edit: edit[0].after.comment_start):
        parts += [source[at : one.after.comment_start], comment.encode("utf-8", "replace")]
        at = one.after.comment_end
    new = b"".join([*parts, source[at:]])
    name = quote_path(f"a/{path}"), quote_path(f"b/{path}")
    diff = diff_texts(source.decode("utf-8"), new.decode("utf-8"), path)
    return f"diff --git {name[0]} {name[1]}\n{diff}" if diff else ""


UPDATE_COMMENTS = Command(
    "Find comments that did not follow a change, and print a patch that git apply takes: update-comments main..HEAD.",
    UpdateOptions,
    run,
    arguments=("range",),
)
