"""Makes rows of a repository's history, and counts every commit that is left out with its reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from appkit.progress import Progress
from appkit.task import Built
from appkit_tasks.codechange.config import BuildOptions
from appkit_tasks.codechange.diffs import Change, File, parse, split_files
from appkit_tasks.codechange.git import Repository, open_repository
from appkit_tasks.codechange.history import Commit, count_commits, read_commits
from appkit_tasks.codechange.languages import is_generated, language_of
from appkit_tasks.codechange.secrets import mask
from appkit_tasks.codechange.view import classify

__all__ = [
    "BOTS",
    "BuildOptions",
    "MinedRow",
    "Tally",
    "build",
    "describe",
    "describe_commit",
    "find_licence",
    "split_by_time",
]

BOTS = re.compile(
    r"\[bot\]|\b(?:dependabot|renovate|greenkeeper|github-actions|pre-commit-ci|snyk|imgbot|allcontributors|mergify|"
    r"weblate|transifex|crowdin|pyup)\b|\bbot\b|\bci@|noreply@(?:dependabot|renovate)",
    re.IGNORECASE,
)
MACHINE_WORDED = re.compile(
    r"(?:merge (?:branch|pull request|remote-tracking|tag|commit|[\w.-]+/\S+)\b|(?:fixup|squash|amend)!|wip\b|"
    r"bump (?:the )?(?:\S+ )?(?:version|deps|dependenc)|bump \S+ (?:from|to) v?\d|"
    r"update (?:the )?(?:version|deps|dependenc\w+(?: \S+)?)(?: (?:to|from) \S+)*$|"
    r"release:? (?:\S+ )?v?\d|v?\d+\.\d+\S*$|\[?auto(?:mated|matic)?\b[\]:]|"
    r"prepare (?:for )?(?:the )?(?:release|next|version)\b|\[maven-release|back to development)",
    re.IGNORECASE,
)
"""how the subjects of tools begin, not each that has such a word: "Release the lock before the wait" is a person's"""
REVERTED = re.compile(r"This reverts commit ([0-9a-f]{7,64})")
TRAILER = re.compile(r"[A-Z][\w-]+: .+")
TICKET = re.compile(r"\s*(?:\(#\d+\)|\(GH-\d+\)|\[#?\w+-?\d+\])\s*$")
LONGEST_SUBJECT, LONGEST_MESSAGE = 120, 20_000
"""characters"""
LONGEST_DIFF = 200_000
"""characters; of a hundred lines only where some are no lines of text"""
LINK = "120000"
"""git's mode of a symbolic link"""
SHORTEST_SHA = 7
"""digits by which a revert names a commit, at least"""

LICENCES = (
    ("MPL-2.0", "Mozilla Public License Version 2.0"),  # first: its text names four of the others
    ("Apache-2.0", "Apache License"),
    ("GPL-3.0", "GNU GENERAL PUBLIC LICENSE Version 3"),
    ("AGPL-3.0", "GNU AFFERO GENERAL PUBLIC LICENSE"),
    ("LGPL", "GNU LESSER GENERAL PUBLIC LICENSE"),
    ("GPL-2.0", "GNU GENERAL PUBLIC LICENSE Version 2"),
    ("BSD-3-Clause", "Neither the name of"),
    ("BSD-2-Clause", "Redistribution and use in source and binary forms"),
    ("MIT", "Permission is hereby granted, free of charge"),
    ("ISC", "Permission to use, copy, modify, and"),
    ("CC0-1.0", "CC0 1.0 Universal"),
    ("Unlicense", "This is free and unencumbered software"),
)
"""SPDX name, and words that its text has; the first that fits"""


@dataclass
class MinedRow:
    """A row, and what it is split by."""

    fields: dict[str, Any]
    author: str
    paths: tuple[str, ...]


@dataclass
class Tally:
    """Counts commits by what became of them."""

    counts: Counter[str] = field(default_factory=Counter)
    looked_at: int = 0

    def leave_out(self, reason: str) -> None:
        """Counts one that is left out."""
        self.counts[f"left out: {reason}"] += 1


def build(options: BuildOptions) -> Built:
    """Makes rows of a repository. Raises ValueError for one that cannot be read, and options that do not fit."""
    if options.problem == "review":
        from appkit_tasks.codechange.reviews import build_reviews

        return build_reviews(options)
    if unused := sorted({"comments", "silent"} & options.model_fields_set):
        raise ValueError(f"{unused[0]}= belongs to problem=review; add that, or leave it out")
    if options.repo is None:
        raise ValueError("no repository is named; repo=PATH, for instance repo=.")
    repository = open_repository(options.repo)
    head = repository.commit(options.head)
    tally = Tally()
    rows = list(_read_rows(repository, head, options, tally))
    if not tally.looked_at:
        raise ValueError(f"{options.repo} has no commit within paths=, since= and until=; look at them again")
    splits, apart = split_by_time(rows, options)
    title = "rows" if options.problem == "commit_message" else "rows: functions whose comment and code change"
    counts = {"commits read": tally.looked_at, **dict(sorted(tally.counts.items())), title: len(rows)}
    counts |= {f"of them {name}": len(part) for name, part in splits.items()} | apart
    masked = sum(row.fields["masked"] for row in rows)
    notes = [f"{masked} secrets are masked"] if masked else []
    if repository.is_shallow():
        notes.append("the clone is shallow: git fetch --unshallow brings the older commits")
    return Built(splits, counts, describe(repository, head, options), notes)


def describe(repository: Repository, head: str, options: BuildOptions) -> dict[str, Any]:
    """Says where the rows come from, for their card."""
    return {
        "summary": f"rows for {options.problem}, read from a git history",
        "licence": find_licence(repository, head),
        "origin": f"{_name(repository)} at {head}",
        "options": options.model_dump(mode="json", exclude={"repo", "comments"}, exclude_defaults=True),
    }


def _name(repository: Repository) -> str:
    """Names the repository by its folder."""
    folder = repository.text("rev-parse", "--path-format=absolute", "--git-common-dir").strip().rstrip("/")
    name = folder.removesuffix("/.git").rpartition("/")[2]
    return name.removesuffix(".git")


def find_licence(repository: Repository, commit: str) -> str | None:
    """Names the licence of a repository by the text of its licence file; None for one that is not known."""
    for entry in sorted(repository.read("ls-tree", "-z", commit).decode("utf-8", "replace").split("\0")):
        about, _, name = entry.partition("\t")
        if not re.match(r"(?:licen[cs]e|copying|unlicense)\b", name, re.IGNORECASE):
            continue
        mode, form, sha = about.split(" ")
        if form == "blob" and mode != LINK:
            content = repository.read("cat-file", "blob", sha)[:20_000]
            text = " ".join(content.decode("utf-8", "replace").split()).lower()
            if known := next((licence for licence, words in LICENCES if words.lower() in text), None):
                return known
    return None


class Extract(Protocol):
    """Makes rows of a commit that fits, and counts those of it that do not."""

    def __call__(
        self, commit: Commit, change: Change, diff: str, project: str, tally: Tally
    ) -> Iterator[MinedRow]: ...


def _read_rows(repository: Repository, head: str, options: BuildOptions, tally: Tally) -> Iterator[MinedRow]:
    chosen = {"since": options.since, "until": options.until, "paths": options.paths}
    boundary = repository.boundary()
    project = _name(repository)
    reverted = _list_reverted(repository, head)
    seen: set[int] = set()
    total = count_commits(repository, head, **chosen)  # type: ignore[arg-type]
    with ExitStack() as stack:
        extract = _open_extract(repository, options, stack)
        bar = stack.enter_context(Progress("reading commits", total, "commits"))
        for commit in read_commits(repository, head, **chosen):  # type: ignore[arg-type]
            tally.looked_at += 1
            bar.advance(1)
            reason, change, diff = _examine(commit, options, boundary, reverted)
            if reason is None and (key := hash((diff, commit.message))) in seen:
                reason = "the same change and message as an earlier commit"
            if reason is not None:
                tally.leave_out(reason)
                continue
            assert change is not None
            seen.add(key)
            yield from extract(commit, change, diff, project, tally)


def _list_reverted(repository: Repository, head: str) -> Mapping[str, Sequence[str]]:
    """Lists the commits that later ones revert, as these name them, by their first digits."""
    named: dict[str, list[str]] = {}
    words = (
        "log",
        "--no-color",
        "--no-notes",
        "--encoding=UTF-8",
        "--grep=^This reverts commit",
        "--format=%B",
    )
    messages = repository.read(*words, "--end-of-options", head, "--").decode("utf-8", "replace")
    for match in REVERTED.finditer(messages):
        named.setdefault(match[1][:SHORTEST_SHA], []).append(match[1])
    return named


def _examine(
    commit: Commit, options: BuildOptions, boundary: frozenset[str], reverted: Mapping[str, Sequence[str]]
) -> tuple[str | None, Change | None, str]:
    """Returns why a commit is no row (None: it is one), its change, and its diff without what is left out of it."""
    if len(commit.parents) > 1:
        return "merges", None, ""
    if commit.sha in boundary:
        return "the first commit of a shallow clone", None, ""
    if BOTS.search(commit.author):
        return "written by bots", None, ""
    if commit.subject.lower().startswith("revert") or REVERTED.search(commit.message):
        return "reverts", None, ""
    if any(commit.sha.startswith(sha) for sha in reverted.get(commit.sha[:SHORTEST_SHA], ())):
        return "reverted later", None, ""
    if reason := _examine_message(commit, options):
        return reason, None, ""
    if commit.diff is None:
        return "diff over 5 MB", None, ""
    if not commit.diff.strip():
        return "no change of a file", None, ""
    return _examine_diff(commit.diff, options)


def _examine_message(commit: Commit, options: BuildOptions) -> str | None:
    if options.problem == "comment_update":
        return None
    if not commit.subject:
        return "no message"
    if MACHINE_WORDED.match(commit.subject):
        return "messages of tools: version bumps, fixups, work in progress"
    if len(TICKET.sub("", commit.subject).split()) < options.min_words:
        return f"messages of fewer than {options.min_words} words"
    if len(commit.subject) > LONGEST_SUBJECT:
        return f"subjects of over {LONGEST_SUBJECT} characters"
    return (
        f"messages of over {LONGEST_MESSAGE:,} characters" if len(commit.message) > LONGEST_MESSAGE else None
    )


def _examine_diff(text: str, options: BuildOptions) -> tuple[str | None, Change | None, str]:
    """Looks at the files' headers first: what is left out by them may be megabytes, and is never parsed."""
    sections = split_files(text)
    if len(sections) > 50 * options.max_files:
        return f"more than {options.max_files} files", None, ""
    files = [(_read_header(section), section) for section in sections]
    files = [(file, section) for file, section in files if "\n@@ " in section and not file.submodule]
    if not files:
        return "no change of a text: binary files, renames, modes, submodules", None, ""
    files = [(file, section) for file, section in files if not is_generated(file.path)]
    if not files:
        return "only generated files, lock files and vendored code", None, ""
    if options.languages:
        files = [(file, section) for file, section in files if language_of(file.path) in options.languages]
        if not files:
            return "only files of other languages", None, ""
    if len(files) > options.max_files:
        return f"more than {options.max_files} files", None, ""
    diff = "".join(section for _, section in files)
    if _count_changed(diff) - 2 * len(files) > options.max_lines:  # a header's --- and +++ look alike
        return f"more than {options.max_lines} changed lines", None, ""
    if len(diff) > LONGEST_DIFF:
        return "lines of extreme length", None, ""
    return None, parse(diff), diff


def _read_header(section: str) -> File:
    """Reads what a file's diff says before its first hunk."""
    (file,) = parse(section.partition("\n@@ ")[0]).files
    return file


def _count_changed(diff: str) -> int:
    return sum(map(diff.count, ("\n+", "\n-")))


def _open_extract(repository: Repository, options: BuildOptions, stack: ExitStack) -> Extract:
    """Returns what makes rows of a commit that fits; what it opens is closed with the stack."""
    if options.problem == "commit_message":
        return _make_message_row
    from appkit_tasks.codechange.pairs import Pairs

    return Pairs(stack.enter_context(repository.blobs())).extract


def _make_message_row(
    commit: Commit, change: Change, diff: str, project: str, tally: Tally
) -> Iterator[MinedRow]:
    message = TICKET.sub("", commit.subject) + _body(commit.message)
    masked, count = mask(diff)
    message, in_message = mask(message)
    fields = {
        "id": f"{project}-{commit.sha[:12]}",
        **describe_commit(commit, project),
        "diff": masked,
        "message": message,
        "language": main_language(change.files),
        "kind": classify(change),
        "masked": count + in_message,
    }
    yield MinedRow(fields, commit.author, change.paths)


def describe_commit(commit: Commit, project: str) -> dict[str, Any]:
    """Says of a row which commit it is of."""
    return {"project": project, "commit": commit.sha, "date": commit.date}


def main_language(files: Iterable[File]) -> str:
    """Names the language of most changed lines."""
    counts: Counter[str] = Counter()
    for file in files:
        counts[language_of(file.path)] += sum(len(hunk.changed) for hunk in file.hunks)
    return max(counts, key=lambda name: counts[name]) if counts else ""


def _body(message: str) -> str:
    """Returns what follows the first line, without trailers such as Signed-off-by at its end."""
    lines = message.strip().split("\n")[1:]
    while lines and TRAILER.fullmatch(lines[-1].rstrip()):
        lines.pop()
    body = "\n".join(lines).strip()
    return f"\n\n{body}" if body else ""


def split_by_time(
    rows: Sequence[MinedRow], options: BuildOptions
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, int]]:
    """Splits rows by time: the newest commits are the test, those before them dev; a commit stays whole.

    Returns the splits, and how many rows of dev and test are left out to keep authors or files apart.
    """
    ordered = sorted(
        rows, key=lambda row: row.fields["date"]
    )  # stable: of one second, in the order of the history
    count = len(ordered)
    test = _cut(ordered, count - round(count * options.test_share))
    dev = _cut(ordered[:test], test - round(count * options.dev_share))
    parts = {"train": ordered[:dev], "dev": ordered[dev:test], "test": ordered[test:]}
    counts: dict[str, int] = {}
    if options.apart != "none":
        known = {mark for row in parts["train"] for mark in _marks(row, options.apart)}
        for name in ("dev", "test"):
            kept = [row for row in parts[name] if not known & set(_marks(row, options.apart))]
            counts[f"left out of {name}: {options.apart} known from training"] = len(parts[name]) - len(kept)
            parts[name] = kept
    return {name: [row.fields for row in part] for name, part in parts.items()}, counts


def _marks(row: MinedRow, apart: str) -> tuple[str, ...]:
    return (row.author,) if apart == "author" else row.paths


def _cut(rows: Sequence[MinedRow], at: int) -> int:
    """Moves a cut back to where a commit begins."""
    while 0 < at < len(rows) and rows[at].fields["commit"] == rows[at - 1].fields["commit"]:
        at -= 1
    return max(0, at)
