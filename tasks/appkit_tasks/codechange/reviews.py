"""Makes rows for reviews: exported remarks, each with the hunk that it was written on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appkit.progress import Progress
from appkit.task import Built
from appkit_tasks.codechange.config import BuildOptions
from appkit_tasks.codechange.diffs import File, Hunk, parse, write_hunk
from appkit_tasks.codechange.exports import Exported, clean_remark, read_export
from appkit_tasks.codechange.git import Repository, open_repository
from appkit_tasks.codechange.languages import is_generated, language_of
from appkit_tasks.codechange.mining import BOTS, MinedRow, describe, split_by_time
from appkit_tasks.codechange.remarks import NO_REMARK
from appkit_tasks.codechange.secrets import mask

__all__ = ["build_reviews"]

LONGEST = 50_000
"""characters of a hunk"""


@dataclass(frozen=True)
class Place:
    """The hunk of a remark, and the lines that it is about."""

    file: File
    hunk: Hunk
    line: int | None
    end: int | None


def build_reviews(options: BuildOptions) -> Built:
    """Makes rows of an export of remarks. Raises ValueError where none is named, or it cannot be read."""
    if options.comments is None:
        raise ValueError(
            "reviews are made of remarks that people wrote: comments=FILE, the JSON of GitHub, GitLab or Gerrit"
        )
    if unused := sorted({"paths", "max_lines", "max_files", "min_words"} & options.model_fields_set):
        raise ValueError(f"{unused[0]}= has no effect on reviews; leave it out")
    repository = open_repository(options.repo) if options.repo else None
    head = repository.commit(options.head) if repository else ""
    counts: Counter[str] = Counter()
    remarks = list(read_export(Path(options.comments).expanduser()))
    rows: list[MinedRow] = []
    commits = _Commits(repository)
    seen: set[tuple[str, str]] = set()
    with Progress("matching remarks", len(remarks), "remarks") as bar:
        for remark in remarks:
            bar.advance(1)
            place = commits.find(remark)  # also of a remark that is left out: its hunk is not silent
            row = _make_row(remark, place, options, counts)
            if row is None:
                continue
            commits.keep(remark)
            key = row.fields["diff"], row.fields["review"]
            if key in seen:
                counts["left out: the same remark on the same hunk"] += 1
                continue
            seen.add(key)
            rows.append(row)
    with_remark = len(rows)
    silent = list(commits.list_silent(round(options.silent * len(rows)), options))
    rows += silent
    splits, apart = split_by_time(_join_commits(rows), options)
    total = {"remarks read": len(remarks), **dict(sorted(counts.items())), "rows with a remark": with_remark}
    total |= {"rows without, from the same commits": len(silent)}
    total |= {f"of them {name}": len(part) for name, part in splits.items()} | apart
    masked = sum(row.fields["masked"] for row in rows)
    notes = [f"{masked} secrets are masked"] if masked else []
    if not silent and options.silent:
        remedy = (
            "repo= lacks the commits, or they have no other hunk, or silent= is too low for so few rows"
            if repository
            else "repo=PATH, a clone with the commits, adds changes that nobody remarked on"
        )
        notes.append(f"no row is without a remark, so the model learns to find one everywhere; {remedy}")
    facts: dict[str, Any] = {"summary": "rows for review, made of exported remarks", "licence": None}
    if repository:
        facts = describe(repository, head, options)
    return Built(splits, total, facts, notes)


def _make_row(
    remark: Exported, place: Place | None, options: BuildOptions, counts: Counter[str]
) -> MinedRow | None:
    """Makes the row of a remark; None, and counted, for one that is left out."""
    if remark.reply:
        counts["left out: replies, and notes of the host"] += 1
    elif not remark.path:
        counts["left out: about no file"] += 1
    elif BOTS.search(remark.author):
        counts["left out: written by bots"] += 1
    elif is_generated(remark.path):
        counts["left out: generated or vendored files"] += 1
    elif options.languages and language_of(remark.path) not in options.languages:
        counts["left out: files of other languages"] += 1
    elif not _within(remark.date, options):
        counts["left out: before since, or after until"] += 1
    elif text := clean_remark(remark.body, counts):
        if place is None:
            counts[
                "left out: no hunk is known (an old side, an outdated line, or a commit that repo= lacks)"
            ] += 1
            return None
        review, in_review = mask(text)
        fields = _describe(place.file, place.hunk, remark.commits[1], remark.date)
        fields |= {"review": review, "line": place.line, "end_line": place.end}
        fields["masked"] += in_review
        return MinedRow(fields, remark.author, (remark.path,))
    return None


def _within(date: str, options: BuildOptions) -> bool:
    day = date[:10]
    return not day or (options.since or day) <= day <= (options.until or day)


def _describe(file: File, hunk: Hunk, commit: str, date: str) -> dict[str, Any]:
    diff, masked = mask(write_hunk(hunk))
    # without a commit, the rows of one hunk are what stays together
    return {
        "commit": commit or f"hunk-{hashlib.sha256(diff.encode()).hexdigest()[:12]}",
        "date": date[:40],
        "file": file.path,
        "language": language_of(file.path),
        "diff": diff,
        "masked": masked,
    }


def _join_commits(rows: Sequence[MinedRow]) -> list[MinedRow]:
    """Puts the rows of a commit together, at the date of its first remark, so that no cut in time goes through it."""
    dates: dict[str, str] = {}
    for row in rows:
        date = row.fields["date"]
        dates[row.fields["commit"]] = min(dates.get(row.fields["commit"], date), date)
    for row in rows:
        row.fields["date"] = dates[row.fields["commit"]]
    return sorted(rows, key=lambda row: row.fields["commit"])


class _Commits:
    """Finds hunks, in the repository or in what the host kept with a remark."""

    def __init__(self, repository: Repository | None) -> None:
        self._repository = repository
        self._changes: dict[tuple[str, str], Sequence[File]] = {}
        self._dates: dict[str, str] = {}
        self._remarked: set[tuple[str, str, int]] = set()

    def find(self, remark: Exported) -> Place | None:
        """Finds the hunk that a remark is about; None where it is not known."""
        for file in self._diff(remark.commits):
            if file.path == remark.path:
                for hunk in file.hunks:
                    if any(line.new == remark.line for line in hunk.lines) and remark.line is not None:
                        self._remarked.add((remark.commits[1], file.path, hunk.new))
                        return _place(file, hunk, remark)
                # it may be about any of them, so none is silent
                self._remarked |= {(remark.commits[1], file.path, hunk.new) for hunk in file.hunks}
        if not remark.hunk or len(remark.hunk) > LONGEST:
            return None
        try:
            (file,) = parse(remark.hunk).files
        except ValueError:
            return None
        if not file.hunks:
            return None
        return _place(File(remark.path, hunks=file.hunks[:1]), file.hunks[0], remark)

    def keep(self, remark: Exported) -> None:
        """Notes that a remark became a row: hunks without one are taken of its commit."""
        if remark.commits in self._changes:
            self._dates[remark.commits[1]] = remark.date

    def _diff(self, commits: tuple[str, str]) -> Sequence[File]:
        """Reads what a commit changes, or what changes between two; nothing where the repository lacks them."""
        if self._repository is None or not commits[1]:
            return ()
        if commits not in self._changes:
            self._changes[commits] = ()
            try:
                head = self._repository.commit(commits[1])
                base = self._repository.commit(commits[0] or f"{commits[1]}^")
                text = self._repository.diff(base, head).decode("utf-8", "replace")
                self._changes[commits] = parse(text).files if text else ()
            except ValueError:  # not in this clone
                pass
        return self._changes[commits]

    def list_silent(self, count: int, options: BuildOptions) -> Iterator[MinedRow]:
        """Yields rows of hunks of the same commits that have no remark, at most `count`, from all commits alike."""
        places = {
            (commits[1], file.path, hunk.new): (commits[1], file, hunk)
            for commits, files in self._changes.items()
            if commits[1] in self._dates
            for file in files
            if not (file.submodule or file.status == "deleted" or is_generated(file.path))
            and (not options.languages or language_of(file.path) in options.languages)
            for hunk in file.hunks
            if (commits[1], file.path, hunk.new) not in self._remarked and not hunk.only_space
        }
        waiting = list(places.values())
        step = max(1, len(waiting) // max(1, count))
        for commit, file, hunk in waiting[::step][:count]:
            fields = _describe(file, hunk, commit, self._dates[commit])
            if len(fields["diff"]) <= LONGEST:
                fields |= {"review": NO_REMARK, "line": None, "end_line": None}
                yield MinedRow(
                    fields, commit, (file.path,)
                )  # nobody's words: apart=author parts it from no one


def _place(file: File, hunk: Hunk, remark: Exported) -> Place:
    """Places a remark in a hunk: its first and last line where the hunk has them."""
    lines = {line.new for line in hunk.lines if line.new is not None}
    if remark.line not in lines:
        return Place(file, hunk, None, None)
    if (
        remark.first in lines
        and remark.first is not None
        and remark.line is not None
        and remark.first < remark.line
    ):
        return Place(file, hunk, remark.first, remark.line)
    return Place(file, hunk, remark.line, None)
