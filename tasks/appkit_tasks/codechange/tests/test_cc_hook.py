"""The hook of `appkit commit-message` proposes a message, and never stops nor changes a commit."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.codechange.commands import message
from appkit_tasks.codechange.commands.message import HOOK, OURS, MessageOptions, run
from appkit_tasks.codechange.tests.stubs import commit, git, make_repository, write

from appkit.bundles import manifest
from appkit.cli.main import main


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "a repo's")


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


@pytest.mark.usefixtures("environment")
def test_the_program_reads_what_is_being_committed(repository: Path, tmp_path: Path) -> None:
    """Git names another index where it commits what is not staged; a folder, a worktree and a subfolder are one."""
    code = (
        "from pathlib import Path; from appkit_tasks.codechange.commands.source import read_diff; "
        "print(*[line for line in read_diff(None, Path()).split('\\n') if line[:2] in ('+A', '+B')])"
    )
    install(repository, f"exec {shlex.quote(sys.executable)} -c {shlex.quote(code)}", tmp_path)
    commit(repository, {"sub/b.py": "B = 1\n", "shelf.py": "A = 1\n\n"})
    write(repository, {"shelf.py": "A = 2\n", "sub/b.py": "B = 2\n"})
    git(repository / "sub", "commit", "b.py")
    assert subject(repository) == "+B = 2"
    git(repository / "sub", "commit", "--all")
    assert subject(repository) == "+A = 2"
    git(repository, "worktree", "add", "-q", str(tmp_path / "work tree"), "-b", "side")
    stage(tmp_path / "work tree", "A = 3\n")
    git(tmp_path / "work tree", "commit", "-v")
    assert subject(tmp_path / "work tree") == "+A = 3"


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


@pytest.mark.usefixtures("environment")
def test_the_command_line_installs_and_removes_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def appkit(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["appkit", "commit-message", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    def read_manifest(path: Path, verify: bool) -> dict[str, Any]:
        problem = "commit_message" if "a bundle's" in path.name else "review"
        return {"config": {"task": {"name": "codechange", "problem": problem}}}

    bundle, hook = tmp_path / "a bundle's", hook_of(repository)
    bundle.mkdir()
    (tmp_path / "reviewer").mkdir()
    monkeypatch.setattr(manifest, "read_manifest", read_manifest)
    monkeypatch.chdir(repository)
    who = ("--bundle", "../a bundle's", "--alias", "mine", "--key", "not-to-be-kept")
    code, out, err = appkit("--install-hook", *who)
    assert (code, out) == (0, f"installed: {hook}\n")
    assert err == "note: git commit proposes a message from now on; it never stops a commit\n"
    line = next(line for line in hook.read_text().splitlines() if line.startswith("proposal="))
    _, *words = shlex.split(line.removeprefix("proposal=$(").partition(" </dev/null")[0])
    assert words == ["commit-message", "--within", "60", "--bundle", str(bundle), "--alias", "mine"]
    assert appkit("--remove-hook") == (0, f"removed: {hook}\n", "")
    for wrong in (("--bundle", "absent"), ("--bundle", str(bundle), "--gateway", "http://x"), ()):
        code, out, err = appkit("--install-hook", *wrong)
        assert (code, out, err[:7], err.count("\n")) == (2, "", "error: ", 1)
    _, _, err = appkit("--install-hook", "--bundle", str(tmp_path / "reviewer"))
    assert "trained for task.problem=review; this command needs one for commit_message" in err
    assert not hook.exists()


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
