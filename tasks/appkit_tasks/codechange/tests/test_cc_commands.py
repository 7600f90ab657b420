"""`appkit commit-message` writes a message of any diff, in a form that git keeps."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.codechange.commands import message
from appkit_tasks.codechange.commands.message import MessageOptions, run
from appkit_tasks.codechange.commands.source import LARGEST, fit
from appkit_tasks.codechange.load import LONGEST
from appkit_tasks.codechange.tests.stubs import Answers, git, make_repository, options, write
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


@pytest.mark.parametrize(("view", "left_out"), [("unified", 18), ("before_after", 19)])
def test_counts_the_hunks_that_the_bundle_s_view_leaves_out(
    monkeypatch: pytest.MonkeyPatch, view: str, left_out: int
) -> None:
    hunk = "@@ -{0},1 +{0},1 @@\n-" + "x" * 300 + "\n+" + "y" * 300 + "\n"
    pipe(monkeypatch, (DIFF + "".join(hunk.format(at) for at in range(10, 200, 10))).encode())
    notes = ask(Answers("Add x"), options("commit_message", diff_chars=640, view=view)).notes
    assert notes == [f"{left_out} of 20 hunks are not shown to the model"]


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


@pytest.mark.parametrize(("answer", "cut"), [("Fix it and", True), ("Fix it\n\nSince it", False)])
def test_says_that_the_answer_is_cut_where_it_shows(
    monkeypatch: pytest.MonkeyPatch, answer: str, cut: bool
) -> None:
    answers = Answers(answer)
    answers.truncated = True
    note = "the answer came to its longest length, so the message may be cut"
    for body in (False, True):
        pipe(monkeypatch, DIFF.encode())
        assert ask(answers, options("commit_message", body=body)).notes == [note] * (cut or body)


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


def test_within_ends_the_process_before_anything_is_loaded(repository: Path) -> None:
    begin = time.perf_counter()
    words = ("commit-message", "--within", "0.001", "--gateway", "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-c", "from appkit.cli.main import main; main()", *words],
        cwd=repository,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGALRM, "", "")
    assert time.perf_counter() - begin < 30
