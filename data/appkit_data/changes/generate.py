"""Write the data set from `sources`: `python generate.py` beside this file; `--check` compares with the files.

An entry of a source is a change of one piece of a file, as `before` and `after`, or as `change`: the lines of both,
each behind `-`, `+` or a space. The diff, the line remarked on, the dates and ids follow from it. GUIDE.md says how
entries are written; one that breaks its rules ends the run with its place.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SIDES = ("train", "test")
REQUIRED = {"project", "file", "start", "message", "remark"}
FIELDS = REQUIRED | {"indent", "within", "function", "before", "after", "change", "at", "severity", "comment"}
SEVERITIES = ("error", "warning", "note")
NO_IMPERATIVE = re.compile(r"(?:ed|ing|[^s]s)$")
LANGUAGES = {
    **{
        "py": "python",
        "js": "javascript",
        "ts": "typescript",
        "tsx": "typescript",
        "java": "java",
        "go": "go",
    },
    **{"rs": "rust", "c": "c", "h": "c", "cpp": "cpp", "hpp": "cpp"},
}
CALLABLE = r"^\s*(?:[\w:<>,*&\[\]?]+\s+)*[*&]?(?!(?:if|for|while|switch|catch|return|else|new)\b)([\w:~]+)\("
HEADERS = {
    "python": r"^\s*(?:async )?def (\w+)",
    "javascript": r"^(?:export )?(?:default )?(?:async )?function\*? (\w+)|^(?:export )?const (\w+) = .*=>"
    r"|^\s+(?:static |async |private )*(?!(?:if|for|while|switch|catch)\b)(\w+)\((?!.*=> ?\{$)[^;]*\{$",
    "go": r"^func (?:\([^)]*\) )?(\w+)",
    "rust": r"^\s*(?:pub(?:\([a-z]+\))? )?(?:async |const |unsafe )*fn (\w+)",
    **dict.fromkeys(("java", "c", "cpp"), CALLABLE + r"[^;]*(?:\{|\))$"),
}
HEADERS["typescript"] = HEADERS["javascript"].replace(r"(\w+)\((?!.*", r"(\w+)(?:<\w+>)?\((?!.*")
SECRET = re.compile(
    r"AKIA[0-9A-Z]{8}|gh[pousr]_\w{8}|BEGIN [A-Z ]*PRIVATE KEY|\b[0-9a-f]{32,}\b|[A-Za-z0-9+/]{48,}"
)
ADDRESS = re.compile(r"(?:https?://|\w@)([\w.-]+)")
OURS = re.compile(r"(?:^|\.)example(?:\.(?:com|org|net))?$|^localhost$|^127\.0\.0\.1$")
CONTEXT, OVERLAP = 3, 0.7


@dataclass(frozen=True)
class Change:
    """An entry with its two pieces and the text of its diff."""

    entry: dict[str, Any]
    side: str
    place: str
    before: list[str]
    after: list[str]
    language: str
    diff: str
    line: int | None
    """Number in the new file of the line remarked on."""
    function: str | None


def refuse(place: str, reason: str) -> None:
    raise SystemExit(f"{place}: {reason}")


def pieces(entry: dict[str, Any], language: str) -> tuple[list[str], list[str]]:
    """Returns the lines before and after, indented as the file is (Go by tabs)."""
    if "change" in entry:
        lines = entry["change"].rstrip("\n").split("\n")
        sides = [[line[1:] for line in lines if line[:1] != sign] for sign in "+-"]
    else:
        sides = [entry[name].rstrip("\n").split("\n") for name in ("before", "after")]
    margin = " " * entry.get("indent", 0)
    sides = [[(margin + line).rstrip() for line in lines] for lines in sides]
    if language == "go":
        sides = [
            [re.sub(r"^(?: {4})+", lambda m: "\t" * (len(m[0]) // 4), x) for x in lines] for lines in sides
        ]
    return sides[0], sides[1]


def header(lines: list[str], language: str) -> tuple[str, str] | None:
    """Returns the last line that opens a function, and that function's name."""
    for line in reversed(lines):
        if match := re.search(HEADERS[language], line):
            return line.strip(), next(name for name in match.groups() if name)
    return None


def hunks(
    entry: dict[str, Any], before: list[str], after: list[str], language: str
) -> Iterator[tuple[str, set[int]]]:
    """Yields each hunk's text and the numbers of the lines of `after` that it shows."""
    start, matcher = entry["start"], SequenceMatcher(None, before, after, autojunk=False)
    for group in matcher.get_grouped_opcodes(CONTEXT):
        (_, i, _, j, _), (_, _, k, _, n) = group[0], group[-1]
        opened = header(before[:i], language)
        title = (opened[0] if opened else entry.get("within", "")).strip()
        lines = [f"@@ -{start + i},{k - i} +{start + j},{n - j} @@ {title}".rstrip()]
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                lines += [f" {line}" for line in before[i1:i2]]
            else:
                lines += [f"-{line}" for line in before[i1:i2]] + [f"+{line}" for line in after[j1:j2]]
        yield "\n".join(lines), set(range(j, n))


def phrase(text: str) -> re.Pattern[str]:
    """Matches a comment's words wherever its lines and marks break them."""
    return re.compile(r"[\s*/#!]+".join(map(re.escape, text.split())))


def build(entry: dict[str, Any], side: str, place: str) -> Change:
    if extra := set(entry) - FIELDS:
        refuse(place, f"unknown fields {sorted(extra)}")
    if missing := REQUIRED - set(entry):
        refuse(place, f"missing fields {sorted(missing)}")
    language = LANGUAGES[entry["file"].rsplit(".", 1)[-1]]
    before, after = pieces(entry, language)
    if before == after:
        refuse(place, "before and after are equal")
    made = list(hunks(entry, before, after, language))
    name = entry["file"]
    head = f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n"
    line = None
    if entry["remark"] is not None:
        lines = [number for number, text in enumerate(after) if entry["at"] in text]
        if len(lines) != 1 or "\n".join(after).count(entry["at"]) != 1:
            refuse(place, f"`at` must be found once in after, got {len(lines)} lines: {entry['at']}")
        if not any(lines[0] in shown for _, shown in made):
            refuse(place, f"`at` is outside the hunks: {entry['at']}")
        line = entry["start"] + lines[0]
    first = next(i for i, (old, new) in enumerate(zip_longest(before, after)) if old != new)
    signed = header(after[: first + 1], language) or header(list(reversed(after)), language)
    function = entry.get("function", signed[1] if signed else None)
    text = head + "\n".join(hunk for hunk, _ in made) + "\n"
    return Change(entry, side, place, before, after, language, text, line, function)


def check(change: Change) -> None:
    """Refuses a change that breaks a rule of GUIDE.md."""
    entry, place, message = change.entry, change.place, change.entry["message"]
    verb = message.split()[0]
    if len(message) > 60 or message.endswith(".") or not verb.istitle() or NO_IMPERATIVE.search(verb):
        refuse(
            place, f"a message begins with an imperative and has 60 characters at most, no stop: {message}"
        )
    remark = entry["remark"]
    if (remark is not None) != ("severity" in entry) or (remark is not None) != ("at" in entry):
        refuse(place, "remark, at and severity come together")
    if remark is not None:
        if entry["severity"] not in SEVERITIES:
            refuse(place, f"severity must be one of {SEVERITIES}, got {entry['severity']}")
        if not 8 <= len(remark.split()) <= 28 or not remark.endswith(".") or remark.count("`") < 2:
            refuse(place, f"a remark has 8 to 28 words, a name in backticks and a full stop: {remark}")
    if comment := entry.get("comment"):
        if comment["old"] == comment["new"] or not phrase(comment["old"]).search("\n".join(change.before)):
            refuse(place, f"the old comment must be in before and differ from the new: {comment['old']}")
        if not any(phrase(comment[key]).search("\n".join(change.after)) for key in ("new", "old")):
            refuse(place, f"after has neither the new comment nor the old: {comment['new']}")
    text = change.diff + str(remark)
    if SECRET.search(text):
        refuse(place, "looks like a secret")
    for host in ADDRESS.findall(text):
        if not OURS.search(host.rstrip(".")):
            refuse(place, f"addresses end in .example or are example.com, got {host}")
    if longest := [line for line in change.diff.split("\n") if len(line) > 111]:
        refuse(place, f"a line is longer than 110 characters: {longest[0]}")


def check_all(changes: list[Change]) -> None:
    """Refuses near duplicates, and a project on both sides."""
    words = [set(re.findall(r"\w+", change.diff)) for change in changes]
    for i, left in enumerate(words):
        for j in range(i):
            if len(left & words[j]) > OVERLAP * len(left | words[j]):
                refuse(changes[i].place, f"nearly the same as {changes[j].place}")
    projects = [{change.entry["project"] for change in changes if change.side == side} for side in SIDES]
    if both := projects[0] & projects[1]:
        refuse("sources", f"projects on both sides: {sorted(both)}")


def commentary(lines: list[str], language: str) -> list[bool]:
    """Says of each line whether it holds nothing but comment (a docstring is one)."""
    opens, closes = ('"""', '"""') if language == "python" else ("/*", "*/")
    inside, result = False, []
    for line in (line.strip() for line in lines):
        starts = not inside and line.startswith(opens)
        result.append(inside or starts or line.startswith("#" if language == "python" else "//"))
        if inside or starts:
            inside = closes not in (line[len(opens) :] if starts else line)
    return result


def touched(change: Change) -> str:
    """Returns what the change touches: code, comments or both."""
    matcher = SequenceMatcher(None, change.before, change.after, autojunk=False)
    marks: set[bool] = set()
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        for lines, a, b in ((change.before, i1, i2), (change.after, j1, j2)):
            notes = commentary(lines, change.language)
            if tag != "equal":
                marks |= {notes[n] for n in range(a, b) if lines[n].strip()}
    return "both" if len(marks) == 2 else "comments" if True in marks else "code"


def digest(*parts: object) -> str:
    return hashlib.sha1("\0".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def after_with_old_comment(change: Change) -> str:
    """Returns the piece after the change with its old comment: seeing the new one, a model would copy it."""
    comment = change.entry["comment"]
    old = phrase(comment["old"]).search("\n".join(change.before))
    assert old is not None, f"{change.place}: check() has found the old comment"
    return phrase(comment["new"]).sub(lambda _: old[0], "\n".join(change.after))


def rows(changes: list[Change]) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Yields a row of `changes` and, if its comment should follow its code, one of `comments`."""
    days: dict[str, date] = {}
    numbers: Counter[str] = Counter()
    for change in changes:
        entry, project = change.entry, change.entry["project"]
        seed = int(digest(project, change.diff), 16)
        day = days.get(project, date(2024, 1, 8) + timedelta(int(digest(project), 16) % 300))
        days[project] = day + timedelta(1 + seed % 9)
        numbers[project] += 1
        row: dict[str, Any] = {"id": f"{project}-{numbers[project]:03}", "project": project}
        row |= {"commit": digest(project, entry["message"], change.diff), "date": day.isoformat()}
        row |= {"file": entry["file"], "language": change.language, "function": change.function}
        review = {"review": entry["remark"] or "No remark.", "line": change.line}
        review |= {"severity": entry.get("severity"), "kind": touched(change)}
        pair = None
        if comment := entry.get("comment"):
            pair = row | {"before": "\n".join(change.before), "after": after_with_old_comment(change)}
            pair |= {"comment": comment["old"], "new_comment": comment["new"]}
        if pair and pair["before"] == pair["after"]:
            pair = None  # the comment alone changed: there is no code that it could follow
        yield row | {"diff": change.diff, "message": entry["message"]} | review, pair


def read_changes() -> list[Change]:
    changes = []
    for side in SIDES:
        for source in sorted((HERE / "sources").glob(f"{side}_*.yaml")):
            for number, entry in enumerate(yaml.safe_load(source.read_text(encoding="utf-8")), 1):
                place = f"{source.name} entry {number} ({entry.get('message')})"
                changes.append(build(entry, side, place))
                check(changes[-1])
    check_all(changes)
    return changes


def tables(changes: list[Change]) -> dict[str, str]:
    """Returns the text of each JSONL file by its name."""
    texts = {}
    for side in SIDES:
        made = list(rows([change for change in changes if change.side == side]))
        columns = {"changes": [row for row, _ in made], "comments": [pair for _, pair in made if pair]}
        for name, those in columns.items():
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in those]
            texts[f"{name}.{side}.jsonl"] = "".join(lines)
    return texts


def card(texts: dict[str, str]) -> str:
    """Returns card.yaml with the counts and hashes of the files."""
    head = (HERE / "card.yaml").read_text(encoding="utf-8").split("files:\n")[0]
    lines = []
    for name, text in sorted(texts.items()):
        hashed = hashlib.sha256(text.encode()).hexdigest()
        lines.append(f'  {name}: {{rows: {text.count(chr(10))}, sha256: "{hashed}"}}\n')
    return head + "files:\n" + "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files, write nothing")
    checking = parser.parse_args().check
    changes = read_changes()
    texts = tables(changes)
    texts["card.yaml"] = card(texts)
    for name, text in texts.items():
        file = HERE / name
        if checking and (not file.exists() or file.read_text(encoding="utf-8") != text):
            refuse(name, "differs from what the sources make; run generate.py")
        if not checking:
            file.write_text(text, encoding="utf-8")
    for side in SIDES:
        those = [change for change in changes if change.side == side]
        counts = Counter(change.language for change in those)
        counts.update(str(change.entry.get("severity", "no remark")) for change in those)
        counts["comment pair"] = texts[f"comments.{side}.jsonl"].count("\n")
        counts.update(touched(change) for change in those)
        print(side, len(those), dict(counts))


if __name__ == "__main__":
    main()
