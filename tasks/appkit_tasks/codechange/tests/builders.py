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
from appkit_tasks.codechange.mining import BuildOptions, build

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
