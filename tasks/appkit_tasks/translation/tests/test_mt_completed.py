"""What glossary and examples fill in reaches every row that is measured, and is counted where a user looks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from appkit_tasks.translation import languages
from appkit_tasks.translation.load import Term, TranslationRow
from tiny import save_tiny

from appkit.bundles.specialist import fill_rows
from appkit.config import build_run_config
from appkit.errors import ConfigError, DataError
from appkit.plugins import load_task
from appkit.rag.rows import load_general, load_rows
from appkit.runs.check import check_data
from appkit.runs.prepare import prepare
from appkit.task import Parsed, Prediction

WORDS = ("harbour", "castle", "meadow", "engine", "lantern", "barrel", "violin", "saddle")


def write(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def pairs(language: str, count: int, start: str = "Open the window beside the") -> list[dict[str, str]]:
    """Returns rows that share words, none of them near another."""
    numbered = [f"{WORDS[n % 8]} and the {WORDS[(n // 8 + n + 1) % 8]} of number {n}" for n in range(count)]
    return [
        {"source": f"{start} {text}.", "target": f"{language} {text}", "target_language": language}
        for text in numbered
    ]


def config(folder: Path, languages: tuple[str, ...] = ("fr", "it"), **more: Any) -> Any:
    """Returns the configuration of rows in several directions; the glossary of the tests has only French."""
    (folder / "g.csv").write_text("en,fr\nwindow,fenêtre\nlantern,lanterne\n", encoding="utf-8")
    data = {
        side: write(folder / f"{side}.jsonl", [row for one in languages for row in pairs(one, count, start)])
        for side, count, start in (
            ("train", 24, "Open the window beside the"),
            ("dev", 2, "Paint a window behind a"),
            ("test", 6, "Close our window above some"),
        )
    }
    task = {"name": "translation", "glossary": str(folder / "g.csv"), "terms_share": 1, "distractors": 0}
    return build_run_config({"task": task | more, "data": data | {"near": None, "max_length": 2048}})


def test_general_rows_are_filled_as_test_rows_are(tmp_path: Path) -> None:
    general = write(tmp_path / "general.jsonl", pairs("fr", 6, "Close our window above some"))
    values = config(tmp_path, ("fr",), examples=2).model_dump()
    values |= {"model": str(save_tiny(tmp_path / "tiny")), "quant": "none", "eval": {"general": general}}
    prepared = prepare(build_run_config(values))
    filled, test = ([record.value for record in part] for part in (prepared.general, prepared.test))
    assert len(filled) == 6
    assert all(row.terms and len(row.examples) == 2 for row in filled)
    assert sorted(filled, key=lambda row: row.source) == sorted(test, key=lambda row: row.source)


def test_general_rows_are_as_many_as_are_measured(tmp_path: Path) -> None:
    values = config(tmp_path).model_dump()
    values["eval"]["rows"] = 4
    limited = build_run_config(values)
    general = write(tmp_path / "general.jsonl", pairs("fr", 9))
    assert len(load_general(load_task("translation"), limited, general, [])) == 4


def test_a_direction_that_the_glossary_lacks_is_a_note(tmp_path: Path) -> None:
    splits, _ = load_rows(load_task("translation"), config(tmp_path))
    assert {record.value.target_language for record in splits.train if record.value.terms} == {"fr"}
    assert "train: 24 of 48 rows were given terms, none of the 24 of direction en → it" in splits.notes
    assert "test: 6 of 12 rows were given terms, none of the 6 of direction en → it" in splits.notes


def test_a_glossary_without_any_of_the_directions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"g\.csv has the columns \['en', 'fr'\]; name two of them source"):
        load_rows(load_task("translation"), config(tmp_path, ("it", "de")))
    (tmp_path / "h.csv").write_text("source,target,source_lang,target_lang\na,b,en,es\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"h\.csv has no entry from en to fr"):
        load_rows(load_task("translation"), config(tmp_path, glossary=str(tmp_path / "h.csv")))


def test_the_data_check_counts_what_was_filled_in(tmp_path: Path) -> None:
    bare = check_data(config(tmp_path, ("fr",), glossary=None))
    assert not any("were given" in note for note in bare.notes)
    report = check_data(config(tmp_path, ("fr",), examples=1))
    for side, count in {"train": 24, "dev": 2, "test": 6}.items():
        assert f"{side}: {count} of {count} rows were given terms" in report.notes
        assert f"{side}: {count} of {count} rows were given examples" in report.notes
    assert "train: 24 of 24 rows were given terms" in report.lines()


def test_the_data_check_says_in_a_line_what_cannot_be_filled_in(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv cannot be read"):
        check_data(config(tmp_path, glossary=str(tmp_path / "none.csv")))
    rows = write(tmp_path / "bare.jsonl", [{"source": "a b", "target": "c d"}])
    values = {"task": "translation", "data": {"train": rows, "test": rows}}
    with pytest.raises(DataError, match="no target language"):
        check_data(build_run_config(values))


def manifest(**task: Any) -> dict[str, Any]:
    return {"task": {"name": "translation"}, "config": {"task": {"name": "translation"} | task}}


def test_inputs_are_filled_from_a_glossary_that_words_name(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("en,fr\nwindow,fenêtre\n", encoding="utf-8")
    glossary = {"task": {"glossary": str(tmp_path / "g.csv")}}
    own = (Term(source="window", target="carreau"),)
    rows = [TranslationRow(source=text) for text in ("Two windows", "A door")]
    rows.append(TranslationRow(source="A window", terms=own))
    filled, notes = fill_rows(manifest(target_language="fr", examples=2), rows, glossary)
    assert [row.terms for row in filled] == [(Term(source="window", target="fenêtre"),), (), own]
    assert notes == ["inputs: 1 of 3 rows were given terms"]
    _, notes = fill_rows(manifest(target_language="fr"), filled[:1], {"task": {"domain": True}})
    assert notes == ["task.domain changed no row"]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("translation", {"glossary": "none.csv"}, r"none\.csv cannot be read"),
        ("translation", {"glosary": "g.csv"}, "unknown key 'task.glosary'; did you mean"),
        ("translation", {"name": "ner"}, "the bundle is of task 'translation', got task.name=ner"),
        ("qa", {"instruction": "x"}, r"task 'qa' fills no rows, so task\.instruction has no effect"),
    ],
)
def test_words_that_fill_nothing_are_refused(name: str, values: dict[str, str], message: str) -> None:
    own = {"task": {"name": name}, "config": {"task": {"name": name}}}
    if name == "translation":
        own["config"]["task"] |= {"target_language": "fr"}
    with pytest.raises((ConfigError, DataError), match=message):
        fill_rows(own, [TranslationRow(source="A window")], {"task": values})


def test_predict_answers_the_filled_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import appkit
    from appkit.bundles import manifest as manifests
    from appkit.cli.training import predict

    (tmp_path / "g.csv").write_text("en,fr\nwindow,fenêtre\n", encoding="utf-8")
    answered: list[TranslationRow] = []

    def answer(rows: list[TranslationRow], constrain: bool) -> list[Prediction]:
        answered.extend(rows)
        return [Prediction(row.source, Parsed(row.source), 1, False) for row in rows]

    specialist = SimpleNamespace(task=load_task("translation"), predict=answer)
    monkeypatch.setattr(manifests, "find", lambda path: path)
    monkeypatch.setattr(manifests, "read_manifest", lambda *_, **__: manifest(target_language="fr"))
    monkeypatch.setattr(appkit, "load", lambda path: specialist)
    predict(tmp_path, ["Two windows", f"task.glossary={tmp_path / 'g.csv'}", "A door"])
    assert [(row.source, [term.target for term in row.terms]) for row in answered] == [
        ("Two windows", ["fenêtre"]),
        ("A door", []),
    ]
    assert capsys.readouterr().err.splitlines()[0] == "note: inputs: 1 of 2 rows were given terms"


def checked_language(folder: Path, detector: str) -> list[str]:
    """Returns the findings of other languages in a French row that is German."""
    rows = [{"source": "The account is locked", "target": "Das Konto wurde gesperrt"}]
    task = {"name": "translation", "target_language": "fr", "language_detector": detector}
    data = {"train": write(folder / "german.jsonl", rows), "near": None}
    findings = check_data(build_run_config({"task": task, "data": data})).findings["train"]
    return [finding.reason for finding in findings if finding.kind == "language"]


def test_the_language_detector_is_chosen_by_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setitem(languages.DETECTORS, "lingua", lambda texts, codes: read.extend(texts))
    german = ["target is written in German, not in French: 'Das Konto wurde gesperrt'"]
    assert checked_language(tmp_path, "py3langid") == german
    assert read == []
    assert checked_language(tmp_path, "lingua") == []
    assert read == ["the account is locked", "das wurde gesperrt"]


def test_lingua_finds_another_language(tmp_path: Path) -> None:
    pytest.importorskip("lingua")
    german = ["target is written in German, not in French: 'Das Konto wurde gesperrt'"]
    assert checked_language(tmp_path, "lingua") == german


def test_a_detector_that_is_not_installed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    languages._lingua.cache_clear()
    monkeypatch.setitem(sys.modules, "lingua", None)
    with pytest.raises(DataError, match=r"pip install 'appkit\[lingua\]', or take py3langid"):
        checked_language(tmp_path, "lingua")
