"""Makes repositories of git, and stands for who answers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from appkit_tasks.codechange import TASK
from appkit_tasks.codechange.config import CodeChangeConfig

from appkit.task import Prediction

IDENTITY = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")


def git(folder: Path, *words: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs git in a folder as somebody without settings; variables: of its environment."""
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    environment = {key: value for key, value in os.environ.items() if key[:4] != "GIT_" or "EDITOR" in key}
    return subprocess.run(
        ["git", *IDENTITY, "-C", str(folder), *words],
        capture_output=True,
        text=True,
        check=check,
        env=environment | settings | variables,
    )


def make_repository(folder: Path, files: Mapping[str, str | bytes] | None = None) -> Path:
    """Makes a repository with a first commit."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    commit(folder, files or {"shelf.py": "A = 1\n"}, "Begin")
    return folder


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Writes files to the byte."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def commit(folder: Path, files: Mapping[str, str | bytes], message: str = "Change") -> str:
    """Commits files; returns the commit's hash."""
    write(folder, files)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD").stdout.strip()


class Answers:
    """Answers rows with given texts, each row with the next, the last one again and again; keeps what it was asked."""

    def __init__(self, *texts: str | Callable[[Mapping[str, Any]], str], confidence: float | None = 0.9):
        self.texts, self.confidence = texts, confidence
        self.rows: list[Any] = []
        self.truncated = False

    def __call__(
        self, rows: Sequence[Mapping[str, Any]], *, constrain: bool = False
    ) -> list[tuple[Prediction, float | None]]:
        """Raises where a row does not fit the pack's schema, as the real one does."""
        answers = []
        for row in rows:
            self.rows.append(TASK.row.model_validate(dict(row)))
            text = self.texts[min(len(self.rows), len(self.texts)) - 1]
            text = text if isinstance(text, str) else text(row)
            parsed = REVIEW.head.parse(text)
            answers.append((Prediction(text, parsed, len(text), self.truncated), self.confidence))
        return answers


def options(problem: str, **more: Any) -> CodeChangeConfig:
    """Returns the pack's options."""
    return CodeChangeConfig(problem=problem, **more)


REVIEW = TASK.under(options("review"))
