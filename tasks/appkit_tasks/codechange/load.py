"""Defines the schema of a row, and names the rows that come with the pack."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from appkit.task import Row, Shipped
from appkit_tasks.codechange.config import CodeChangeConfig
from appkit_tasks.codechange.diffs import Change, diff_texts, parse
from appkit_tasks.codechange.languages import language_of
from appkit_tasks.codechange.remarks import LAST_LINE
from appkit_tasks.codechange.secrets import mask
from appkit_tasks.codechange.view import classify

__all__ = ["LONGEST", "ChangeRow", "Example", "load", "notes", "put_examples", "shipped_answers", "synonyms"]

LONGEST = 400_000
"""characters of a diff in a row; commands cut longer ones before they ask"""

ANSWERS: Mapping[str, tuple[str, ...]] = {
    "commit_message": ("message", "commit_message", "msg", "subject"),
    "review": ("review", "remark", "msg"),
    "comment_update": ("new_comment", "new_desc", "dst_desc"),
}
"""problem -> names under which data sets have the answer"""

OTHERS: Mapping[str, tuple[str, ...]] = {
    "diff": ("patch", "diff_hunk", "hunk"),
    "comment": ("old_comment", "old_desc", "src_desc"),
    "before": ("old_code", "src_method"),
    "after": ("new_code", "dst_method"),
    "file": ("path", "filename"),
    "language": ("lang",),
    "function": ("symbol", "method"),
    "commit": ("commit_id", "sha", "hash"),
    "project": ("repo", "repository"),
}


Severity = Literal["error", "warning", "note"]


class Example(BaseModel):
    """An earlier change and what was written about it, for a prompt."""

    model_config = ConfigDict(frozen=True)

    diff: str = Field(min_length=1, max_length=LONGEST)
    answer: str = Field(min_length=1, max_length=20_000)
    comment: str = Field("", max_length=20_000)
    file: str = Field("", max_length=4096)
    line: int | None = Field(None, ge=1, le=LAST_LINE)
    end_line: int | None = Field(None, ge=1, le=LAST_LINE)
    severity: Severity | None = None

    @property
    def change(self) -> Change:
        """What the diff says; a hunk without a file gets the example's."""
        return _read_change(self.diff, self.file)

    @model_validator(mode="before")
    @classmethod
    def _mask(cls, values: Any) -> Any:
        """Masks secrets before anything else sees them."""
        return _mask_fields(values, ("diff", "answer", "comment"))[0] if isinstance(values, dict) else values


def _mask_fields(values: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, Any], int]:
    """Masks secrets in some of the fields; returns all of them, and how many secrets there were."""
    masked, count = dict(values), 0
    for name in names:
        if isinstance(text := values.get(name), str) and len(text) <= LONGEST:
            masked[name], secrets = mask(text)
            count += secrets
    return masked, count


class ChangeRow(Row):
    """A row is a change, and what is written about it."""

    model_config = ConfigDict(str_strip_whitespace=False)  # a diff's and code's first and last blanks count

    diff: str = Field(
        "", max_length=LONGEST, description="unified diff, or a hunk; none: made of before and after"
    )
    answer: str = Field(
        "",
        max_length=20_000,
        description="the message, the remark, or the new comment; what task.problem says",
    )
    file: str = Field("", max_length=4096, description="path of a hunk without one")
    language: str = Field("", max_length=40, description="such as python; none: by the file's name")
    function: str = Field("", max_length=500, description="name of the function around the change")
    before: str = Field("", max_length=LONGEST, description="code before the change, in place of a diff")
    after: str = Field("", max_length=LONGEST, description="code afterwards")
    comment: str = Field(
        "", max_length=20_000, description="comment_update: the comment before, without its marks"
    )
    line: int | None = Field(
        None, ge=1, le=LAST_LINE, description="review: line of the file afterwards that the remark is about"
    )
    end_line: int | None = Field(None, ge=1, le=LAST_LINE, description="review: the last of several lines")
    severity: Severity | None = Field(None, description="review: of the remark")
    kind: Literal["code", "comments", "both"] | None = Field(
        None, description="what changes; none: told by the look of the changed lines"
    )
    commit: str | None = Field(
        None, max_length=200, description="the commit that it is a part of: intervals are over commits"
    )
    date: str | None = Field(
        None, max_length=40, description="of the commit, ISO 8601; examples are of earlier ones alone"
    )
    author: str | None = Field(None, max_length=500, description="of the commit")
    project: str | None = Field(None, max_length=500, description="the repository")
    licence: str | None = Field(None, max_length=200, description="of the repository")
    examples: tuple[Example, ...] = Field(
        (), max_length=4, description="similar earlier changes for the prompt; none: found by task.examples"
    )
    masked: int = Field(0, ge=0, description="secrets that were masked in it")

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """Makes the diff of before and after, and masks secrets, before anything else sees them."""
        if not isinstance(values, dict):
            return values
        values, count = _mask_fields(values, ("diff", "before", "after", "answer", "comment"))
        before, after = values.get("before") or "", values.get("after") or ""
        texts = [text for text in (before, after) if isinstance(text, str) and len(text) <= LONGEST]
        if len(texts) == 2 and before != after and not str(values.get("diff") or "").strip():
            values["diff"] = diff_texts(before, after, str(values.get("file") or ""))
        if count:
            earlier = values.get("masked")
            values["masked"] = count + (earlier if isinstance(earlier, int) else 0)
        return values

    @field_validator("answer", "comment", "file", "function", "language")
    @classmethod
    def _strip(cls, text: str) -> str:
        return text.strip()

    @model_validator(mode="after")
    def _check(self) -> ChangeRow:
        """Raises ValueError for a row without a change."""
        if not self.diff.strip():
            raise ValueError("there is no change: diff is empty, and before and after are equal or empty")
        parse(self.diff)
        if self.line and self.end_line and self.end_line < self.line:
            raise ValueError(f"end_line must be {self.line} (line) or more, got {self.end_line}")
        return self

    @property
    def document(self) -> str | None:
        """The commit: its rows stay together."""
        return self.commit

    @property
    def change(self) -> Change:
        """What the diff says; a hunk without a file gets the row's."""
        return _read_change(self.diff, self.file)

    @property
    def written_in(self) -> str:
        """The language of the row, or of its first file."""
        return self.language or next(filter(None, map(language_of, self.change.paths)), "")

    @property
    def changes(self) -> str:
        """What changes: code, comments or both."""
        return self.kind or classify(self.change)


def _read_change(diff: str, path: str) -> Change:
    change = parse(diff)
    if not path or any(file.path for file in change.files):
        return change
    return Change(tuple(replace(file, path=path) for file in change.files))


def synonyms(options: CodeChangeConfig) -> dict[str, Sequence[str]]:
    """Names the columns under which published sets have the fields."""
    return {"answer": ANSWERS[options.problem], **OTHERS}


def load(options: CodeChangeConfig) -> Shipped:
    """Names the shipped files: changes of invented projects, written for appkit, CC0."""
    name = "comments" if options.problem == "comment_update" else "changes"
    return Shipped("appkit_data", {side: f"changes/{name}.{side}.jsonl" for side in ("train", "test")})


def shipped_answers(problem: str) -> list[str]:
    """Lists the answers of the shipped training rows."""
    name, field = ("comments", "new_comment") if problem == "comment_update" else ("changes", "message")
    text = files("appkit_data").joinpath("changes", f"{name}.train.jsonl").read_text(encoding="utf-8")
    return [json.loads(line)[field] for line in text.splitlines()]


def notes(rows: Sequence[ChangeRow]) -> list[str]:
    """Says how many secrets were masked."""
    masked = [row.masked for row in rows if row.masked]
    return [f"{sum(masked)} secrets are masked, in {len(masked)} rows"] if masked else []


def put_examples(row: ChangeRow, others: Sequence[ChangeRow]) -> ChangeRow:
    """Returns the row with earlier changes for its prompt."""
    examples = tuple(
        Example(**{name: getattr(other, name) for name in Example.model_fields}) for other in others
    )
    return row.model_copy(update={"examples": examples})
