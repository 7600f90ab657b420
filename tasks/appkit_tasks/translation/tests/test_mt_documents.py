"""Translating files: pieces are asked for once, put together in the file's own form, and doubted for a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polib
import pytest
from appkit_tasks.translation.config import TranslationConfig
from appkit_tasks.translation.documents import Answer, Request, translate, translate_file
from appkit_tasks.translation.formats import Doubt, Translation, open_document
from appkit_tasks.translation.rewriting import rewrite
from appkit_tasks.translation.tests.builders import Odd, po, xliff1
from appkit_tasks.translation.tests.odd_files import FILES
from appkit_tasks.translation.tests.odd_text import PROSE

from appkit.task import Parsed, Prediction


class Model:
    """Answers from a table, else with the text in capitals, and notes what it was asked."""

    def __init__(self, **answers: Answer) -> None:
        self.asked: list[str] = []
        self.answers = answers

    def __call__(self, requests: Sequence[Request]) -> list[Answer]:
        self.asked += [request.text for request in requests]
        return [self.answers.get(request.text, Answer(request.text.upper(), 0.9)) for request in requests]


def translations(
    path: Path, content: str, model: Model, languages: tuple[str, str] = ("en", "fr"), **options: object
) -> dict[int, Translation]:
    path.write_bytes(content.encode())
    return translate(open_document(path, *languages), model, **options)  # type: ignore[arg-type]


def test_a_po_file(tmp_path: Path) -> None:
    body = (
        'msgid "open"\nmsgstr ""\n\nmsgctxt "x"\nmsgid "open"\nmsgstr ""\n\nmsgid "low"\nmsgstr ""\n\nmsgid "done"\n'
        'msgstr "fait"\n\nmsgid "\\nkeep %s\\n"\nmsgstr ""\n\nmsgid "%d"\nmsgstr ""\n\n#, fuzzy\n'
        'msgid "old"\nmsgstr "vieux"\n'
    )
    path, output = tmp_path / "a.po", tmp_path / "b.po"
    path.write_text(po(body))
    model = Model(low=Answer("bas", 0.3), **{"keep %s": Answer(" garder %d ", 0.9)})
    document, written = translate_file(path, output, model, "en", "fr", threshold=0.5)
    assert model.asked == ["open", "open", "low", "keep %s"]
    assert output.read_text() == po(
        body.replace('msgid "open"\nmsgstr ""', 'msgid "open"\nmsgstr "OPEN"')
        .replace('msgid "low"\nmsgstr ""', '#, fuzzy\nmsgid "low"\nmsgstr "bas"')
        .replace(
            'msgid "\\nkeep %s\\n"\nmsgstr ""',
            '#, fuzzy\nmsgid "\\nkeep %s\\n"\nmsgstr ""\n"\\n"\n"garder %d\\n"',
        )
        .replace('msgid "%d"\nmsgstr ""', 'msgid "%d"\nmsgstr "%d"')
    )
    assert path.read_text() == po(body)
    assert written.doubts == (
        Doubt("line 14", "confidence 0.30 is below 0.5"),
        Doubt("line 20", "lost %s; added %d"),
    )
    assert (written.translated, document.counts.left_out) == (5, {"the header": 1})


def test_other_states_are_translated_on_demand(tmp_path: Path) -> None:
    body = '#, fuzzy\nmsgid "a"\nmsgstr "x"\n\nmsgid "b"\nmsgstr "y"\n\nmsgid "c"\nmsgstr ""\n'
    for states, places in (
        (("untranslated",), [2]),
        (("untranslated", "doubtful"), [0, 2]),
        (("translated",), [1]),
    ):
        assert list(translations(tmp_path / "a.po", body, Model(), states=states)) == places


def test_the_same_text_is_asked_for_once(tmp_path: Path) -> None:
    model = Model()
    result = translations(tmp_path / "a.txt", "a b\nc\na b\n---\n", model)
    assert model.asked == ["a b", "c"]
    assert [translation.text for translation in result.values()] == ["A B", "C", "A B"]


def test_long_texts_go_in_pieces(tmp_path: Path) -> None:
    text = "\\n  First one. Second  one!\\n\\n* Third one?  \\n1.5 %\\n"
    model = Model()
    result = translations(tmp_path / "a.po", f'msgid "{text}"\nmsgstr ""\n', model, limit=12)
    assert model.asked == ["First one.", "Second  one!", "* Third one?"]
    assert result == {0: Translation("\n  FIRST ONE. SECOND  ONE!\n\n* THIRD ONE?  \n1.5 %\n")}


def test_wrapped_prose_is_asked_for_as_a_whole(tmp_path: Path) -> None:
    escaped = PROSE.replace("\n", "\\n")
    model = Model()
    result = translations(tmp_path / "a.po", f'msgid "{escaped}"\nmsgstr ""\n', model)
    assert model.asked == [PROSE.replace("\n", " ").strip()]
    assert result == {0: Translation(PROSE.upper())}


def test_sentences_without_space_between_get_one(tmp_path: Path) -> None:
    model = Model(**{"これは文です。": Answer("Une phrase."), "次の文です。": Answer("Une autre.")})
    text = "これは文です。次の文です。\n"
    assert (
        translations(tmp_path / "a.txt", text, model, ("ja", "fr"), limit=8)[0].text
        == "Une phrase. Une autre."
    )
    assert (
        translations(tmp_path / "a.txt", text, model, ("ja", "zh"), limit=8)[0].text
        == "Une phrase.Une autre."
    )


@pytest.mark.parametrize(
    ("answer", "translation"),
    [
        (Answer("b", 0.5), Translation("b")),
        (Answer("b"), Translation("b")),
        (Answer("b", 0.49), Translation("b", True, "confidence 0.49 is below 0.5")),
        (Answer(" b\n", 0.9), Translation("b")),
        (
            Answer("b\nc", 0.9),
            Translation("b c", True, "the answer has a line break where the source has none"),
        ),
        (
            Answer("b", 0.1, "it was cut off"),
            Translation("b", True, "it was cut off; confidence 0.10 is below 0.5"),
        ),
        (Answer(" "), Translation("", True, "there was no answer")),
        (Answer("", None, "it was refused"), Translation("", True, "it was refused")),
        (Answer("b {0}", 0.9), Translation("b {0}", True, "added {0}")),
    ],
)
def test_what_is_doubted(answer: Answer, translation: Translation, tmp_path: Path) -> None:
    assert translations(tmp_path / "a.txt", "a\n", Model(a=answer), threshold=0.5) == {0: translation}


def test_no_answer_to_a_piece_leaves_the_whole_untranslated(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a\nOne. Two.\n")
    _, written = translate_file(path, path, Model(**{"Two.": Answer("")}), "en", "fr", limit=5)
    assert path.read_text() == "A\nOne. Two.\n"
    assert (written.translated, written.counts.left_out) == (1, {"the translation is empty": 1})


def test_broken_inline_elements_need_review(tmp_path: Path) -> None:
    path = tmp_path / "a.xlf"
    unit = '<trans-unit id="1"><source>a <g id="1">b</g></source>{}</trans-unit>'
    path.write_text(xliff1(unit.format("")))
    model = Model(**{'a <g id="1">b</g>': Answer("x <g>y", 0.9)})
    _, written = translate_file(path, path, model, "en", "fr")
    assert path.read_text() == xliff1(
        unit.format('<target state="needs-review-translation">x &lt;g&gt;y</target>')
    )
    assert len(written.doubts) == 1


def test_the_wrong_number_of_answers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    document = open_document(tmp_path / "a.txt", "en", "fr")
    with pytest.raises(ValueError, match="each request needs an answer: 1 were made, got 0"):
        translate(document, lambda requests: [])


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.file}: {file.name}")
def test_a_model_that_says_the_same_again_changes_no_source(file: Odd, tmp_path: Path) -> None:
    path, output = tmp_path / file.file, tmp_path / "output" / file.file
    path.write_bytes(file.content)
    output.parent.mkdir()
    _, written = translate_file(
        path,
        output,
        lambda requests: [Answer(request.text, 1.0) for request in requests],
        *file.languages,
        limit=40,
    )
    assert (written.doubts, written.counts.left_out) == ((), {})
    again = open_document(output, *file.languages)
    assert tuple(part.source for part in again.segments) == file.sources
    if not file.file.endswith((".txt", ".md", ".markdown", ".en", ".en_US")):
        states = {part.target for part in again.segments} if not file.targets else set()
        assert states <= set(file.sources)


def test_what_lost_a_placeholder_is_asked_again_bound_to_it_and_stays_doubtful(tmp_path: Path) -> None:
    """Bound answers count only where they are whole, keep all, and are no stutter."""
    body = "".join(f'msgid "{text}"\nmsgstr ""\n\n' for text in ("a %s", "b %s", "c %s", "d %s", "fine"))
    (tmp_path / "a.po").write_text(po(body))
    free = {"a %s": "x", "b %s": "x", "c %s": "x", "d %s": "x", "fine": "bien"}
    bound = {
        "a %s": ("à %s", False),
        "b %s": ("b ; ; ; %s", False),
        "c %s": ("c", False),
        "d %s": ("d %s", True),
    }
    asked: list[tuple[list[str], bool]] = []

    def answer(
        rows: Sequence[Mapping[str, Any]], *, constrain: bool = False
    ) -> list[tuple[Prediction, None]]:
        sources = [row["source"] for row in rows]
        asked.append((sources, constrain))
        answers = [bound[one] if constrain else (free[one], False) for one in sources]
        return [(Prediction(text, Parsed(text), 9, truncated), None) for text, truncated in answers]

    def run(**wishes: Any) -> tuple[list[str], list[tuple[str, bool]]]:
        lines = rewrite(
            tmp_path / "a.po", tmp_path / "b.po", TranslationConfig(), {"to": "fr"} | wishes, answer
        )
        entries = polib.pofile(str(tmp_path / "b.po"))
        return list(lines), [(entry.msgstr, entry.fuzzy) for entry in entries]

    lines, entries = run(repair=True)
    assert asked == [(list(free), False), (list(free)[:4], True)]
    assert entries == [("à %s", True), ("x", True), ("x", True), ("x", True), ("bien", False)]
    assert (
        "0 answers were cut at their end; placeholders were mended in 0, and 1 were asked for again"
        in lines[1]
    )
    assert any("the first answer lost %s; this one was bound to placeholders" in line for line in lines)
    asked.clear()
    assert run()[1][0] == ("x", True)
    assert asked == [(list(free), False)]
