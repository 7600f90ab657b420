"""What commands say on the terminal beside their answers."""

import pytest

from appkit.cli.terminal import print_table, tell_unsound


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        ([(None, False), (None, False)], ""),
        ([], ""),
        (
            [(None, False), (None, True)],
            "note: of 2 answers, 1 cut off at the longest length (input 2 first)",
        ),
        (
            [(None, False), ("no formula\nin it", False), ("empty", False)],
            "note: of 3 answers, 2 that cannot be read (input 2 first: no formula in it)",
        ),
        (
            [("cut, so unread", True), ("empty", False)],
            "note: of 2 answers, 1 cut off at the longest length (input 1 first), 1 that cannot be read "
            "(input 2 first: empty)",
        ),
    ],
)
def test_answers_that_are_not_what_they_seem_are_told(
    answers: list[tuple[str | None, bool]], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_unsound(answers)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (f"{line}; --jsonl tells each\n" if line else "")


def test_a_tables_cells_are_texts_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "[bold]head"], [["[/b]", "[link=x]y[/link]"]])
    said = capsys.readouterr().out
    for text in ("[bold]head", "[/b]", "[link=x]y[/link]"):
        assert text in said
