"""Reads git repositories without running anything of theirs, and without following their settings.

Commits and files are read by a repository of our own, which has nothing but the other's objects: no hooks, filters,
attributes, aliases, remotes or settings can apply, so a history gives the same bytes on every machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from appkit.errors import shortened

__all__ = ["CHUNK", "DIFF", "Blobs", "Repository", "open_repository"]

SAFE = (
    "git",
    "--no-pager",
    "--no-replace-objects",
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.attributesFile=/dev/null"),
    *("-c", "core.quotePath=true"),
    *("-c", "log.showSignature=false"),
    *("-c", "protocol.allow=never"),
    *("-c", "diff.external="),
)
"""what a repository's own configuration could make git run is switched off"""

DIFF = (
    *("--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--src-prefix=a/", "--dst-prefix=b/"),
    *("--find-renames", "-U3", "--inter-hunk-context=0", "--diff-algorithm=histogram", "--submodule=short"),
    *("--ignore-submodules=dirty", "--full-index", "--indent-heuristic", "-O/dev/null"),
)
"""one form of diff, whatever the user or the repository has configured"""

KEPT = ("GIT_INDEX_FILE", "GIT_EXEC_PATH")
"""variables that git is left with, besides its configuration's: a hook's names what is being committed"""

SET = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",  # older git fetches what a partial clone lacks; there is no way left to fetch it by
    "LC_ALL": "C.UTF-8",
}
ALONE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}
"""where no configuration is read at all"""

CONFIG = "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectFormat = {form}\n"
CHUNK = 1 << 20
"""bytes read at once"""


class Blobs:
    """Reads files' contents by their hashes, all through one process of git."""

    def __init__(self, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        """Asks on the one stream of `git cat-file --batch`, and reads on the other."""
        self._stdin, self._stdout = stdin, stdout

    def read(self, sha: str, most: int) -> bytes | None:
        """Reads a file; None where it is not there, or has over `most` bytes. Raises ValueError when git has ended."""
        try:
            self._stdin.write(f"{sha}\n".encode())
            self._stdin.flush()
        except BrokenPipeError:
            raise ValueError("git cat-file ended early") from None
        header = self._stdout.readline().split()
        if not header:
            raise ValueError("git cat-file ended early")
        if len(header) != 3 or not header[2].isdigit():
            return None  # "missing"
        left = int(header[2]) + 1  # a line end follows
        if header[1] == b"blob" and left <= most + 1:
            return self._take(left)[:-1]
        while left:
            left -= len(self._take(min(CHUNK, left)))
        return None

    def _take(self, size: int) -> bytes:
        content = self._stdout.read(size)
        if len(content) < size:
            raise ValueError("git cat-file ended early")
        return content


@dataclass(frozen=True)
class Repository:
    """A git repository that is read."""

    path: Path
    """of the repository, or a folder in it"""

    def run(self, *words: str) -> bytes:
        """Runs a git command in the repository itself, for names, settings and what is staged; returns what it prints.

        Raises ValueError with git's first line when it fails.
        """
        return self._finish([*SAFE, "-C", str(self.path), *words], words[0], _environment())

    def text(self, *words: str) -> str:
        """Runs a git command in the repository itself; returns text, bytes that are no UTF-8 replaced."""
        return self.run(*words).decode("utf-8", "replace")

    def read(self, *words: str) -> bytes:
        """Runs a git command on the objects alone; returns what it prints. Raises ValueError when it fails."""
        return self._finish([*SAFE, *words], words[0], self._alone)

    @contextmanager
    def stream(self, *words: str) -> Iterator[IO[bytes]]:
        """Opens what a git command on the objects alone prints, while it runs. Raises ValueError when it fails."""
        with (
            tempfile.TemporaryFile() as complaints
        ):  # a pipe that nobody reads would stop git when it is full
            with subprocess.Popen(
                [*SAFE, *words], stdout=subprocess.PIPE, stderr=complaints, env=self._alone
            ) as process:
                assert process.stdout is not None
                finished = False
                try:
                    yield process.stdout
                    finished = True
                finally:
                    process.stdout.close()
                    if not finished:
                        process.kill()
            complaints.seek(0)
            if finished and process.returncode not in (0, -signal.SIGPIPE):  # that one: not read to its end
                raise ValueError(f"{self.path}: git {words[0]}: {_first_line(complaints.read(CHUNK))}")

    @contextmanager
    def blobs(self) -> Iterator[Blobs]:
        """Opens a reader of files by their hashes."""
        with subprocess.Popen(
            [*SAFE, "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._alone,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield Blobs(process.stdin, process.stdout)
            finally:
                process.kill()

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

        Raises ValueError where one does not exist, or they never parted.
        """
        if "..." not in words:
            left, _, right = words.partition("..")
            return self.commit(left or "HEAD"), self.commit(right or "HEAD")
        first, second = (self.commit(name or "HEAD") for name in words.split("...", 1))
        try:
            return self.read("merge-base", first, second).decode().strip(), second
        except ValueError:
            raise ValueError(
                f"{shortened(words)}: the two have no commit in common; write BASE..HEAD"
            ) from None

    def diff(self, base: str, head: str, paths: Sequence[str] = ()) -> bytes:
        """Writes the diff between two commits."""
        return self.read("diff", *DIFF, "--end-of-options", base, head, "--", *paths)

    def blob(self, commit: str, path: str) -> bytes:
        """Reads a file as a commit has it, unfiltered. Raises ValueError where it has none."""
        return self.read("cat-file", "blob", f"{commit}:{path}")

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
        return frozenset(self._git_path("shallow").read_text().split()) if self.is_shallow() else frozenset()

    @cached_property
    def _alone(self) -> Mapping[str, str]:
        """Makes a repository with nothing but this one's objects; returns the variables by which git uses it."""
        folder = Path(tempfile.mkdtemp(prefix="appkit-git-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        (folder / "refs").mkdir()  # without it, git takes no folder for a repository
        form = self.text("rev-parse", "--show-object-format").strip()
        (folder / "config").write_text(CONFIG.format(form=form), encoding="utf-8")
        (folder / "HEAD").write_text(self.commit("HEAD") + "\n", encoding="utf-8")
        if self.is_shallow():
            shutil.copyfile(self._git_path("shallow"), folder / "shallow")
        variables = {"GIT_DIR": str(folder), "GIT_OBJECT_DIRECTORY": str(self._git_path("objects"))}
        kept = {
            key: value for key, value in _environment().items() if not _configures(key) and key not in KEPT
        }
        return kept | ALONE | variables

    def _git_path(self, name: str) -> Path:
        printed = self.run("rev-parse", "--path-format=absolute", "--git-path", name)
        return Path(os.fsdecode(printed.removesuffix(b"\n")))

    def _finish(self, command: Sequence[str], name: str, environment: Mapping[str, str]) -> bytes:
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        if done.returncode:
            raise ValueError(f"{self.path}: git {name}: {_first_line(done.stderr)}")
        return done.stdout


def open_repository(path: str | Path, *, empty: bool = False) -> Repository:
    """Opens a repository. Raises ValueError for a folder that is none, and for one that git refuses.

    empty: it may have no commit yet; else that is a ValueError too.
    """
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
        if "not a git repository" not in str(error):
            raise
        raise ValueError(
            f"{path} is no git repository; name a folder that git init or git clone made"
        ) from None
    if empty:
        return repository
    try:
        repository.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except ValueError:
        raise ValueError(f"{path} has no commit yet; there is nothing to read") from None
    return repository


def _configures(variable: str) -> bool:
    """Tells whether a variable configures git: the command line's settings, and where the files are."""
    return variable.startswith("GIT_CONFIG")


def _environment() -> dict[str, str]:
    """Returns this process's variables, without those by which git would read another repository, or run a program."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if (not key.startswith("GIT_") or key in KEPT or _configures(key)) and key != "PAGER"
    }
    return kept | SET


def _first_line(complaint: bytes) -> str:
    lines = complaint.decode("utf-8", "replace").strip().splitlines()
    said = next((line for line in lines if line.startswith("fatal: ")), lines[0] if lines else "")
    lacking = "unable to read" in said or "bad object" in said or "missing" in said
    hint = "; the clone lacks objects: make one that is not partial (git clone without --filter)" * lacking
    return said.removeprefix("fatal: ") + hint if said else "failed without a word"
