"""Reads remarks that were exported from GitHub, GitLab or Gerrit."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

__all__ = ["Exported", "clean_remark", "read_export"]

LARGEST = 500_000_000
"""bytes of a file"""
GUARD = ")]}'"
"""what Gerrit writes before its JSON"""

NO_FILES = ("/COMMIT_MSG", "/PATCHSET_LEVEL", "/MERGE_LIST")
"""what Gerrit keeps remarks under that are about no file"""

FENCE = re.compile(r"```(\w*)[^\n]*\n.*?(?:```|\Z)", re.DOTALL)
MARKUP = re.compile(
    r"<!--.*?-->|!\[[^\]]*\]\([^)]*\)|<(?:details|summary|img|br)[^>]*>|</(?:details|summary)>", re.DOTALL
)
EMPTY = re.compile(
    r"(?:(?:lgtm|done|fixed|thanks?|thank you|nice|great|good (?:catch|point)|agreed?|ok(?:ay)?|yes|no|"
    r"same(?: here| as above)?|ditto|nit|\+1|-1|:\w+:|👍|ack|acknowledged|resolved|please fix|why\??|hm+)[\s.!,:]*)+",
    re.IGNORECASE,
)
FEWEST = 3
"""words of a remark that says something"""
LONGEST, LONGEST_PATH = 20_000, 4096
"""characters of a remark and of a path, as rows hold them"""
SHA = re.compile(r"[0-9a-f]{7,64}", re.IGNORECASE)


@dataclass(frozen=True)
class Exported:
    """A remark as a code host keeps it."""

    path: str
    """"" for a remark that is about no file"""
    line: int | None
    """of the file afterwards; None: not known, or of the file before"""
    first: int | None
    """first of several lines"""
    body: str
    hunk: str
    """the diff hunk that the host keeps with it; "" for none"""
    commits: tuple[str, str]
    """before and afterwards; "" where not known"""
    author: str
    date: str
    reply: bool
    """it answers another remark, or the host wrote it"""


def read_export(path: Path) -> Iterator[Exported]:
    """Yields the remarks of a file, told by its form. Raises ValueError for one that cannot be read."""
    if not path.is_file():
        raise ValueError(
            f"no file {str(path)!r}; export the remarks, for instance: gh api --paginate "
            "repos/OWNER/NAME/pulls/comments > comments.json"
        )
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} is over {LARGEST // 1_000_000} MB; split it")
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    values = list(_read_values(text, path))
    count = 0
    for value in _flatten(values):
        for remark in _read_object(value):
            count += 1
            yield remark if len(remark.path) <= LONGEST_PATH else replace(remark, path="")
    if not count:
        raise ValueError(
            f"{path} holds no remarks: wanted are review comments of GitHub (path, diff_hunk, body), discussions of "
            "GitLab (notes with a position), or comments of Gerrit (by file, with line and message)"
        )


def _read_values(text: str, path: Path) -> Iterator[Any]:
    """Reads one JSON value or several one behind the other, as `gh api --paginate` and JSONL have them."""
    decoder = json.JSONDecoder()
    begin = re.compile(rf"(?:\s|{re.escape(GUARD)})*(?=\S)")
    at = 0
    while match := begin.match(text, at):
        try:
            value, at = decoder.raw_decode(text, match.end())
        except (ValueError, RecursionError) as error:
            line = text.count("\n", 0, match.end()) + 1
            reason = (
                "it is nested too deeply" if isinstance(error, RecursionError) else str(error).split(":")[0]
            )
            raise ValueError(
                f"{path}: the JSON that begins in line {line} cannot be read: {reason}"
            ) from None
        yield value


def _flatten(values: list[Any]) -> Iterator[dict[str, Any]]:
    """Yields the objects of arrays in arrays, and those that an object holds as its comments."""
    waiting = list(reversed(values))
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        elif isinstance(value, dict):
            inside = value.get("comments")
            is_remark = isinstance(value.get("notes"), list) or {"position", "body"} & value.keys()
            if isinstance(inside, (list, dict)) and not is_remark:
                waiting.append(inside)
            else:
                yield value


def _read_object(value: dict[str, Any]) -> Iterator[Exported]:
    """Yields the remarks of an object, told by its keys."""
    if isinstance(value.get("notes"), list):
        for place, note in enumerate(value["notes"]):
            if isinstance(note, dict):
                yield _read_gitlab(note, reply=place > 0)
    elif "position" in value and "diff_hunk" not in value:
        yield _read_gitlab(value, reply=False)
    elif "body" in value:
        yield _read_github(value)
    else:
        for path, remarks in value.items():
            if isinstance(remarks, list):
                for remark in _flatten(remarks):
                    if "message" in remark:
                        yield _read_gerrit("" if path in NO_FILES else path, remark)


def _read_github(value: dict[str, Any]) -> Exported:
    side = _text(value.get("side") or "RIGHT")
    return Exported(
        _text(value.get("path")),
        _number(value.get("original_line") or value.get("line")) if side == "RIGHT" else None,
        _number(value.get("original_start_line") or value.get("start_line")),
        _text(value.get("body")),
        _text(value.get("diff_hunk")),
        ("", _sha(value.get("original_commit_id") or value.get("commit_id"))),
        _name(value.get("user") or value.get("author")),
        _text(value.get("created_at")),
        bool(value.get("in_reply_to_id")),
    )


def _read_gitlab(note: dict[str, Any], *, reply: bool) -> Exported:
    position = _dict(note.get("position"))
    start = _dict(_dict(position.get("line_range")).get("start"))
    return Exported(
        _text(position.get("new_path")),
        _number(position.get("new_line")),
        _number(start.get("new_line")),
        _text(note.get("body")),
        "",
        (_sha(position.get("base_sha")), _sha(position.get("head_sha"))),
        _name(note.get("author")),
        _text(note.get("created_at")),
        reply or bool(note.get("system")),
    )


def _read_gerrit(path: str, remark: dict[str, Any]) -> Exported:
    span = _dict(remark.get("range"))
    parent = remark.get("side") == "PARENT"
    robot = "[bot]" if remark.get("robot_id") else ""
    return Exported(
        _text(path),
        None if parent else _number(remark.get("line") or span.get("end_line")),
        _number(span.get("start_line")),
        _text(remark.get("message")),
        "",
        ("", _sha(remark.get("commit_id"))),
        _name(remark.get("author")) + robot,
        _text(remark.get("updated")),
        bool(remark.get("in_reply_to")),
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    """Returns a text; half a pair of surrogates, which JSON can say and UTF-8 cannot, becomes a question mark."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _sha(value: Any) -> str:
    return value if isinstance(value, str) and SHA.fullmatch(value) else ""


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**8 else None


def _name(user: Any) -> str:
    """Names a person; hosts mark their machines by a type, or a tag."""
    user = _dict(user)
    name = next((user[key] for key in ("login", "username", "name") if isinstance(user.get(key), str)), "")
    tags = user.get("tags")
    machine = user.get("type") == "Bot" or (isinstance(tags, list) and "SERVICE_USER" in tags)
    return f"{name}[bot]" if machine and not name.endswith("[bot]") else name


def clean_remark(body: str, counts: Counter[str]) -> str:
    """Returns the words of a remark on one line, markup and proposed edits left out; "" where it says nothing.

    counts: of what was left out, by reason.
    """
    if len(body) > LONGEST:
        counts[f"left out: longer than {LONGEST:,} characters"] += 1
        return ""
    text = MARKUP.sub(" ", body)
    proposes = any(match[1] == "suggestion" for match in FENCE.finditer(text))
    text = FENCE.sub(" ", text)
    text = re.sub(r"(?m)^>.*$", " ", text)  # a quotation of another remark
    text = " ".join(text.split())
    if not text:
        counts[
            "left out: only a proposed edit, or code" if proposes or "```" in body else "left out: empty"
        ] += 1
        return ""
    if EMPTY.fullmatch(text) or len(text.split()) < FEWEST:
        counts[f"left out: says nothing of the code, or fewer than {FEWEST} words"] += 1
        return ""
    return text
