"""Reads git repositories without running anything of theirs: no hooks, filters, diff drivers, signatures or fetches."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from appkit.errors import shortened

__all__ = ["DIFF", "Repository", "open_repository"]

SAFE = (
    "git",
    "--no-pager",
    "--no-replace-objects",
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.quotePath=true"),
    *("-c", "log.showSignature=false"),
    *("-c", "protocol.allow=never"),
    *("-c", "diff.external="),
)
"""what a repository's own configuration could make git run is switched off"""

DIFF = (
    *("--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--src-prefix=a/", "--dst-prefix=b/"),
    *("--find-renames", "-U3", "--inter-hunk-context=0", "--diff-algorithm=histogram", "--submodule=short"),
    *("--ignore-submodules=dirty", "--full-index", "-O/dev/null"),
)
"""one form of diff, whatever the user or the repository has configured"""

DROPPED = (
    "GIT_EXTERNAL_DIFF",
    "GIT_PAGER",
    "PAGER",
    "GIT_DIFF_OPTS",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_ASKPASS",
)
SET = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "LC_ALL": "C.UTF-8",
}
CHUNK = 1 << 20
"""bytes read at once"""


@dataclass(frozen=True)
class Repository:
    """A git repository that is read."""

    path: Path
    """of the repository, or a folder in it"""

    def run(self, *words: str, stdin: bytes | None = None) -> bytes:
        """Runs a git command; returns what it prints. Raises ValueError with git's first line when it fails."""
        done = subprocess.run(
            self._command(words), input=stdin, capture_output=True, env=_environment(), check=False
        )
        if done.returncode:
            raise ValueError(f"{self.path}: git {words[0]}: {_first_line(done.stderr)}")
        return done.stdout

    def text(self, *words: str) -> str:
        """Runs a git command; returns what it prints as text, bytes that are no UTF-8 replaced."""
        return self.run(*words).decode("utf-8", "replace")

    @contextmanager
    def stream(self, *words: str) -> Iterator[IO[bytes]]:
        """Opens what a git command prints, while it runs. Raises ValueError when it fails."""
        with subprocess.Popen(
            self._command(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment()
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            finished = False
            try:
                yield process.stdout
                finished = True
            finally:
                process.stdout.close()
                if not finished:
                    process.kill()
                complaint = process.stderr.read()
        if finished and process.returncode:
            raise ValueError(f"{self.path}: git {words[0]}: {_first_line(complaint)}")

    def commit(self, name: str) -> str:
        """Finds the full hash of a commit by any name for it. Raises ValueError where there is none."""
        try:
            return self.text(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
            ).strip()
        except ValueError:
            raise ValueError(
                f"{self.path} has no commit {shortened(name)}; git log shows which there are"
            ) from None

    def range(self, words: str) -> tuple[str, str]:
        """Finds both ends of BASE..HEAD (BASE...HEAD: from where they parted; one name: up to HEAD).

        Raises ValueError where one does not exist.
        """
        if "..." in words:
            left, right = (name or "HEAD" for name in words.split("...", 1))
            base = self.text("merge-base", "--end-of-options", self.commit(left), self.commit(right)).strip()
            return base, self.commit(right)
        left, _, right = words.partition("..")
        return self.commit(left or "HEAD"), self.commit(right or "HEAD")

    def diff(self, base: str, head: str, paths: Sequence[str] = ()) -> bytes:
        """Writes the diff between two commits."""
        return self.run("diff", *DIFF, "--end-of-options", base, head, "--", *paths)

    def blob(self, commit: str, path: str) -> bytes:
        """Reads a file as a commit has it, unfiltered. Raises ValueError where it has none."""
        return self.run("cat-file", "blob", f"{commit}:{path}")

    def setting(self, name: str) -> str:
        """Reads a setting as the user and the repository have it; "" where it is not set."""
        command = ["git", "-C", str(self.path), "config", "--get", name]
        done = subprocess.run(command, capture_output=True, env=_environment(), check=False)
        return done.stdout.decode("utf-8", "replace").strip()

    def is_shallow(self) -> bool:
        """Tells whether older history is missing."""
        return self.text("rev-parse", "--is-shallow-repository").strip() == "true"

    def boundary(self) -> frozenset[str]:
        """Lists the first commits of a shallow clone, whose diffs would show all files as new."""
        if not self.is_shallow():
            return frozenset()
        file = Path(self.text("rev-parse", "--path-format=absolute", "--git-path", "shallow").strip())
        return frozenset(file.read_text().split())

    def _command(self, words: Sequence[str]) -> list[str]:
        return [*SAFE, "-C", str(self.path), *words]


def open_repository(path: str | Path) -> Repository:
    """Opens a repository. Raises ValueError for a folder that is none, that git refuses, or that has no commit."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ValueError(f"no folder {str(path)!r}; name a git repository")
    repository = Repository(folder)
    try:
        repository.run("rev-parse", "--git-dir")
    except FileNotFoundError:
        raise ValueError("git is not installed; install it, for instance apt install git") from None
    except ValueError as error:
        if "dubious ownership" in str(error):
            raise ValueError(
                f"{path} belongs to another user, whose settings git would follow; to trust it: git config --global "
                f"--add safe.directory {folder.resolve()}"
            ) from None
        raise ValueError(
            f"{path} is no git repository; name a folder that git init or git clone made"
        ) from None
    try:
        repository.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except ValueError:
        raise ValueError(f"{path} has no commit yet; there is nothing to read") from None
    return repository


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in DROPPED and "GIT_TRACE" not in key}
    return kept | SET


def _first_line(complaint: bytes) -> str:
    lines = complaint.decode("utf-8", "replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ") if lines else "failed without a word"
