"""Defines the options of the pack."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from appkit_tasks.codechange.languages import LANGUAGES

__all__ = ["BuildOptions", "CodeChangeConfig", "Problem"]

Problem = Literal["review", "commit_message", "comment_update"]


class CodeChangeConfig(BaseModel):
    """Options of the pack, set by `task.<key>=` for task=codechange."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["codechange"] = "codechange"
    problem: Problem = Field("commit_message", description="what is written about a change")
    view: Literal["unified", "before_after"] = Field(
        "unified",
        description="how the change is shown: with signs, or the text before and the text afterwards",
    )
    diff_chars: int = Field(
        2500,
        ge=200,
        le=100_000,
        description="characters of a change that are shown; more is cut by whole hunks",
    )
    examples: int = Field(
        0,
        ge=0,
        le=2,
        description="similar earlier changes in each prompt; never of a same file or the same commit",
    )
    example_chars: int = Field(
        600, ge=100, le=20_000, description="characters of an example's change that are shown"
    )
    body: bool = Field(False, description="commit_message: write the whole message, not its first line alone")


class BuildOptions(BaseModel):
    """What is read, and which commits become rows: `appkit data build codechange <key>=<value>`."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    repo: str | None = Field(
        None,
        min_length=1,
        description="folder of a git repository, which is only read; needed but for review",
    )
    problem: Problem = Field("commit_message", description="what the rows are for")
    head: str = Field("HEAD", min_length=1, description="the newest commit")
    since: str | None = Field(None, description="the first day of commits, in UTC, such as 2024-01-01")
    until: str | None = Field(None, description="the last day of commits")
    paths: tuple[str, ...] = Field(
        (), description="folders or patterns, with commas; a commit's other files are left out"
    )
    languages: tuple[str, ...] = Field(
        (), description="such as python,go; a commit's other files are left out"
    )
    comments: str | None = Field(
        None, description="review: file of exported remarks: JSON of GitHub, GitLab or Gerrit"
    )
    silent: float = Field(
        0.5,
        ge=0,
        le=10,
        description="review: changes without a remark for each one with, where repo has the commits",
    )
    max_lines: int = Field(100, ge=1, description="changed lines of a commit, at most")
    max_files: int = Field(8, ge=1, description="files of a commit, at most")
    min_words: int = Field(3, ge=1, description="words of a message's subject, at least")
    dev_share: float = Field(0.1, ge=0, lt=0.5, description="share of the rows, the newest before the test")
    test_share: float = Field(0.1, ge=0, lt=0.5, description="share of the rows, the newest")
    apart: Literal["none", "author", "file"] = Field(
        "none",
        description="leave out dev and test rows whose author, or one of whose files, training rows have",
    )

    @field_validator("paths", "languages", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("since", "until")
    @classmethod
    def _check_day(cls, day: str | None) -> str | None:
        try:
            return date.fromisoformat(day).isoformat() if day is not None else None
        except ValueError:
            raise ValueError("is a day such as 2024-01-31") from None

    @field_validator("languages")
    @classmethod
    def _check_languages(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in LANGUAGES]:
            raise ValueError(f"knows no language {unknown[0]!r}; choose of {', '.join(LANGUAGES)}")
        return names
