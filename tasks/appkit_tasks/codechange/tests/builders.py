"""Builds git repositories for tests: any names, messages and dates, written by git fast-import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.codechange.config import BuildOptions, CodeChangeConfig
from appkit_tasks.codechange.load import ChangeRow, synonyms
from appkit_tasks.codechange.mining import build

from appkit.cli.main import main
from appkit.task import Built

ANN, BEN = "Ann Miller <ann@work.example>", "Ben Weaver <ben@work.example>"
BEGIN = 1_700_000_000
"""seconds of Unix time of the first commit; each later one is an hour after it"""

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ann Miller",
    "GIT_AUTHOR_EMAIL": "ann@work.example",
    "GIT_COMMITTER_NAME": "Ann Miller",
    "GIT_COMMITTER_EMAIL": "ann@work.example",
}

OLD = 'def weigh(jar):\n    """Return the weight of a jar in grams."""\n    return jar.weight\n'
NEW = 'def weigh(jar):\n    """Return the weight of a jar in pounds."""\n    return jar.weight * 2.2\n'
TOKEN = "ghp_" + "aB3dE6gH9" * 4

GATED = 'gated = 1\n\n\ndef weigh(jar):\n    """Return the weight of a jar, in grams."""\n    return jar.weight * {0}\n'

Content = bytes | str | tuple[str, bytes | str] | None
"""of a file: its text, or its mode and text; None: it is deleted"""


def git(folder: Path, *words: str | bytes, stdin: bytes | None = None) -> str:
    """Runs git as a user without settings would; returns what it prints."""
    command = ["git", "-C", str(folder), *words]
    done = subprocess.run(command, input=stdin, capture_output=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout.decode("utf-8", "replace").strip()


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _quote(path: bytes | str) -> bytes:
    return b'"' + b"".join(b"\\%03o" % byte for byte in _bytes(path)) + b'"'


class History:
    """Collects commits, and writes them as a repository."""

    def __init__(self) -> None:
        self._stream = bytearray()
        self.count = 0

    def commit(
        self,
        message: bytes | str,
        files: Mapping[Any, Content],
        *,
        author: bytes | str = ANN,
        date: int | None = None,
        parents: Sequence[int] | None = None,
        branch: str = "main",
    ) -> int:
        """Adds a commit, on the one before it unless parents are named; returns its number, from 1."""
        self.count += 1
        second = BEGIN + 3600 * self.count if date is None else date
        parents = ([self.count - 1] if self.count > 1 else []) if parents is None else parents
        signed = b"%b %d +0000\n" % (_bytes(author), second)
        self._stream += b"commit refs/heads/%b\nmark :%d\nauthor %bcommitter %b" % (
            branch.encode(),
            self.count,
            signed,
            signed,
        )
        self._add_data(_bytes(message))
        if not parents:
            self._stream += b"deleteall\n"
        for word, parent in zip([b"from", *[b"merge"] * len(parents)], parents, strict=False):
            self._stream += b"%b :%d\n" % (word, parent)
        for path, content in files.items():
            self._add_file(_quote(path), content)
        self._stream += b"\n"
        return self.count

    def rename(self, message: str, old: str, new: str, files: Mapping[Any, Content] | None = None) -> int:
        """Adds a commit that moves a file."""
        number = self.commit(message, {})
        self._stream[-1:] = b"R %b %b\n" % (_quote(old), _quote(new))
        for path, content in (files or {}).items():
            self._add_file(_quote(path), content)
        self._stream += b"\n"
        return number

    def write(self, folder: Path, *words: str, head: str = "main") -> Path:
        """Writes a repository with the files of its head; words: of git init."""
        folder.mkdir(parents=True)
        git(folder, "init", "-q", f"--initial-branch={head}", *words)
        git(folder, "fast-import", "--quiet", "--date-format=raw-permissive", stdin=bytes(self._stream))
        if "--bare" not in words:
            git(folder, "reset", "-q", "--hard")
        return folder

    def _add_data(self, content: bytes) -> None:
        self._stream += b"data %d\n%b\n" % (len(content), content)

    def _add_file(self, path: bytes, content: Content) -> None:
        if content is None:
            self._stream += b"D %b\n" % path
            return
        mode, text = content if isinstance(content, tuple) else ("100644", content)
        if mode == "160000":
            self._stream += b"M 160000 %b %b\n" % (_bytes(text), path)
            return
        self._stream += b"M %b inline %b\n" % (mode.encode(), path)
        self._add_data(_bytes(text))


def lines(count: int, word: str = "value") -> str:
    """Writes a file of so many lines."""
    return "".join(f"{word}_{number} = {number}\n" for number in range(count))


def shelf(history: History, count: int = 12) -> History:
    """Adds plain commits, which all become rows: a file of Python whose one number changes."""
    for number in range(count):
        files = {f"src/part_{number % 4}.py": f"def weigh(jar):\n    return jar.weight * {number}\n"}
        history.commit(f"Weigh jars by factor {number}", files)
    return history


def varied() -> History:
    """Makes changes of many forms: renames, blank lines, moved blocks, several files, a comment."""
    history = shelf(History(), 6)
    history.commit("Add a long table of values", {"src/table.py": lines(60), "docs/notes.md": "One\n\nTwo\n"})
    history.commit(
        "Change two places of the table",
        {
            "src/table.py": lines(60).replace("value_3 = 3", "value_3 = 4").replace("_12 = 12", "_12 = 13"),
            "docs/notes.md": "One\n\nTwo and a half\n",
            "a/first.py": "x = 1\n",
        },
    )
    history.rename("Move the table to its own folder", "src/table.py", "tables/table.py", {"b.c": "int a;\n"})
    history.commit("Copy the table for the tests", {"tables/copy.py": lines(60), "b.c": "int a;\n\nint b;\n"})
    old, new = GATED.format(1), GATED.format(2).replace("in grams", "in pounds")
    history.commit("Add the gate of the jars", {"src/gate.py": old})
    history.commit("Weigh the jars in pounds", {"src/gate.py": new})
    history.commit("Wräp the jars in päper", {"größe.py": "x = 1\n"})
    return history


def forget_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Takes the user's settings away; tests may write some to `gitconfig` there."""
    for key in [key for key in os.environ if key.startswith("GIT_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def mine(folder: Path, **options: Any) -> Built:
    """Makes rows of a repository."""
    return build(BuildOptions(repo=str(folder), **options))


def rows_of(built: Built) -> list[dict[str, Any]]:
    """Lists all rows, oldest first."""
    return [row for name in ("train", "dev", "test") for row in built.splits[name]]


def run_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, out: Path, *words: str
) -> tuple[int, str, str]:
    """Runs `appkit data build codechange`; returns its exit code, and what it printed and complained."""
    monkeypatch.setattr(sys, "argv", ["appkit", "data", "build", "codechange", *words, "-o", str(out)])
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def read_files(out: Path) -> list[dict[str, Any]]:
    """Reads the rows that the command wrote."""
    names = ("train", "dev", "test")
    texts = [(out / f"{name}.jsonl").read_text(encoding="utf-8").splitlines() for name in names]
    return [json.loads(line) for text in texts for line in text]


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Lists everything below a folder, with times and contents."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


def left_out(built: Built) -> dict[str, int]:
    return {
        what.removeprefix("left out: "): count
        for what, count in built.counts.items()
        if what.startswith("left out: ")
    }


def add_up(built: Built) -> None:
    """Checks that each commit is counted once, and each row is on one side."""
    counts = built.counts
    became = counts["rows"] if "rows" in counts else counts.get("with such a function", 0)
    assert counts["commits read"] == sum(left_out(built).values()) + became
    known = sum(count for what, count in counts.items() if " known from training" in what)
    rows = next(count for what, count in counts.items() if what.startswith("rows"))
    assert rows == len(rows_of(built)) + known
    assert all(counts[f"of them {name}"] == len(part) for name, part in built.splits.items())


def validate(rows: Sequence[Mapping[str, Any]], problem: str = "commit_message") -> list[ChangeRow]:
    """Reads rows as training does, by the names that the pack knows."""
    options = CodeChangeConfig(problem=problem)  # type: ignore[arg-type]
    names = {other: field for field, others in synonyms(options).items() for other in others}
    return [
        ChangeRow.model_validate({names.get(key, key): value for key, value in row.items()}) for row in rows
    ]
