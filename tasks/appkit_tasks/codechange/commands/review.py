"""`appkit review` asks for remarks on a change, hunk by hunk, and prints them by file and line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from appkit.task import AnswerInputs, Command, Outcome, Prediction
from appkit_tasks.codechange.commands.options import (
    UNCALIBRATED,
    clean_line,
    require_problem,
    split_paths,
)
from appkit_tasks.codechange.commands.sarif import to_sarif
from appkit_tasks.codechange.commands.source import describe_unchanged, open_range, read_change, read_diff
from appkit_tasks.codechange.diffs import Change, File, Hunk, write_hunk
from appkit_tasks.codechange.languages import is_generated, language_of
from appkit_tasks.codechange.load import LONGEST
from appkit_tasks.codechange.remarks import SEVERITIES, Remark
from appkit_tasks.codechange.secrets import mask

__all__ = ["REVIEW", "Finding", "ReviewOptions", "make_rows", "place_remarks", "run"]

LEVELS = SEVERITIES[::-1]
"""the mildest first"""
UNSAID = "warning"
"""severity of a remark that names none"""
FEW = 3
"""remarks whose confidence may be equal by chance"""
FAILED = 1
"""exit code where --fail-on is met"""


class ReviewOptions(BaseModel):
    """Options of `appkit review`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    range: str | None = Field(
        None, min_length=1, description="BASE..HEAD; none: a diff on standard input, else what is staged"
    )
    repo: Path = Field(Path(), description="the repository")
    paths: str = Field("", description="folders or patterns of the files, with commas; none: all")
    format: Literal["text", "json", "sarif"] = Field("text", description="what is printed")
    min_confidence: float = Field(0.5, ge=0, le=1, description="remarks below it are left out, and counted")
    fail_on: Literal["error", "warning", "note", "never"] = Field(
        "never", description="exit with 1 if a remark is that severe, or more"
    )


@dataclass(frozen=True)
class Finding:
    """A remark at its place."""

    file: str
    line: int
    end: int | None
    severity: str
    text: str
    confidence: float | None
    """0 to 1; None: the bundle has no calibration"""
    exact: bool
    """the model named a line of the hunk; else it is the hunk's first changed one"""


def make_rows(change: Change) -> tuple[list[tuple[File, Hunk, dict[str, Any]]], Counter[str]]:
    """Makes a row of each hunk that can be reviewed; counts the others by reason."""
    rows: list[tuple[File, Hunk, dict[str, Any]]] = []
    left_out: Counter[str] = Counter()
    for file in change.files:
        if file.submodule or not file.hunks:
            left_out["files without lines: binary, renamed, submodules"] += 1
        elif is_generated(file.path):
            left_out["generated or vendored files"] += 1
        elif file.status == "deleted":
            left_out["deleted files"] += 1
        else:
            for hunk in file.hunks:
                text = write_hunk(hunk)
                if hunk.only_space:
                    left_out["changes of white space"] += 1
                elif len(text) > LONGEST:
                    left_out["hunks that are too long"] += 1
                else:
                    fields = {"diff": mask(text)[0], "file": file.path, "language": language_of(file.path)}
                    rows.append((file, hunk, fields))
    return rows, left_out


def run(options: ReviewOptions, pack: Any, answer: AnswerInputs | None) -> Outcome:
    """Asks for remarks and writes them. Raises ValueError for what cannot be reviewed."""
    assert answer is not None
    require_problem(pack, "review")
    paths = split_paths(options.paths)
    if paths and not options.range:
        raise ValueError("--paths chooses files of BASE..HEAD; name one, or give a diff of those files alone")
    text = (
        open_range(options.repo, options.range, paths)[3] if options.range else read_diff(None, options.repo)
    )
    if options.range and not text.strip():
        return Outcome(_write([], options.format), [describe_unchanged(options.range, paths)])
    rows, left_out = make_rows(read_change(text, options.range or "the diff"))
    answers = answer([fields for _, _, fields in rows]) if rows else []
    findings = [
        finding
        for (file, hunk, _), (prediction, confidence) in zip(rows, answers, strict=True)
        for finding in place_remarks(file, hunk, prediction, confidence)
    ]
    sure = [one for one in findings if one.confidence is None or one.confidence >= options.min_confidence]
    notes = [
        f"hunks reviewed: {len(rows)}" + "".join(f"; left out: {n} {why}" for why, n in left_out.items())
    ]
    if len(sure) < len(findings):
        notes.append(
            f"{len(findings) - len(sure)} remarks are below --min-confidence {options.min_confidence:g}"
        )
    if unread := sum(prediction.parsed.error is not None for prediction, _ in answers):
        notes.append(f"{unread} hunks have no answer that can be read")
    if wordless := sum(len(prediction.parsed.value or ()) for prediction, _ in answers) - len(findings):
        notes.append(f"{wordless} remarks name a line and say nothing")
    if any(one.confidence is None for one in findings):
        notes.append(UNCALIBRATED)
    elif len(findings) > FEW and len({one.confidence for one in findings}) == 1:
        same = f"all remarks have the confidence {findings[0].confidence:.2f}"
        notes.append(f"{same}: the bundle cannot tell right from wrong ones")
    worst = max((LEVELS.index(one.severity) for one in sure), default=-1)
    failed = options.fail_on != "never" and worst >= LEVELS.index(options.fail_on)
    if not rows and options.format == "text":
        return Outcome("Nothing was reviewed.", notes)
    return Outcome(_write(sure, options.format), notes, FAILED if failed else 0)


def place_remarks(
    file: File, hunk: Hunk, prediction: Prediction, confidence: float | None
) -> Iterator[Finding]:
    """Yields the remarks of an answer at lines of the hunk that it is about, whatever the answer says of files."""
    remarks: Sequence[Remark] = prediction.parsed.value or ()
    lines = [line.new for line in hunk.lines if line.new is not None]
    changed = [line.new for line in hunk.changed if line.new is not None]
    fallback = next(iter([*changed, *lines]), hunk.new)
    for remark in remarks:
        text = " ".join(clean_line(remark.text).split())
        if not text:
            continue
        exact = remark.line in lines
        line = remark.line if exact and remark.line else fallback
        end = min(remark.end, max(lines)) if exact and remark.end else None
        yield Finding(
            file.path,
            max(1, line),
            end if end and end > line else None,
            remark.severity or UNSAID,
            text,
            confidence,
            exact,
        )


def _write(findings: Sequence[Finding], form: str) -> str:
    if form == "sarif":
        return json.dumps(to_sarif(findings), indent=2, ensure_ascii=False)
    if form == "json":
        return json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False)
    return "\n".join(map(_write_line, findings)) or "No remark."


def _write_line(finding: Finding) -> str:
    place = f"{_write_path(finding.file)}:{finding.line}" + (f"-{finding.end}" if finding.end else "")
    confidence = "" if finding.confidence is None else f" ({finding.confidence:.2f})"
    return f"{place}: {finding.severity}: {finding.text}{confidence}"


def _write_path(path: str) -> str:
    """Writes a path that no reader takes for more than one; "-" for a hunk without a file."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in path) or "-"
    return json.dumps(shown, ensure_ascii=False) if ":" in shown else shown


REVIEW = Command(
    ReviewOptions,
    run,
    arguments=("range",),
)
