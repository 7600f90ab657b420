"""Rows of the translation pack: schema and options, the prompt, and what glossary and examples fill in."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.translation import TASK
from appkit_tasks.translation.config import TranslationConfig
from appkit_tasks.translation.load import (
    Example,
    Term,
    TranslationRow,
    complete,
    open_glossary,
)
from appkit_tasks.translation.prompt import few_shot, prompt
from pydantic import ValidationError

from appkit.data.rows import Record
from appkit.rag.examples import DUPLICATE, put_examples, similarity

FRENCH = TranslationConfig(target_language="fr")
FILLED = TranslationConfig(target_language="fr", glossary="shipped", examples=2)


def row(source: str, target: str = "", **fields: Any) -> TranslationRow:
    return TranslationRow(source=source, target=target, **fields)


def asked(one: TranslationRow, options: TranslationConfig = FRENCH) -> list[str]:
    """Returns the lines of the system message and, last, the user's text."""
    system, user = ["".join(part.value for part in message.parts) for message in prompt(one, options)]
    return [*system.split("\n"), user]


@cache
def shipped() -> Mapping[str, Sequence[TranslationRow]]:
    """Returns a part of the shipped French rows: two documents to train on, one to test."""
    folder = Path(__file__).parents[4] / "data" / "appkit_data" / "interface"
    documents = {"train": ("Ledgerly", "Sheetfold"), "test": ("Pressroom",)}
    parts = {}
    for side, chosen in documents.items():
        lines = (folder / f"en-fr.{side}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [TranslationRow.model_validate(json.loads(line)) for line in lines]
        parts[side] = [one for one in rows if one.document in chosen]
    return parts


def terms_in(one: TranslationRow) -> list[str]:
    return list(
        dict.fromkeys(match.term.source for match in open_glossary("shipped", "en", "fr").find(one.source))
    )


# Schema


def test_codes_are_normalized_and_an_empty_one_is_none() -> None:
    one = row("Save", source_language="en_US.UTF-8", target_language="PT_br")
    assert (one.source_language, one.target_language) == ("en-US", "pt-BR")
    assert row("Save", source_language="", target_language=" ").target_language is None
    assert TranslationConfig(source_language="de_DE", target_language="zh_TW").source_language == "de-DE"


@pytest.mark.parametrize("code", ["klingon language", "zz9", "f", "fr-"])
def test_what_is_no_code_is_said(code: str) -> None:
    for make in (lambda: row("a", target_language=code), lambda: TranslationConfig(target_language=code)):
        with pytest.raises(
            ValidationError, match="must be a language code of BCP 47 such as fr or pt-BR"
        ) as caught:
            make()
        assert repr(code) in str(caught.value)


def test_unknown_columns_are_ignored_and_text_is_needed() -> None:
    assert row("a", mood="good", id="7") == row("a")
    for source in ("", "  "):
        with pytest.raises(ValidationError, match="source"):
            row(source)
    with pytest.raises(ValidationError, match="terms"):
        row("a", terms=[{"source": "a", "target": ""}])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"drop": ["none"]}, "knows no check 'none'; choose of empty, identical, language"),
        ({"terms_share": 1.1}, "less than or equal to 1"),
        ({"distractors": -1}, "greater than or equal to 0"),
        ({"deviations": 0}, "greater than 0"),
        ({"examples": 11}, "less than or equal to 10"),
        ({"glossary": ""}, "at least 1 character"),
        ({"language": "fr"}, "Extra inputs are not permitted"),
    ],
)
def test_options_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TranslationConfig(**values)


# Prompt


def test_the_prompt_has_what_helps_and_the_text_last() -> None:
    one = row(
        "Open the window.",
        source_language="en-GB",
        target_language="pt-BR",
        domain="law",
        context="menu",
        terms=(Term(source="window", target="janela"), Term(source="window", target="ecrã")),
        examples=(Example(source="Open it.", target="Abra."), Example(source="Close it.", target="Feche.")),
    )
    assert asked(one, TranslationConfig(domain=True)) == [
        "Translate British English to Brazilian Portuguese.",
        "Domain: law",
        "Context: menu",
        "Terms: window = janela; window = ecrã",
        "Example: Open it.",
        "=> Abra.",
        "Example: Close it.",
        "=> Feche.",
        "Open the window.",
    ]
    assert "Domain: law" not in asked(one)
    assert not any("Terms" in line for line in asked(one.model_copy(update={"shows_terms": False})))


def test_a_bare_row_asks_in_the_languages_of_the_options() -> None:
    options = TranslationConfig(source_language="de", target_language="fr", domain=True)
    assert asked(row("Hallo"), options) == ["Translate German to French.", "Hallo"]
    # the row's own languages win over the options
    assert (
        asked(row("Ciao", source_language="it", target_language="en"), options)[0]
        == "Translate Italian to English."
    )


def test_the_target_is_the_translation_as_it_is() -> None:
    assert TASK.answer_text(row("Save", "Enregistrer\u202f!\nBien"), FRENCH) == "Enregistrer\u202f!\nBien"


@pytest.mark.parametrize(
    "ask",
    [
        lambda: prompt(row("a"), TranslationConfig()),
        lambda: complete({"train": [row("a", "b")]}, TranslationConfig(), 0),
    ],
)
def test_a_row_without_a_target_language_is_one_clear_line(ask: Any) -> None:
    with pytest.raises(ValueError, match="no target language: the row has no target_language") as caught:
        ask()
    assert "\n" not in str(caught.value)
    assert "such as" in str(caught.value)


def test_few_shot_rows_are_short_and_begin_differently() -> None:
    texts = [
        "Save",
        "Open the window now please.",
        "Open the window later please.",
        "Close the other window.",
        "x" * 201,
    ]
    assert [one.source for one in few_shot([row(text) for text in texts], FRENCH)] == [texts[1], texts[3]]
    assert few_shot([row("Save")], FRENCH) == [row("Save")]


# Complete


def test_rows_get_their_languages_and_keep_their_own() -> None:
    parts = {
        "train": [row("a", "b"), row("c", "d", source_language="it", target_language="de")],
        "dev": [],
        "test": [],
    }
    filled = complete(parts, FRENCH, 0)
    assert [(one.source_language, one.target_language) for one in filled["train"]] == [
        ("en", "fr"),
        ("it", "de"),
    ]
    assert {name: len(rows) for name, rows in filled.items()} == {"train": 2, "dev": 0, "test": 0}
    assert all(not one.terms and not one.examples for one in filled["train"])


def test_training_rows_show_terms_in_a_share_of_cases_among_distractors() -> None:
    rows = shipped()["train"]
    filled = complete({"train": rows}, FILLED, 0)["train"]
    with_terms = [(one, terms_in(one)) for one in filled if terms_in(one)]
    showing = [(one, terms) for one, terms in with_terms if one.terms]
    # 0.1 is three standard deviations of the share of so many
    assert len(with_terms) == 169
    assert abs(len(showing) / len(with_terms) - 0.7) < 0.1
    assert not [one for one in filled if one.terms and not terms_in(one)]
    added = []
    for one, terms in showing:
        shown = [term.source for term in one.terms]
        assert set(terms) <= set(shown)
        added.append(len(shown) - len(terms))
    assert set(added) == {0, 1, 2}
    assert any(shown.terms[0].source not in terms for shown, terms in showing)  # the order gives nothing away


@pytest.mark.parametrize(("share", "count"), [(0, 0), (1, 169)])
def test_no_or_all_training_rows_show_their_terms(share: float, count: int) -> None:
    options = FILLED.model_copy(update={"terms_share": share, "distractors": 0, "examples": 0})
    filled = complete({"train": shipped()["train"]}, options, 0)["train"]
    assert sum(bool(one.terms) for one in filled) == count
    assert all(
        not one.terms or sorted(term.source for term in one.terms) == sorted(terms_in(one)) for one in filled
    )


@pytest.mark.parametrize("side", ["dev", "test"])
def test_other_rows_show_all_their_terms_and_no_others(side: str) -> None:
    rows = shipped()["test"]
    filled = complete({"train": [], side: rows}, FILLED, 0)[side]
    assert [[term.source for term in one.terms] for one in filled] == [terms_in(one) for one in rows]
    assert sum(bool(one.terms) for one in filled) == 83
    assert filled[1].terms == ()
    assert filled[0].terms == (Term(source="deadline", target="échéance"),)


def test_all_translations_of_a_term_are_shown(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text(
        "source,target\nboard,tableau\nboard,panneau\ncard,carte\n", encoding="utf-8"
    )
    options = TranslationConfig(target_language="fr", glossary=str(tmp_path / "g.csv"))
    (one,) = complete({"train": [], "test": [row("Two boards, a card")]}, options, 0)["test"]
    assert asked(one)[1] == "Terms: board = tableau; board = panneau; card = carte"


def fill(
    parts: dict[str, list[TranslationRow]], options: TranslationConfig
) -> dict[str, list[TranslationRow]]:
    """Fills rows as a run does: what the pack completes, then examples."""
    records = {
        name: [Record(one, "file", line, one.source) for line, one in enumerate(rows, 1)]
        for name, rows in complete(parts, options, 0).items()
    }
    shown = put_examples(records, TASK, options, "bm25")
    return {name: [record.value for record in rows] for name, rows in shown.items()}


def test_a_row_that_brings_terms_or_examples_keeps_them() -> None:
    own = row(
        "Pressroom is ready before the deadline",
        "Pressroom est prêt avant le délai",
        document="x",
        terms=(Term(source="deadline", target="délai"),),
        examples=(Example(source="a", target="b"),),
    )
    filled = fill({"train": [*shipped()["train"], own], "test": [own]}, FILLED)
    for one in (filled["train"][-1], filled["test"][0]):
        assert (one.terms, one.examples) == (own.terms, own.examples)


def test_examples_are_training_rows_of_other_documents_and_no_near_duplicates() -> None:
    parts = shipped()
    filled = fill(parts, FILLED)
    document = {one.source: one.document for one in parts["train"]}
    target = {one.source: one.target for one in parts["train"]}
    counts = []
    for side in ("train", "test"):
        for one in filled[side]:
            counts.append(len(one.examples))
            for example in one.examples:
                assert document[example.source] != one.document
                assert target[example.source] == example.target
                assert similarity(example.source, one.source) < DUPLICATE
    assert max(counts) == 2
    assert sum(counts) / len(counts) > 1.8


def test_the_same_input_gives_the_same_rows_and_another_seed_others() -> None:
    first = complete(shipped(), FILLED, 0)
    assert first == complete(shipped(), FILLED, 0)
    other = complete(shipped(), FILLED, 1)
    assert [one.terms for one in first["train"]] != [one.terms for one in other["train"]]
    assert first["test"] == other["test"]
    fewer = complete({name: rows[:50] for name, rows in shipped().items()}, FILLED, 0)
    assert [one.terms for one in fewer["train"]] == [one.terms for one in first["train"][:50]]


def digest() -> str:
    filled = complete(shipped(), FILLED, 0)
    text = "".join(one.model_dump_json() for side in ("train", "test") for one in filled[side])
    return hashlib.sha256(text.encode()).hexdigest()


def test_another_process_gives_the_same_rows() -> None:
    code = f"import runpy; print(runpy.run_path({__file__!r})['digest']())"
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": paths},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == digest(), done.stderr


@pytest.mark.parametrize(
    ("glossary", "message"),
    [
        ("none.csv", r"none\.csv cannot be read"),
        ("none.pdf", r"a glossary is a \.csv"),
        ("shipped", "de and it"),
    ],
)
def test_a_glossary_that_cannot_be_used_is_one_line(glossary: str, message: str) -> None:
    options = TranslationConfig(source_language="de", target_language="it", glossary=glossary)
    with pytest.raises(ValueError, match=message) as caught:
        complete({"train": [row("a", "b")]}, options, 0)
    assert "\n" not in str(caught.value)


def test_variants_leave_out_one_thing_each() -> None:
    (one,) = fill({"train": shipped()["train"], "test": shipped()["test"][:1]}, FILLED)["test"]
    bare, alone = (TASK.variants[name](one) for name in ("without glossary", "without examples"))
    assert [line for line in asked(one) if line not in asked(bare)] == ["Terms: deadline = échéance"]
    assert bare.terms == one.terms  # they are measured all the same
    assert len(asked(one)) - len(asked(alone)) == 4
    assert alone.terms == one.terms
