"""`appkit commit-message` writes a message of any diff, and its hook never stops nor changes a commit."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.codechange.commands import message
from appkit_tasks.codechange.commands.message import HOOK, OURS, MessageOptions, run
from appkit_tasks.codechange.commands.source import LARGEST, fit
from appkit_tasks.codechange.load import LONGEST
from appkit_tasks.codechange.tests.stubs import Answers, commit, git, make_repository, options, write
from hypothesis import given, settings
from hypothesis import strategies as st

PACK = options("commit_message")
DIFF = "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,2 @@\n a = 1\n-b = 2\n+b = 3\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "a repo's")


@pytest.fixture(autouse=True)
def _nothing_piped_in(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"")


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def ask(answers: Answers, pack: Any = PACK, **words: Any) -> Any:
    return run(MessageOptions(**words), pack, answers)


def test_reads_a_file(tmp_path: Path) -> None:
    (tmp_path / "change.diff").write_text(DIFF)
    answers = Answers("Raise b")
    assert ask(answers, diff=tmp_path / "change.diff").text == "Raise b"
    assert answers.rows[0].diff == DIFF


@pytest.mark.parametrize("source", [None, Path("-")])
def test_reads_standard_input(monkeypatch: pytest.MonkeyPatch, source: Path | None) -> None:
    pipe(monkeypatch, DIFF.encode())
    answers = Answers("Raise b")
    assert ask(answers, diff=source).text == "Raise b"
    assert answers.rows[0].diff == DIFF


def test_reads_a_pipe_that_has_a_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(
        ["sh", "-c", 'printf %s "$0" > "$1"', DIFF, str(tmp_path / "pipe")], stdin=subprocess.DEVNULL
    ):
        answers = Answers("Raise b")
        ask(answers, diff=tmp_path / "pipe")
    assert answers.rows[0].diff == DIFF


@pytest.mark.parametrize("closed", [False, True])
def test_reads_what_is_staged(repository: Path, monkeypatch: pytest.MonkeyPatch, closed: bool) -> None:
    if closed:  # a process that was started without one
        monkeypatch.setattr(sys, "stdin", None)
    write(repository, {"shelf.py": "A = 2\n", "unstaged.py": "B = 1\n"})
    git(repository, "add", "shelf.py")
    answers = Answers("Raise a")
    ask(answers, repo=repository)
    assert [file.path for file in answers.rows[0].change.files] == ["shelf.py"]
    assert "-A = 1\n+A = 2\n" in answers.rows[0].diff


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"^standard input is empty; give a diff"),
        (b" \n\t\n", r"^standard input is empty"),
        (b"Dear all,\n", r"^the diff: no diff: .*; it begins with 'Dear all,'$"),
        (b"\x00\xff\x1b[31m" * 100, r"^the diff: no diff: [ -~]*(\\x00|�)[^\x1b\n]*$"),
        (b"x" * (LARGEST + 1), r"^standard input is over 50 MB; give a smaller diff$"),
    ],
)
def test_refuses_what_is_no_diff(monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str) -> None:
    pipe(monkeypatch, content)
    with pytest.raises(
        ValueError, match=reason.replace("standard input is empty", "(standard input|the diff) is empty")
    ):
        ask(Answers("x"), diff=Path("-"))


def test_refuses_where_nothing_is_staged(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing is staged; git add the files first"):
        ask(Answers("x"), repo=repository)
    with pytest.raises(ValueError, match="no git repository"):
        ask(Answers("x"), repo=tmp_path)
    with pytest.raises(ValueError, match=r"no file '.*absent'"):
        ask(Answers("x"), diff=tmp_path / "absent")
    with pytest.raises(ValueError, match="no file"):
        ask(Answers("x"), diff=tmp_path)


def test_leaves_out_what_is_too_large_and_says_so() -> None:
    def part(name: str, size: int) -> str:
        lines = "".join(f"+{n:09}\n" for n in range(size // 11))
        return (
            f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -0,0 +1,{size // 11} @@\n{lines}"
        )

    small, large, made = part("a.py", 1000), part("b.py", 5_000_000), part("yarn.lock", 300_000)
    assert fit(small + large + made) == (small + made, 1)
    assert fit(small + part("c.py", 390_000) + made)[0].count("yarn.lock") == 0  # not written by hand: first
    cut, files = fit(large + part("c.py", 6_000_000))
    assert files == 1
    assert LONGEST - 12 < len(cut) <= LONGEST
    assert large.startswith(cut)
    assert cut.endswith("\n")


def test_answers_for_a_diff_of_5_mb_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "+" + "x = 'y' " * 20 + "\n"
    pipe(monkeypatch, ("@@ -1 +1,31000 @@\n" + line * 31_000).encode())
    begin = time.perf_counter()
    answers = Answers("Add x")
    outcome = ask(answers)
    assert outcome.text == "Add x"
    assert len(answers.rows[0].diff) <= LONGEST
    assert time.perf_counter() - begin < 20


def test_says_how_many_hunks_the_model_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    hunk = "@@ -{0},1 +{0},1 @@\n-" + "x" * 300 + "\n+" + "y" * 300 + "\n"
    pipe(monkeypatch, (DIFF + "".join(hunk.format(at) for at in range(10, 200, 10))).encode())
    notes = ask(Answers("Add x"), options("commit_message", diff_chars=2000)).notes
    assert len(notes) == 1
    assert "of 20 hunks are not shown to the model" in notes[0]


def test_reads_binary_files_and_line_ends_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    binary = "diff --git a/x.png b/x.png\nindex 1..2 100644\nBinary files a/x.png and b/x.png differ\n"
    for content in (
        binary,
        DIFF.replace("\n", "\r\n"),
        DIFF.replace("b = 3", "b = 3\r").replace("b = 2", "b = 2\r"),
    ):
        pipe(monkeypatch, content.encode())
        answers = Answers("Change it")
        assert ask(answers).text == "Change it"
        assert answers.rows[0].change.files[0].path in ("x.png", "a.py")
    pipe(monkeypatch, DIFF.encode().replace(b"b = 3", b"b = '\xff\xfe'"))
    assert ask(Answers("Change it")).text == "Change it"


@pytest.mark.parametrize(
    ("answer", "one_line", "whole"),
    [
        ("Fix it\n\nSince it broke.\n", "Fix it", "Fix it\n\nSince it broke."),
        ("\n\n  Fix it", "Fix it", "Fix it"),
        ("# Fix\nMend it\n#x\nmore", "Mend it", "Mend it\nmore"),
        ("\x00\x07\nMend it", "Mend it", "Mend it"),
        ("Fix \x1b[31mred\x1b[0m text\r\n", "Fix [31mred[0m text", "Fix [31mred[0m text"),
        ("Voilà\u00a0!\ttab", "Voilà ! tab", "Voilà ! tab"),
        ("a\rb\u2028c\x0bd", "a b c d", "a b c d"),
        ("invisible\u202e\u200b", "invisible", "invisible"),
    ],
)
def test_writes_one_line_or_the_whole_message(
    monkeypatch: pytest.MonkeyPatch, answer: str, one_line: str, whole: str
) -> None:
    for body, text in ((False, one_line), (True, whole)):
        pipe(monkeypatch, DIFF.encode())
        assert ask(Answers(answer), options("commit_message", body=body)).text == text


@pytest.mark.parametrize("answer", ["", " \n", "# only a comment", "\x00\x1b\x07", "#\n#"])
def test_refuses_an_answer_that_says_nothing(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    pipe(monkeypatch, DIFF.encode())
    with pytest.raises(ValueError, match="the model wrote no message for this change"):
        ask(Answers(answer))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.booleans())
def test_what_is_written_is_printable_and_kept_by_git(answer: str, body: bool) -> None:
    written = message._clean(answer, body)
    assert all(c.isprintable() or c == "\n" for c in written)
    assert not any(line.startswith("#") for line in written.split("\n"))
    assert written == written.strip()
    assert body or "\n" not in written


@pytest.mark.parametrize("problem", ["review", "comment_update"])
def test_refuses_a_bundle_of_another_problem(problem: str) -> None:
    with pytest.raises(
        ValueError, match=rf"trained for task.problem={problem}; this command needs one for commit_"
    ):
        ask(Answers("x"), options(problem))


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e9])
def test_refuses_odd_limits(seconds: float) -> None:
    with pytest.raises(ValueError, match="within"):
        MessageOptions(within=seconds)


# The hook


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without settings, whose editor keeps what it is shown and changes nothing."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_EDITOR", f'cp "$1" {shlex.quote(str(tmp_path / "edited"))} #')


def edited(tmp_path: Path) -> str:
    """What the editor was shown."""
    return (tmp_path / "edited").read_text()


def install(repository: Path, script: str, folder: Path) -> Path:
    """Installs the hook with a program of ours in the place of appkit."""
    program = folder / 'it\'s a "program"'
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(message, "_find_program", lambda: str(program))
        run(MessageOptions(repo=repository, install_hook=True, answerer=("--bundle", "/b c's")), None, None)
    return hook_of(repository)


def hook_of(repository: Path) -> Path:
    return repository / ".git" / "hooks" / "prepare-commit-msg"


def stage(repository: Path, content: str = "A = 2\n") -> None:
    write(repository, {"shelf.py": content})
    git(repository, "add", "-A")


def subject(repository: Path) -> str:
    return git(repository, "log", "-1", "--format=%B").stdout.strip()


@pytest.mark.usefixtures("environment")
def test_git_commit_proposes_what_the_program_prints(repository: Path, tmp_path: Path) -> None:
    install(
        repository, f'printf "%s\\n" "$@" > {shlex.quote(str(tmp_path / "words"))}; echo Raise a', tmp_path
    )
    stage(repository)
    git(repository, "commit")
    assert subject(repository) == "Raise a"
    assert edited(tmp_path).startswith("Raise a\n\n# Please enter the commit message")
    words = (tmp_path / "words").read_text().splitlines()
    assert words == ["commit-message", "--within", "60", "--bundle", "/b c's"]
    assert not list((repository / ".git").glob("*.appkit"))


ODD = [
    'It\'s "quoted" 100% `touch pwned` $(touch pwned) $HOME \\n \\\\ %s %d',
    "-n",
    "--help",
    "* ? [a-z] ~ ! & | ; < >",
    "x" * 5000,
    "größer 日本語 \U0001f600",
]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("text", ODD)
def test_a_text_is_taken_as_it_is(repository: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "text").write_text(text + "\n")
    install(repository, f"cat {shlex.quote(str(tmp_path / 'text'))}", tmp_path)
    stage(repository)
    git(repository, "commit")
    assert subject(repository) == text
    assert not list(tmp_path.rglob("pwned"))
    assert not Path("pwned").exists()


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "script",
    [
        "echo never; exit 1",
        "exit 0",
        "echo; echo",
        "kill -9 $$",
        "echo noise >&2; exit 2",
        "/no/such/program",
        "cat",
    ],
)
def test_a_commit_goes_on_without_a_proposal(repository: Path, tmp_path: Path, script: str) -> None:
    install(repository, script, tmp_path)
    stage(repository)
    done = git(repository, "commit", check=False)
    assert "Aborting commit due to empty commit message" in done.stderr  # git's own word: nobody wrote one
    assert edited(tmp_path).startswith("\n# Please enter the commit message")
    git(repository, "commit", "-m", "Mine")
    assert subject(repository) == "Mine"


@pytest.mark.usefixtures("environment")
def test_a_commit_goes_on_when_the_program_is_gone(repository: Path, tmp_path: Path) -> None:
    install(repository, "echo x", tmp_path)
    (tmp_path / 'it\'s a "program"').unlink()
    stage(repository)
    assert git(repository, "commit", check=False).returncode == 1
    assert edited(tmp_path).startswith("\n# Please enter")


@pytest.mark.usefixtures("environment")
def test_a_program_that_hangs_ends_itself(repository: Path, tmp_path: Path) -> None:
    """It begins as the command does: its limit is set before anything is loaded."""
    code = (
        "import time; from appkit_tasks.codechange.commands.message import MessageOptions, limit_time; "
        "limit_time(MessageOptions(within=1)); print('half an answer', flush=True); time.sleep(60)"
    )
    install(repository, f"exec {shlex.quote(sys.executable)} -c {shlex.quote(code)}", tmp_path)
    stage(repository)
    begin = time.perf_counter()
    git(repository, "commit", check=False)
    assert time.perf_counter() - begin < 20
    assert edited(tmp_path).startswith("\n# Please enter")


@pytest.mark.usefixtures("environment")
def test_other_messages_are_untouched(repository: Path, tmp_path: Path) -> None:
    """What has a message already: -m, -F, --amend, a merge, a squash, a rebase, a cherry-pick, a revert."""
    mark = tmp_path / "asked"
    install(repository, f"touch {shlex.quote(str(mark))}; echo Proposed", tmp_path)
    stage(repository)
    git(repository, "commit", "-m", "With -m")
    assert subject(repository) == "With -m"
    git(repository, "commit", "--amend")
    assert subject(repository) == "With -m"
    (tmp_path / "file").write_text("From a file\n")
    git(repository, "commit", "--allow-empty", "-F", str(tmp_path / "file"))
    git(repository, "checkout", "-q", "-b", "side", "HEAD~1")
    git(repository, "-c", "core.hooksPath=/dev/null", "commit", "--allow-empty", "-m", "Side 1")
    commit(repository, {"b.py": "B = 1\n"}, "Side 2")
    git(repository, "merge", "--no-ff", "--edit", "main")
    assert subject(repository) == "Merge branch 'main' into side"
    git(repository, "revert", "--edit", "HEAD~1")
    assert subject(repository).startswith('Revert "Side 2"')
    git(repository, "checkout", "-q", "-b", "other", "main")
    git(repository, "cherry-pick", "--edit", "side~2")
    commit(repository, {"c.py": "C = 1\n"}, "Other")
    git(repository, "rebase", "--force-rebase", "main~1")
    assert subject(repository) == "Other"
    git(
        repository,
        "rebase",
        "-i",
        "HEAD~1",
        GIT_SEQUENCE_EDITOR="sed -i s/^pick/reword/",
    )
    assert subject(repository) == "Other"
    write(repository, {"template": "A template\n"})
    git(repository, "-c", "commit.template=template", "commit", "--allow-empty", check=False)
    assert edited(tmp_path).startswith("A template\n")
    assert not mark.exists()


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "foreign",
    [
        "#!/bin/sh\necho mine\n",
        "",
        "#!/bin/sh\n" + OURS + "\n",
        HOOK.format(ours=OURS, command="x") + "mine\n",
        None,
    ],
)
def test_a_hook_of_others_stays(repository: Path, tmp_path: Path, foreign: str | None) -> None:
    hook = hook_of(repository)
    hook.parent.mkdir(exist_ok=True)
    if foreign is None:
        hook.symlink_to(tmp_path / "nowhere")
    else:
        hook.write_text(foreign)
    with pytest.raises(ValueError, match="is there already and is not ours; add the command to it by hand"):
        install(repository, "echo x", tmp_path)
    with pytest.raises(ValueError, match="is not ours, or was changed; remove it by hand"):
        run(MessageOptions(repo=repository, remove_hook=True), None, None)
    assert not (tmp_path / "nowhere").exists()
    assert hook.is_symlink() if foreign is None else hook.read_text() == foreign


@pytest.mark.usefixtures("environment")
def test_it_is_installed_twice_and_removed_once(repository: Path, tmp_path: Path) -> None:
    def files() -> dict[str, bytes]:
        paths = [path for path in repository.rglob("*") if path.is_file()]
        return {str(path.relative_to(repository)): path.read_bytes() for path in paths}

    before = files()
    hook = install(repository, "echo 1", tmp_path)
    first = hook.read_text()
    assert hook == install(repository, "echo 2", tmp_path)
    assert hook.read_text() == first
    assert hook.stat().st_mode & 0o111 == 0o111
    assert files().keys() - before.keys() == {".git/hooks/prepare-commit-msg"}
    removal = MessageOptions(repo=repository, remove_hook=True)
    assert run(removal, None, None).text == f"removed: {hook}"
    assert files() == before
    assert run(removal, None, None).text == f"no hook: {hook} does not exist"


@pytest.mark.usefixtures("environment")
def test_it_serves_all_worktrees(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "-q", str(tmp_path / "work tree"), "-b", "side")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(message, "_find_program", lambda: "echo")
        given = MessageOptions(
            repo=tmp_path / "work tree", install_hook=True, within=1.5, answerer=("--gateway", "u")
        )
        assert run(given, None, None).text == f"installed: {hook_of(repository)}"
    for folder in (repository, tmp_path / "work tree"):
        stage(folder)
        git(folder, "commit")
        assert subject(folder) == "commit-message --within 1.5 --gateway u"


@pytest.mark.usefixtures("environment")
def test_shared_hooks_are_refused(repository: Path, tmp_path: Path) -> None:
    git(repository, "config", "core.hooksPath", str(tmp_path / "hooks"))
    for words in ({"install_hook": True, "answerer": ("--bundle", "b")}, {"remove_hook": True}):
        with pytest.raises(
            ValueError, match=r"core.hooksPath is .*hooks: those hooks may be of other repositories"
        ):
            run(MessageOptions(repo=repository, **words), None, None)
    assert not (tmp_path / "hooks").exists()


def appkit(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs the command line as a process of its own."""
    command = [sys.executable, "-c", "from appkit.cli.main import main; main()", *words]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


@pytest.mark.usefixtures("environment")
def test_the_command_line_installs_and_removes_it(repository: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "a bundle's"
    bundle.mkdir()
    given = ("--bundle", "../a bundle's", "--alias", "mine", "--key", "not-to-be-kept")
    done = appkit("commit-message", "--install-hook", *given, cwd=repository)
    assert (done.returncode, done.stdout) == (0, f"installed: {hook_of(repository)}\n")
    assert done.stderr == "note: git commit proposes a message from now on; it never stops a commit\n"
    line = next(line for line in hook_of(repository).read_text().splitlines() if line.startswith("proposal="))
    _, *words = shlex.split(line.removeprefix("proposal=$(").partition(" </dev/null")[0])
    assert words == ["commit-message", "--within", "60", "--bundle", str(bundle), "--alias", "mine"]
    done = appkit("commit-message", "--remove-hook", cwd=repository)
    assert (done.returncode, done.stdout) == (0, f"removed: {hook_of(repository)}\n")
    for wrong in (("--bundle", "absent"), ("--bundle", str(bundle), "--gateway", "http://x"), ()):
        done = appkit("commit-message", "--install-hook", *wrong, cwd=repository)
        assert (done.returncode, done.stderr[:7], done.stderr.count("\n")) == (2, "error: ", 1)
    assert not hook_of(repository).exists()


def test_within_ends_the_process_before_anything_is_loaded(repository: Path) -> None:
    begin = time.perf_counter()
    done = appkit("commit-message", "--within", "0.001", "--gateway", "http://127.0.0.1:9", cwd=repository)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGALRM, "", "")
    assert time.perf_counter() - begin < 30


def test_refuses_words_that_do_not_go_together(repository: Path, tmp_path: Path) -> None:
    for words, reason in (
        ({"install_hook": True, "remove_hook": True}, "exclude each other"),
        ({"install_hook": True}, "name who answers in the hook"),
    ):
        with pytest.raises(ValueError, match=reason):
            run(MessageOptions(repo=repository, **words), None, None)
    with pytest.raises(ValueError, match="no git repository"):
        run(MessageOptions(repo=tmp_path, remove_hook=True), None, None)
    assert not hook_of(repository).exists()
