"""Samples of what GitHub, GitLab and Gerrit export, and the rows that are made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from appkit_tasks.codechange import TASK
from appkit_tasks.codechange.config import BuildOptions
from appkit_tasks.codechange.mining import build
from appkit_tasks.codechange.tests.stubs import commit, git, make_repository

from appkit.task import Built

HUNK = "@@ -8,4 +8,5 @@ def weigh(jars):\n a = 1\n-b = 2\n+b = 3\n+c = 4"
"""as GitHub keeps it: up to the line remarked on, 10"""


def github(**more: Any) -> dict[str, Any]:
    """Returns a review comment as `GET /repos/{owner}/{repo}/pulls/comments` has it."""
    return {
        "url": "https://api.github.com/repos/ada/shelf/pulls/comments/1",
        "pull_request_review_id": 42,
        "id": 1,
        "node_id": "MDI0Ol",
        "diff_hunk": HUNK,
        "path": "lib/shelf.py",
        "commit_id": "6dcb09b5b57875f334f61aebed695e2e4193db5e",
        "original_commit_id": "9c48853fa3dc5c1c3d6f1f1cd1f2743e72652840",
        "user": {"login": "ada", "id": 1, "type": "User", "site_admin": False},
        "body": "This loses the last jar.",
        "created_at": "2024-03-01T10:00:00Z",
        "updated_at": "2024-03-01T10:00:00Z",
        "author_association": "MEMBER",
        "reactions": {"total_count": 0},
        "start_line": None,
        "original_start_line": None,
        "start_side": None,
        "line": 10,
        "original_line": 10,
        "side": "RIGHT",
        "original_position": 4,
        "position": 4,
        "subject_type": "line",
    } | more


def gitlab(*notes: dict[str, Any]) -> dict[str, Any]:
    """Returns a discussion as `GET /projects/:id/merge_requests/:iid/discussions` has it."""
    return {"id": "6a9c1750b37d513a43987b574953fceb50b03ce7", "individual_note": False, "notes": list(notes)}


def note(base: str, head: str, line: int | None, **more: Any) -> dict[str, Any]:
    position = {
        "base_sha": base,
        "start_sha": base,
        "head_sha": head,
        "old_path": "lib/shelf.py",
        "new_path": "lib/shelf.py",
        "position_type": "text",
        "old_line": None,
        "new_line": line,
        "line_range": None,
    }
    return {
        "id": 1128,
        "type": "DiffNote",
        "body": "This loses the last jar.",
        "author": {"id": 1, "name": "Ada", "username": "ada", "state": "active"},
        "created_at": "2024-03-01T10:00:00.000Z",
        "system": False,
        "noteable_type": "MergeRequest",
        "position": position,
        "resolvable": True,
    } | more


def gerrit(**more: Any) -> dict[str, Any]:
    """Returns a CommentInfo."""
    return {
        "patch_set": 1,
        "id": "TvcXrmjM",
        "line": 10,
        "message": "This loses the last jar.",
        "updated": "2024-03-01 10:00:00.000000000",
        "author": {"_account_id": 1000096, "name": "Ada", "email": "ada@example.org"},
        "unresolved": True,
    } | more


def save(folder: Path, text: Any) -> Path:
    path = folder / "comments.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def make(folder: Path, text: Any, **words: Any) -> Built:
    return build(BuildOptions(problem="review", comments=str(save(folder, text)), **words))


def attempt(folder: Path, text: Any, **words: Any) -> Built | str:
    """Returns what is made, or why nothing is."""
    try:
        return make(folder, text, **words)
    except ValueError as error:
        return str(error)


def rows_of(built: Built) -> list[dict[str, Any]]:
    """Returns the rows of all splits; each fits the pack's schema, and the counts add up."""
    rows: list[dict[str, Any]] = [dict(row) for part in built.splits.values() for row in part]
    for row in rows:
        TASK.row.model_validate({**row, "answer": row["review"]})
    counts = dict(built.counts)
    left_out = sum(count for what, count in counts.items() if what.startswith("left out: "))
    assert counts["remarks read"] == left_out + counts["rows with a remark"]
    apart = sum(count for what, count in counts.items() if what.startswith("left out of "))
    assert counts["rows with a remark"] + counts["rows without, from the same commits"] == len(rows) + apart
    assert [counts[f"of them {name}"] for name in built.splits] == [
        len(part) for part in built.splits.values()
    ]
    return rows


def left_out(built: Built) -> dict[str, int]:
    return {
        what.removeprefix("left out: "): n
        for what, n in built.counts.items()
        if what.startswith("left out: ")
    }


def make_clone(folder: Path) -> tuple[Path, str, str]:
    """A repository whose second commit changes lines 10 and 40 of a file, and another one; returns both commits."""
    lines = [f"x{n} = {n}" for n in range(1, 61)]
    folder = make_repository(folder, {"lib/shelf.py": "\n".join(lines) + "\n", "lib/box.py": "B = 1\n"})
    base = git(folder, "rev-parse", "HEAD").stdout.strip()
    lines[9], lines[39] = "x10 = 'ten'", "x40 = 'forty'"
    changed = {"lib/shelf.py": "\n".join(lines) + "\n", "lib/box.py": "B = 2\n", "yarn.lock": "z\n"}
    return folder, base, commit(folder, changed)
