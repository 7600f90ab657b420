"""`appkit commit-message` writes the message of a change, and installs itself as a hook of git."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import stat
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from appkit.task import AnswerInputs, Command, Outcome
from appkit_tasks.codechange.commands.options import clean_line, require_problem
from appkit_tasks.codechange.commands.source import fit, read_change, read_diff
from appkit_tasks.codechange.git import open_repository
from appkit_tasks.codechange.secrets import mask
from appkit_tasks.codechange.view import render

__all__ = ["COMMIT_MESSAGE", "MessageOptions", "run"]

OURS = "# written by appkit commit-message --install-hook"
HOOK = """\
#!/bin/sh
{ours}; remove it with: appkit commit-message --remove-hook
# It only ever proposes: whatever goes wrong, the commit goes on without a proposal.
case "$2" in message | template | merge | squash | commit) exit 0 ;; esac
proposal=$({command} </dev/null 2>/dev/null) || exit 0
[ -n "$proposal" ] || exit 0
{{ printf '%s\\n' "$proposal"; cat "$1"; }} >"$1.appkit" 2>/dev/null && mv "$1.appkit" "$1"
rm -f "$1.appkit"
exit 0
"""


class MessageOptions(BaseModel):
    """Options of `appkit commit-message`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    diff: Path | None = Field(
        None, description="file of a diff, or -; none: standard input, else what is staged"
    )
    repo: Path = Field(Path(), description="the repository")
    install_hook: bool = Field(
        False, description="propose a message in each git commit of the repository (prepare-commit-msg)"
    )
    remove_hook: bool = Field(False, description="remove that hook again")
    within: float | None = Field(
        None, gt=0, le=86_400, description="seconds; without an answer by then, end without one"
    )
    answerer: tuple[str, ...] = ()
    """the words that name who answers, which the core fills in"""


def run(options: MessageOptions, pack: Any, answer: AnswerInputs | None) -> Outcome:
    """Writes the message; or installs or removes the hook. Raises ValueError for what cannot be done."""
    if options.install_hook and options.remove_hook:
        raise ValueError("--install-hook and --remove-hook exclude each other; leave one out")
    if options.remove_hook:
        return _remove_hook(options.repo)
    if options.install_hook:
        if pack is not None:  # in a hook nobody would see why there is never a proposal
            require_problem(pack, "commit_message")
        return _install_hook(options)
    assert answer is not None
    require_problem(pack, "commit_message")
    text = read_diff(options.diff, options.repo)
    change = read_change(text, "the diff")
    view = render(change, pack.diff_chars, before_after=pack.view == "before_after")
    diff, files = fit(text)
    (prediction, _), *_ = answer([{"diff": mask(diff)[0]}])
    message = _clean(prediction.text, pack.body)
    if not message:
        raise ValueError("the model wrote no message for this change")
    notes = [f"{files} files are too large to be sent"] if files else []
    if prediction.truncated and (pack.body or "\n" not in prediction.text.strip()):
        notes.append("the answer came to its longest length, so the message may be cut")
    if view.left_out:
        notes.append(f"{view.left_out} of {view.left_out + view.shown} hunks are not shown to the model")
    return Outcome(message, notes)


def _clean(text: str, body: bool) -> str:
    """Keeps the lines that git keeps: without control characters, and none that it takes for a comment."""
    lines = [clean_line(line).rstrip() for line in text.split("\n")]
    kept = "\n".join(line for line in lines if not line.startswith("#")).strip()
    return kept if body else kept.partition("\n")[0].rstrip()


def _install_hook(options: MessageOptions) -> Outcome:
    if not options.answerer:
        raise ValueError("name who answers in the hook: --bundle DIRECTORY, or --gateway URL")
    hook = _find_hook(options.repo)
    if os.path.lexists(hook) and not _is_ours(hook):
        raise ValueError(
            f"{hook} is there already and is not ours; add the command to it by hand: appkit commit-message"
        )
    words = [_find_program(), "commit-message", "--within", f"{options.within or 60:g}", *options.answerer]
    hook.parent.mkdir(parents=True, exist_ok=True)
    hook.write_bytes(os.fsencode(HOOK.format(ours=OURS, command=shlex.join(words))))
    hook.chmod(hook.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return Outcome(
        f"installed: {hook}", ["git commit proposes a message from now on; it never stops a commit"]
    )


def _remove_hook(repo: Path) -> Outcome:
    hook = _find_hook(repo)
    if not os.path.lexists(hook):
        return Outcome(f"no hook: {hook} does not exist")
    if not _is_ours(hook):
        raise ValueError(f"{hook} is not ours, or was changed; remove it by hand")
    hook.unlink()
    return Outcome(f"removed: {hook}")


def _is_ours(hook: Path) -> bool:
    """Tells whether a hook is as we write it: one that has our lines among others is somebody's work."""
    if hook.is_symlink() or not hook.is_file():
        return False
    start, end = HOOK.format(ours=OURS, command="\0").split("\0")
    text = os.fsdecode(hook.read_bytes())
    return text.startswith(start) and text.endswith(end)


def _find_hook(repo: Path) -> Path:
    """Finds where the hook belongs. Raises ValueError where the hooks of the repository are shared by others."""
    repository = open_repository(repo, empty=True)
    if shared := repository.setting("core.hooksPath"):
        raise ValueError(
            f"core.hooksPath is {shared}: those hooks may be of other repositories too; add the command there by "
            "hand"
        )
    folder = repository.text("rev-parse", "--path-format=absolute", "--git-common-dir").strip()
    return Path(folder) / "hooks" / "prepare-commit-msg"


def _find_program() -> str:
    """Finds the program `appkit` of this environment."""
    beside = Path(sys.executable).with_name("appkit")
    return str(beside) if beside.exists() else shutil.which("appkit") or "appkit"


def limit_time(options: MessageOptions) -> None:
    """Ends this process when the seconds are over, whatever it is at: a hook must not keep a commit waiting."""
    if options.within is not None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, options.within)


COMMIT_MESSAGE = Command(
    MessageOptions,
    run,
    arguments=("diff",),
    alone=lambda options: options.install_hook or options.remove_hook,
    before=limit_time,
)
