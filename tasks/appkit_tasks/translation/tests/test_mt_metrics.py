"""Scores equal sacreBLEU's, its command line's too; the other metrics are counted by hand."""

from __future__ import annotations

import importlib.metadata
import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from appkit_tasks.translation import metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from appkit.task import Parsed, Prediction


@dataclass(frozen=True)
class Term:
    source: str
    target: str


@dataclass(frozen=True)
class Row:
    source: str
    target: str
    target_language: str = "fr"
    source_language: str = "en"
    terms: tuple[Term, ...] = ()


def answer(text: str, truncated: bool = False) -> Prediction:
    return Prediction(text, Parsed(text), tokens=1, truncated=truncated)


PAIRS = [
    ("Le chat est assis sur le tapis.", "Le chat est assis sur un tapis rouge."),
    ("« Voilà », dit-il : 3,5 % !", "« Voici », dit-il : 3,5 % !"),
    ("Enregistrez le fichier avant de quitter.", "Avant de quitter, enregistrez le fichier."),
    ("Compte supprimé", "Compte supprimé"),
    ("Ouvrir", "Fermer"),
    ("Vous avez %d messages non lus dans <b>Réception</b>.", "Vous avez %d nouveaux messages dans <b>Réception</b>."),
    ("Un", ""),
    ("Er sagte: &quot;Nein&quot;", 'Er sagte: "Nein"'),
]  # fmt: skip
"""reference, answer"""


def score(name: str, rows: list[Row], answers: list[str]) -> float:
    statistics, aggregate = {
        "BLEU": (metrics.bleu, metrics.bleu_score),
        "chrF++": (metrics.chrf, metrics.chrf_score),
        "TER": (metrics.ter, metrics.ter_score),
    }[name]
    return aggregate(
        np.array([statistics(row, answer(text)) for row, text in zip(rows, answers, strict=True)])
    )


def rows_of(references: list[str], language: str = "fr") -> list[Row]:
    return [Row("", reference, language) for reference in references]


def test_scores_equal_those_of_the_command_line(tmp_path: Path) -> None:
    references, answers = map(list, zip(*PAIRS, strict=True))
    for name, lines in (("ref", references), ("hyp", answers)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", "ref", "-i", "hyp", "-m", "bleu", "chrf", "ter"]
    run = subprocess.run(
        [*command, "--chrf-word-order", "2", "-w", "9", "-f", "json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    printed = {scored["name"]: scored for scored in json.loads(run.stdout)}
    rows = rows_of(references)
    for name, theirs in (("BLEU", "BLEU"), ("chrF++", "chrF2++"), ("TER", "TER")):
        assert score(name, rows, answers) == pytest.approx(printed[theirs]["score"], abs=1e-9)
        assert metrics.signature(name, "fr") == printed[theirs]["signature"]


def test_scores_of_a_recorded_case() -> None:
    references, answers = map(list, zip(*PAIRS, strict=True))
    rows = rows_of(references)
    # sacrebleu 2.6.0: sacrebleu ref -i hyp -m bleu chrf ter --chrf-word-order 2 -w 4
    recorded = {"BLEU": 64.3480, "chrF++": 70.6219, "TER": 38.8889}
    assert {name: round(score(name, rows, answers), 4) for name in recorded} == recorded


SENTENCES = st.text(st.sampled_from("ab .,;:é中国\n"), max_size=40)


@settings(deadline=None)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=6), st.sampled_from(["fr", "zh"]))
def test_scores_equal_sacrebleu(pairs: list[tuple[str, str]], language: str) -> None:
    references, answers = map(list, zip(*pairs, strict=True))
    rows = rows_of(references, language)
    asian = language == "zh"
    expected = {
        "BLEU": sacrebleu.corpus_bleu(answers, [references], tokenize="zh" if asian else "13a", force=True),
        "chrF++": sacrebleu.corpus_chrf(answers, [references], word_order=2),
        "TER": sacrebleu.corpus_ter(answers, [references], normalized=asian, asian_support=asian),
    }
    for name, theirs in expected.items():
        assert score(name, rows, answers) == pytest.approx(theirs.score, abs=1e-9)


def test_the_tokenizer_is_that_of_the_target_language() -> None:
    tokenizers = {code: metrics.tokenizer_of(code) for code in ("fr", "en-US", "zh-Hant", "th")}
    assert tokenizers == {"fr": "13a", "en-US": "13a", "zh-Hant": "zh", "th": "char"}
    rows, answers = rows_of(["我喜欢红苹果。"], "zh"), ["我喜欢绿苹果。"]
    assert score("BLEU", rows, answers) == pytest.approx(
        sacrebleu.corpus_bleu(answers, [["我喜欢红苹果。"]], tokenize="zh").score
    )
    assert score("TER", rows, answers) == pytest.approx(100 / 7)


def test_without_mecab_japanese_is_split_into_characters_and_korean_at_spaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        if name.endswith("mecab"):
            raise RuntimeError("MeCab is missing")

    monkeypatch.setattr(metrics, "_bleu", missing)
    metrics.tokenizer_of.cache_clear()
    assert [metrics.tokenizer_of(code) for code in ("ja", "ko")] == ["char", "13a"]
    monkeypatch.undo()
    metrics.tokenizer_of.cache_clear()


def test_signatures_say_which_languages_are_mixed() -> None:
    version = importlib.metadata.version("sacrebleu")
    assert metrics.signatures(rows_of(["a", "b"])) == [
        f"BLEU: nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}",
        f"chrF++: nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:{version}",
        f"TER: nrefs:1|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:{version}",
    ]
    mixed = metrics.signatures([*rows_of(["a"]), *rows_of(["a"], "de"), *rows_of(["a"], "zh")])
    assert [line.partition(":")[0] for line in mixed[:5]] == [
        "BLEU (de, fr)",
        "BLEU (zh)",
        "chrF++",
        "TER (de, fr)",
        "TER (zh)",
    ]
    assert mixed[5].startswith(
        "The rows have 3 target languages (de, fr, zh): a score is of the counts of all"
    )


@pytest.mark.parametrize("name", ["BLEU", "chrF++", "TER"])
def test_2000_resamples_of_1000_rows_take_less_than_a_second(name: str) -> None:
    rng = random.Random(1)
    columns, aggregate = {
        "BLEU": (10, metrics.bleu_score),
        "chrF++": (24, metrics.chrf_score),
        "TER": (2, metrics.ter_score),
    }[name]
    matrix = np.array([[rng.randint(0, 30) for _ in range(columns)] for _ in range(1000)], dtype=float)
    began = time.process_time()
    for _ in range(2000):
        aggregate(matrix)
    assert time.process_time() - began < 1


TERMS = (Term("account", "compte"), Term("save", "enregistrer"), Term("save", "sauvegarder"))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Enregistrez les comptes", 2),
        ("Sauvegarder le compte", 2),
        ("Enregistrez et sauvegardez le profil", 1),
        ("Décompte", 0),
        ("", 0),
    ],
)
def test_terminology_counts_terms_and_takes_pairs_of_one_source_for_alternatives(
    text: str, kept: int
) -> None:
    row = Row("Save the accounts", "Enregistrez les comptes", terms=TERMS)
    assert metrics.terminology(row, answer(text)) == (kept, 2)


def test_terminology_of_rows() -> None:
    rows = [Row("a", "b", terms=TERMS), Row("a", "b", terms=TERMS[:1])]
    answers = [answer("Enregistrez"), answer("un compte")]
    matrix = np.array([metrics.terminology(row, text) for row, text in zip(rows, answers, strict=True)])
    assert metrics.share(matrix) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="no terms"):
        metrics.terminology(Row("a", "b"), answer("b"))


def test_bleu_without_terms_is_of_the_rows_without() -> None:
    row = Row("a", PAIRS[0][0])
    assert metrics.bleu_without_terms(row, answer(PAIRS[0][1])) == metrics.bleu(row, answer(PAIRS[0][1]))
    with pytest.raises(ValueError, match="has terms"):
        metrics.bleu_without_terms(Row("a", "b", terms=TERMS), answer("b"))


def test_placeholders() -> None:
    row = Row("Open {file} in <b>%s</b>", "Ouvrez {file} dans <b>%s</b>")
    assert metrics.placeholders(row, answer("Ouvrez {file} dans <b>%s</b>")) == (4, 4)
    assert metrics.placeholders(row, answer("Ouvrez {fichier}")) == (0, 5)
    with pytest.raises(ValueError, match="no placeholders"):
        metrics.placeholders(Row("a", "b"), answer("b"))


LONG = "Un texte de quarante caractères environ."


@pytest.mark.parametrize(
    ("reference", "text", "truncated", "over"),
    [
        ("Oui", "Oui, bien sûr, allez-y !", False, 0),
        ("Oui", "x" * 26, False, 0),
        ("Oui", "x" * 27, False, 1),
        (LONG, LONG * 2, False, 0),
        (LONG, LONG * 3, False, 1),
        (LONG, LONG + "\n\n", False, 0),
        (LONG, LONG + "\nNote : rien", False, 1),
        (LONG + "\nFin", LONG + "\nNote : rien", False, 0),
        (LONG, LONG, True, 1),
    ],
)
def test_over_generation(reference: str, text: str, truncated: bool, over: int) -> None:
    assert metrics.over_generation(Row("One line.", reference), answer(text, truncated)) == (over,)


ENGLISH = "Please save all of your files before you close this window."
FRENCH = "Veuillez enregistrer tous vos fichiers avant de fermer cette fenêtre."


@pytest.mark.parametrize(
    ("reference", "text", "off"),
    [
        (FRENCH, FRENCH, 0),
        (FRENCH, ENGLISH, 1),
        (FRENCH, "Bitte speichern Sie alle Dateien, bevor Sie dieses Fenster schließen.", 1),
        (FRENCH, "Пожалуйста, сохраните все файлы, прежде чем закрыть окно.", 1),
        (FRENCH, "OK", 0),
        (FRENCH, "", 0),
        (ENGLISH, ENGLISH, 0),  # the reference is a quotation
    ],
)
def test_off_target(reference: str, text: str, off: int) -> None:
    assert metrics.off_target(Row(ENGLISH, reference), answer(text)) == (off,)


def test_exact() -> None:
    assert metrics.exact(Row("a", "Un compte "), answer(" Un compte\n")) == (1,)
    assert metrics.exact(Row("a", "Un compte"), answer("un compte")) == (0,)


def test_an_answer_that_was_read_otherwise_is_scored_as_read() -> None:
    prediction = Prediction("<think>x</think>Oui", Parsed("Oui"), tokens=1, truncated=False)
    assert metrics.exact(Row("Yes", "Oui"), prediction) == (1,)
    assert metrics.chrf_score(np.array([metrics.chrf(Row("Yes", "Oui"), prediction)])) == pytest.approx(100)
