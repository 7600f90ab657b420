"""Functions whose code and comment change become rows; no prompt shows what comes later, or the same file."""

from __future__ import annotations

from pathlib import Path

from appkit_tasks.codechange import TASK
from appkit_tasks.codechange.config import CodeChangeConfig
from appkit_tasks.codechange.load import ChangeRow
from appkit_tasks.codechange.pairs import LONGEST, match_functions
from appkit_tasks.codechange.prompt import prompt
from appkit_tasks.codechange.tests.builders import (
    NEW,
    OLD,
    History,
    add_up,
    left_out,
    lines,
    mine,
    rows_of,
    validate,
)

from appkit.data.rows import Record
from appkit.rag.examples import put_examples
from appkit.task import Built


def test_rows_of_functions(tmp_path: Path) -> None:
    history = History()
    history.commit("Add two files", {"a.py": OLD, "b/a.py": OLD, "c.md": "c\n"})
    history.commit("x", {"a.py": NEW, "b/a.py": NEW})  # the message does not matter
    history.commit("Only the code", {"a.py": NEW.replace("2.2", "2.3")})
    history.commit("Only the comment", {"a.py": NEW.replace("2.2", "2.3").replace("pounds", "stones")})
    history.commit("Only a document", {"c.md": "d\n"})
    folder = history.write(tmp_path / "shelf")
    built = mine(folder, problem="comment_update")
    add_up(built)
    rows = rows_of(built)
    assert [row["file"] for row in rows] == ["a.py", "b/a.py"]
    assert len({row["id"] for row in rows}) == 2
    assert left_out(built) == {
        "no function can be read: new files, or languages without a grammar": 2,
        "no function whose code and comment change": 2,
    }
    (first, _) = validate(rows, "comment_update")
    assert first.comment == "Return the weight of a jar in grams."
    assert first.answer == "Return the weight of a jar in pounds."
    assert "2.2" in first.after
    assert "pounds" not in first.after + first.before
    assert first.function == "weigh"


def test_functions_that_no_prompt_can_show_are_counted(tmp_path: Path) -> None:
    history = History()
    long = [text + "    jar.turn()\n" * (LONGEST // 10) for text in (OLD, NEW)]
    secret = [
        OLD.replace("grams", word) + f'    token = "ghp_{fill * 18}"\n'
        for word, fill in (("grams", "a1"), ("pounds", "b2"))
    ]
    history.commit("Add the files", {"long.py": long[0], "secret.py": secret[0]})
    history.commit("Change a long one", {"long.py": long[1]})
    history.commit("Change a secret one", {"secret.py": secret[1]})
    built = mine(history.write(tmp_path / "shelf"), problem="comment_update", max_lines=1000)
    add_up(built)
    assert rows_of(built) == []
    assert built.counts["functions left out: over 4,000 characters"] == 1
    assert built.counts["functions left out: only a secret changes"] == 1


def test_a_file_that_moves_is_read_on_both_sides(tmp_path: Path) -> None:
    history = History()
    rest = lines(30)
    history.commit("Add a file", {"old/a.py": OLD + rest})
    history.rename("Move it, and weigh in pounds", "old/a.py", "new/a.py", {"new/a.py": NEW + rest})
    (row,) = rows_of(mine(history.write(tmp_path / "shelf"), problem="comment_update"))
    assert row["file"] == "new/a.py"


def test_overloads_are_paired_only_where_it_is_clear_which_is_which() -> None:
    one = "  /** Weighs a jar, in grams. */\n  int weigh(Jar a) { return 1; }\n"
    other = "  /** Weighs a box of them, in grams. */\n  int weigh(Box a) { return 2; }\n"
    both = f"class A {{\n{one}{other}}}\n".encode()
    later = both.replace(b"return", b"return 5 *").replace(b"grams", b"pounds")
    assert [after.name for _, after in match_functions(both, later, "java")] == ["A.weigh", "A.weigh#2"]
    alone = f"class A {{\n{other}}}\n".encode()
    assert list(match_functions(alone, later, "java")) == []
    private = b"class A {\n// Weighs one jar alone.\n#a() { return 1 }\n// Weighs a whole box.\n#b() { return 2 }\n}\n"
    changed = private.replace(b"return 1", b"return 3").replace(b"one jar", b"two jars")
    assert [after.name for _, after in match_functions(private, changed, "javascript")] == ["A.#a"]


def fill(built: Built, problem: str = "commit_message") -> dict[str, ChangeRow]:
    """Shows each row its examples, as a run does; returns the rows by their answers."""
    parts = {
        name: [Record(row, "file", line, row.diff) for line, row in enumerate(validate(rows, problem), 1)]
        for name, rows in built.splits.items()
    }
    options = CodeChangeConfig(examples=2, problem=problem)  # type: ignore[arg-type]
    shown = put_examples(parts, TASK, options, "bm25")
    return {record.value.answer: record.value for records in shown.values() for record in records}


def test_no_example_shows_what_comes_later_or_the_same_file(tmp_path: Path) -> None:
    history = History()
    for number in range(30):
        files = {f"src/part_{number}.py": f"def weigh_{number}(jar):\n    return jar.weight * {number}\n"}
        history.commit(f"Weigh jars of part {number} by a factor", files)
    gauge = "gauge = calibrate(spring, ballast, tare)\n"
    history.commit("Calibrate first of all", {"src/one.py": gauge})
    history.commit("Calibrate second of all", {"src/one.py": gauge.replace("tare", "tare, 2")})
    history.commit("Calibrate third of all", {"src/two.py": "tare = spring - ballast\ngauge = spring\n"})
    for number in range(30, 50):
        files = {f"src/part_{number}.py": f"def weigh_{number}(jar):\n    return jar.weight * {number}\n"}
        history.commit(f"Weigh jars of part {number} by a factor", files)
    built = mine(history.write(tmp_path / "shelf"))
    by_answer = fill(built)
    assert {"Calibrate first of all", "Calibrate third of all"} <= {
        row["message"] for row in built.splits["train"]
    }
    count = 0
    for row in by_answer.values():
        system = "".join(part.value for part in prompt(row, CodeChangeConfig(examples=2))[0].parts)
        for example in row.examples:
            source = by_answer[example.answer]
            count += 1
            assert f"=> {example.answer}" in system
            assert (source.date or "") < (row.date or "")
            assert source.commit != row.commit
            assert not set(source.change.paths) & set(row.change.paths)
    assert count > 20
    examples = {answer: [example.answer for example in row.examples] for answer, row in by_answer.items()}
    assert "Calibrate second of all" in examples["Calibrate third of all"]
    # BM25 would love the third, which is later, and for the second the first, which is of the same file
    assert not any("Calibrate" in example for example in examples["Calibrate first of all"])
    assert not any("Calibrate" in example for example in examples["Calibrate second of all"])


def test_no_example_is_of_the_same_commit(tmp_path: Path) -> None:
    def write(what: str, unit: str, factor: float) -> str:
        comment = f'    """Return the {what} in {unit} of all."""\n'
        return f"def weigh_{what}(jar):\n{comment}    return jar.{what} * {factor}\n"

    history = History()
    history.commit("Add all", {f"{what}.py": write(what, "grams", 1) for what in ("lid", "jar", "box")})
    history.commit("Change one", {"box.py": write("box", "pounds", 2.2)})
    history.commit("Change two", {f"{what}.py": write(what, "pounds", 2.2) for what in ("lid", "jar")})
    built = mine(history.write(tmp_path / "shelf"), problem="comment_update", dev_share=0, test_share=0)
    by_answer = fill(built, "comment_update")
    examples = {answer.split()[2]: [one.answer for one in row.examples] for answer, row in by_answer.items()}
    assert examples == {
        "box": [],
        "lid": ["Return the box in pounds of all."],
        "jar": ["Return the box in pounds of all."],
    }
