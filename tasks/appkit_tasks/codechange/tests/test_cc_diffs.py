"""Diffs are read as git writes them, and as other tools, mails and hosting services do; nonsense is one clear line."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from appkit_tasks.codechange.diffs import (
    Change,
    File,
    diff_texts,
    parse,
    quote_path,
    unquote_path,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

unidiff = pytest.importorskip("unidiff")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("repository")
    git(place, "init", "-q", "-b", "main")
    return place


def git(folder: Path, *words: str, code: tuple[int, ...] = (0,)) -> str:
    """Runs git without anybody's settings; returns what it prints."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        **{f"GIT_{who}_DATE": "2024-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")},
    }
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, env=environment, check=False
    )
    assert done.returncode in code, done.stderr
    return done.stdout.decode("utf-8", "replace")


def commit(folder: Path, files: dict[str, bytes | None], message: str = "Change\n") -> None:
    """Makes a commit in which files have this content; None deletes one."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)


def sides(file: File) -> tuple[str, str]:
    """Puts both sides of a file together, where its hunks hold all of it."""
    before, after = (
        "".join(
            line.text + "\n" * line.ends for hunk in file.hunks for line in hunk.lines if line.sign != absent
        )
        for absent in "+-"
    )
    return before, after


def assert_as_unidiff(text: str) -> Change:
    """Compares what is read with what unidiff reads; it takes a file that was or is empty for none."""
    change = parse(text)
    patch = unidiff.PatchSet(text)
    assert [file.path for file in change.files] == [file.path for file in patch]
    for ours, theirs in zip(change.files, patch, strict=True):
        assert ours.status != "added" or theirs.is_added_file
        assert ours.status != "deleted" or theirs.is_removed_file
        assert bool(ours.old_path) == theirs.is_rename
        assert ours.binary == theirs.is_binary_file
        assert len(ours.hunks) == len(theirs)
        for hunk, other in zip(ours.hunks, theirs, strict=True):
            assert (hunk.old, hunk.new) == (other.source_start, other.target_start)
            assert hunk.section == other.section_header
            assert not hunk.cut
            expected = [
                (line.line_type, line.value.removesuffix("\n"), line.source_line_no, line.target_line_no)
                for line in other
                if line.line_type in "+- "
            ]
            assert [(line.sign, line.text, line.old, line.new) for line in hunk.lines] == expected
    return change


def only(text: str) -> File:
    (file,) = parse(text).files
    return file


# What git writes

TEXTS = st.lists(
    st.sampled_from(["a", "b", "c", "-- x", "++ y", "-- ", "", " ", "@@ -1 +1 @@", "a\r", "\\", "diff"])
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=TEXTS, after=TEXTS, ends=st.tuples(st.booleans(), st.booleans()), context=st.integers(0, 5))
@example(before=["-- a"], after=["++ b"], ends=(True, True), context=0)
def test_gives_back_both_sides(
    folder: Path, before: list[str], after: list[str], ends: tuple[bool, bool], context: int
) -> None:
    old, new = (
        "\n".join(lines) + "\n" * (end and bool(lines))
        for lines, end in zip((before, after), ends, strict=True)
    )
    for name, text in (("old", old), ("new", new)):
        (folder / name).write_bytes(text.encode())
    command = ("diff", "--no-index", "--text", "--no-color")
    whole = git(folder, *command, "-U9999", "old", "new", code=(0, 1))
    if old == new:
        assert not whole
        return
    assert sides(only(whole)) == (old, new)
    if "\r" not in old + new:  # unidiff takes a lone one for a line end
        assert_as_unidiff(whole)
        assert_as_unidiff(git(folder, *command, f"-U{context}", "old", "new", code=(0, 1)))
    assert sides(only(diff_texts(old, new, "x.py", context=9999))) == (old, new)


@settings(max_examples=100, deadline=None)
@given(
    before=st.text("ab\n\r\f\x85\u2028\0é"),
    after=st.text("ab\n\r\f\x85\u2028\0é"),
    path=st.text('a /"\\\t\n\x7fé'),
)
def test_reads_what_it_writes(before: str, after: str, path: str) -> None:
    text = diff_texts(before, after, path, context=9999)
    if before == after:
        assert not text
        return
    file = only(text)
    assert sides(file) == (before, after)
    assert file.path == path


def test_reads_every_kind_of_change_as_unidiff_does(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    long = b"".join(b"line %d\n" % number for number in range(60))
    commit(
        tmp_path,
        {
            "changed.py": long, "gone.py": b"x\n", "kept.py": long * 2, "mode.sh": b"#!\n",
            "moved/old name.py": long + b"moved\n",
            "picture.bin": bytes(range(256)), "crlf.txt": b"a\r\nb\nc\r\n", "end": b"a\nb", "space a/ b/ c.txt": b"1\n",
            "empty": b"", "source.c": long[50:], "caf\u00e9 \"q\".txt": b"1\n",
        },
    )  # fmt: skip
    (tmp_path / "mode.sh").chmod(0o755)
    (tmp_path / "moved/new b").mkdir()
    git(tmp_path, "mv", "moved/old name.py", "moved/new b/name.py")
    commit(
        tmp_path,
        {
            "changed.py": long.replace(b"line 3\n", b"line three\n").replace(b"line 50\n", b""), "gone.py": None,
            "new.py": b"new\n", "picture.bin": bytes(range(255, -1, -1)), "crlf.txt": b"a\nb\r\nc\r\n", "end": b"a\nc",
            "space a/ b/ c.txt": b"2\n", "empty": None, "copy.c": long[50:], "caf\u00e9 \"q\".txt": b"2\n",
            "kept.py": None, "named.py": long * 2 + b"x\n", "form.txt": b"a\fb\xe2\x80\xa8c\rd\n",
        },
    )  # fmt: skip
    text = git(tmp_path, "show", "-M", "-C", "--find-copies-harder", "--format=fuller")
    files = {file.path: file for file in parse(text).files}
    told = {name: (file.status, file.old_path) for name, file in files.items() if file.status != "changed"}
    assert told == {
        "gone.py": ("deleted", ""),
        "new.py": ("added", ""),
        "empty": ("deleted", ""),
        "form.txt": ("added", ""),
        "copy.c": ("copied", "source.c"),
        "named.py": ("renamed", "kept.py"),
        "moved/new b/name.py": ("renamed", "moved/old name.py"),
    }
    assert files["mode.sh"].modes == ("100644", "100755")
    assert files["picture.bin"].binary
    assert not files["picture.bin"].hunks
    assert 'caf\u00e9 "q".txt' in files
    assert "space a/ b/ c.txt" in files
    assert [line.text for line in files["form.txt"].hunks[0].lines] == ["a\fb\u2028c\rd"]
    assert [line.text for line in files["crlf.txt"].hunks[0].changed] == ["a\r", "b", "a", "b\r"]
    assert [(line.text, line.ends) for line in files["end"].hunks[0].changed] == [("b", False), ("c", False)]
    # unidiff reads neither quoted names nor lone line ends
    plain = git(
        tmp_path, "diff", "-M", "HEAD~1", "HEAD", "--",
        "changed.py", "gone.py", "new.py", "kept.py", "named.py", "mode.sh", "picture.bin", "end",
    )  # fmt: skip
    assert len(assert_as_unidiff(plain).files) == 7


@pytest.mark.parametrize(
    "configured",
    [("diff.noprefix=true",), ("diff.mnemonicPrefix=true",), ("core.quotePath=false",), ("diff.context=0",)],
)
def test_a_users_settings_of_git_change_no_names(tmp_path: Path, configured: tuple[str, ...]) -> None:
    git(tmp_path, "init", "-q")
    names = {"a/x.py": b"1\n", "i/y.py": b"1\n", "b c.bin": b"\0", "src/é.py": b"1\n"}
    commit(tmp_path, names)
    for name, content in names.items():
        (tmp_path / name).write_bytes(content * 2)
    text = git(tmp_path, *(word for one in configured for word in ("-c", one)), "diff")
    assert {file.path for file in parse(text).files} == set(names)
    assert not any(file.old_path for file in parse(text).files)


def test_reads_names_that_are_no_utf8(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    name = os.fsencode(tmp_path) + b"/caf\xe9\t.py"
    for content in (b"1\n", b"2\n"):
        with open(name, "wb") as stream:
            stream.write(content)
        commit(tmp_path, {})
    assert only(git(tmp_path, "show")).path == "caf\ufffd\t.py"


def test_reads_a_submodule(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    for digit in "12":
        git(tmp_path, "update-index", "--add", "--cacheinfo", f"160000,{digit * 40},lib")
        git(tmp_path, "commit", "-q", "-m", "x")
    added, changed = only(git(tmp_path, "show", "HEAD~1")), only(git(tmp_path, "show"))
    assert added.submodule
    assert added.status == "added"
    assert changed.submodule
    assert [line.text for line in changed.hunks[0].lines] == [
        f"Subproject commit {digit * 40}" for digit in "12"
    ]
    assert not only("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-160000\n+1\n").submodule


def test_reads_merges(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, {"x": b"1\n2\n3\n4\n5\n", "y": b"1\n"})
    git(tmp_path, "checkout", "-q", "-b", "side")
    commit(tmp_path, {"x": b"1\nside\n3\n4\n5\n", "y": b"side\n"})
    git(tmp_path, "checkout", "-q", "main")
    commit(tmp_path, {"x": b"1\nmain\n3\n4\n5\n", "y": b"main\n"})
    git(tmp_path, "merge", "-q", "side", code=(1,))
    commit(tmp_path, {"x": b"1\nboth\n3\n4\n5", "y": b"both\n"}, "Merge")
    change = parse(git(tmp_path, "show", "--cc"))
    assert [(file.path, file.combined, len(file.hunks)) for file in change.files] == [
        ("x", True, 1),
        ("y", True, 1),
    ]
    (hunk,) = change.files[0].hunks
    assert not hunk.cut
    assert [(line.sign, line.text, line.new) for line in hunk.lines] == [
        (" ", "1", 1), ("-", "main", None), ("-", "side", None), ("+", "both", 2), (" ", "3", 3), (" ", "4", 4),
        ("-", "5", None), ("+", "5", 5),
    ]  # fmt: skip


def test_a_merged_hunk_ends_where_its_lengths_say() -> None:
    hunk = "@@@ -1,1 -1,1 +1,1 @@@\n- a\n -b\n++c\n"
    file = only(f"diff --cc x\n{hunk}-- \n2.39.5\n")
    assert [(line.sign, line.text) for line in file.hunks[0].lines] == [("-", "a"), ("-", "b"), ("+", "c")]
    assert not file.hunks[0].cut
    assert only("@@@ -1,2 -1,2 +1,2 @@@\n  a\n").hunks[0].cut


def test_reads_mails(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    commit(tmp_path, {"x": b"1\n"})
    commit(tmp_path, {"x": b"2\n"}, "First\n\nold mode is gone\nrename from here\nBinary files do differ")
    message = (
        "Second\n\nnew file mode for all\ndeleted file mode\nrename from x\ncopy to y\nGIT binary patch\n"
    )
    commit(tmp_path, {"y": b"1\n"}, message)
    text = git(tmp_path, "format-patch", "--stdout", "HEAD~2", "--stat", "-p")
    first, second = parse(text).files
    assert (first.path, first.status, first.old_path, first.binary, first.modes) == (
        "x",
        "changed",
        "",
        False,
        ("", ""),
    )
    assert (second.path, second.status) == ("y", "added")
    assert [line.text for file in (first, second) for line in file.hunks[0].lines] == ["1", "2", "1"]
    assert parse(text.replace("\n", "\r\n")).paths == ("x", "y")


# What others write


@pytest.mark.parametrize(
    ("header", "path", "status"),
    [
        ("Index: x.c\n====\n--- x.c\t(revision 1)\n+++ x.c\t(working copy)\n", "x.c", "changed"),
        ("diff -r 1234 x.c\n--- a/x.c\tThu Jan 01 00:00:00 1970\n+++ b/x.c\tFri Jan 02\n", "x.c", "changed"),
        ("--- old/x.c\t2024-01-01 00:00:00.0 +0000\n+++ new/x.c\t2024-01-01\n", "new/x.c", "changed"),
        ("--- /dev/null\n+++ b/x.c\n", "x.c", "added"),
        ("--- a/x.c\n+++ /dev/null\n", "x.c", "deleted"),
        ("--- a/my file.c\t\n+++ b/my file.c\t\n", "my file.c", "changed"),
        ('--- "a/\\303\\251\\t.c"\n+++ "b/\\303\\251\\t.c"\n', "é\t.c", "changed"),
        ("--- a/x.c\r\n+++ b/x.c\r\n", "x.c", "changed"),
        ("Hello,\nmy patch:\n\n--- a/x.c\n+++ b/x.c\n", "x.c", "changed"),
        ("", "", "changed"),
    ],
)
def test_reads_headers_of_other_tools(header: str, path: str, status: str) -> None:
    file = only(f"{header}@@ -1,2 +1,2 @@ int main()\n a\n-b\n+c\n")
    assert (file.path, file.status, len(file.hunks[0].lines)) == (path, status, 3)
    assert file.hunks[0].section.rstrip("\r") == "int main()"


def test_says_which_files_of_plain_diff_are_binary() -> None:
    hunk = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
    first, second = parse(f"{hunk}Binary files a/y.png and b/y.png differ\n").files
    assert (first.path, first.binary, second.path, second.binary) == ("x", False, "y.png", True)
    assert only("Binary files a/y.png and /dev/null differ\n").path == "y.png"


def test_lines_of_a_hunk_may_look_like_headers() -> None:
    text = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n--- old\n-@@ -1 +1 @@\n+++ new\n+diff --git a/y b/y\n"
    assert [line.text for line in only(text).hunks[0].lines] == [
        "-- old", "@@ -1 +1 @@", "++ new", "diff --git a/y b/y",
    ]  # fmt: skip
    two = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n--- b\n+++ c\n@@ -9 +9 @@\n-d\n+e\n"
    assert [len(hunk.lines) for hunk in only(two).hunks] == [3, 2]


@pytest.mark.parametrize("header", ["diff --git a/y b/y\n--- a/y\n+++ b/y\n", "--- a/y\n+++ b/y\n"])
def test_a_hunk_that_is_cut_short_ends_before_the_next_file(header: str) -> None:
    first, second = parse(f"--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n a\n-b\n{header}@@ -1 +1 @@\n-c\n+d\n").files
    assert [(line.sign, line.text) for line in first.hunks[0].lines] == [(" ", "a"), ("-", "b")]
    assert first.hunks[0].cut
    assert (second.path, second.hunks[0].cut, len(second.hunks[0].lines)) == ("y", False, 2)


@pytest.mark.parametrize("empty", ["", "\r", " "])
def test_an_empty_line_may_have_lost_its_sign(empty: str) -> None:
    (hunk,) = only(f"@@ -1,3 +1,3 @@\n a\n{empty}\n-b\n+c\n").hunks
    assert [line.new for line in hunk.lines] == [1, 2, None, 3]
    assert not hunk.cut


def test_a_hunk_alone_is_cut_where_the_remark_is() -> None:
    (hunk,) = only("@@ -0,0 +1,44 @@\n+def three_sum(numbers):").hunks
    assert [(line.text, line.new) for line in hunk.lines] == [("def three_sum(numbers):", 1)]
    assert hunk.cut


# Names


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_names_are_quoted_and_read_back(name: str) -> None:
    quoted = quote_path(name)
    assert "\n" not in quoted
    if not (len(name) > 1 and name[0] == name[-1] == '"'):
        assert unquote_path(quoted) == name


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('"a\\tb"', "a\tb"), ('"\\"\\\\"', '"\\'), ('"\\303\\251"', "é"), ('"\\351"', "\ufffd"), ('"\\777"', "\ufffd"),
        ('"', '"'), ('""', ""), ('"\\"', ""), ('"\\q"', "q"), ("plain", "plain"),
    ],
)  # fmt: skip
def test_reads_escapes(written: str, name: str) -> None:
    assert unquote_path(written) == name


# Nonsense


@pytest.mark.parametrize(
    "text",
    ["", "\n" * 100_000, "hello", "@@ 1 @@", "--- a/x", "diff --git", "*** a\n--- b\n***************\n*** 1 ****",
     f"@@ -{'9' * 5000} +1 @@\n-a", "@@ -1 +1,99999999999 @@\n+a", f"@@@ -1 -1 +{'9' * 5000} @@@\n++a", "\0" * 9,
     "@@@@@@@ -1 -1 +1 @@@@@@@\n", "From: a@b\nSubject: x\n\n---\n x | 2 +-\n"],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_what_is_no_diff_is_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="no diff: neither a hunk") as caught:
        parse(text)
    assert "\n" not in str(caught.value)


WORDS = [
    "diff --git ", "a/x", "b/x", '"a/\\', '"', " ", "--- ", "+++ ", "/dev/null", "@@ -1,2 +1,3 @@", "rename from ",
    "@@@ -1 -1 +1,2 @@@", "@@ -0,0 +0,0 @@", "copy to ", "new file mode ", "Binary files ", " and ", " differ",
    "index 1..2 160000", "mode 1,2..3", "diff --cc ", "GIT binary patch", "\n", "\n", "\n", "\r\n", "+", "-", "\t",
    "\\ No newline", "\0", "é", "\ud800", "@@ -9999999999 +1 @@", "old mode ", "Submodule x 1..2:", "\u2028",
]  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=60).map("".join)))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        change = parse(text)
    except ValueError as error:
        assert str(error).startswith("no diff")  # noqa: PT017
        return
    assert change.files
    lines = text.split("\n")
    held = [line for file in change.files for hunk in file.hunks for line in hunk.lines]
    assert len(held) <= len(lines)
    assert all((line.old is None) == (line.sign == "+") for file in change.files if not file.combined
               for hunk in file.hunks for line in hunk.lines)  # fmt: skip
    assert parse(text) == change


# Speed


def test_large_diffs_are_read_in_time() -> None:
    hunk = (
        "@@ -1,40 +1,40 @@ def f():\n" + " context line of some length\n" * 30 + "-old line\n+new line\n" * 10
    )
    text = "".join(f"diff --git a/{n} b/{n}\n--- a/{n}\n+++ b/{n}\n{hunk}" for n in range(4700))
    assert len(text) > 5_000_000
    started = time.perf_counter()
    assert len(parse(text).files) == 4700
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    "text",
    ["@@ -1 +1 @@\n" * 100_000, "diff --git a/x b/x\n" * 50_000, f"diff --git {'a/ b/' * 100_000}\n@@ -1 +1 @@\n+a",
     "--- \"" + "\\3" * 200_000 + "\n+++ b\n", "@@ -1,99999 +1,99999 @@\n" + "\n" * 100_000,
     f"Binary files {' and ' * 50_000}", "@@@ " + "-1 " * 100_000, "--- a\n+++ b\n" * 50_000],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_hostile_texts_take_linear_time(text: str) -> None:
    started = time.perf_counter()
    try:
        parse(text)
    except ValueError as error:
        assert "no diff" in str(error)  # noqa: PT017
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("".join(f"{n % 199}\n" for n in range(60_000)), "".join(f"{n * 7 % 199}\n" for n in range(60_000))),
        ("x\n" * 100_000, "x\ny\n" * 60_000),
        ("".join(f"{n}\n" for n in range(50_000)), "".join(f"{n}\n" for n in range(50_000, 0, -1))),
    ],
    ids=["common", "two", "turned"],
)
def test_long_texts_are_compared_in_time(before: str, after: str) -> None:
    started = time.perf_counter()
    text = diff_texts(before, after, context=0)
    assert time.perf_counter() - started < 20
    file = only(text)
    assert not any(hunk.cut for hunk in file.hunks)
    added, removed = (sum(line.sign == sign for hunk in file.hunks for line in hunk.lines) for sign in "+-")
    assert added - removed == after.count("\n") - before.count("\n")


def test_long_diffs_are_not_kept_in_memory() -> None:
    long, short = ("@@ -1 +1 @@\n-a\n+" + "b" * length for length in (30_000, 30))
    assert parse(short) is parse(short)
    assert parse(long) is not parse(long)
    assert parse(long) == parse(long)
