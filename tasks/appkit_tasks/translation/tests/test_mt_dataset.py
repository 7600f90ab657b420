"""The promises of the shipped data set's datasheet and guide."""

from __future__ import annotations

import csv
import hashlib
import importlib.resources
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from statistics import median

import pytest
import yaml
from appkit_tasks.translation import TASK
from appkit_tasks.translation.clean import check_pairs
from appkit_tasks.translation.config import TranslationConfig
from appkit_tasks.translation.load import Term, open_glossary
from appkit_tasks.translation.metrics import count_terms
from appkit_tasks.translation.protected import compare, find

from appkit.data.rows import read
from appkit.rag.examples import similarity

FOLDER = importlib.resources.files("appkit_data") / "interface"
LANGUAGES = ("fr", "de")
COUNTS = {"train": 1278, "test": 296}
SIGN_SPACES = {
    "fr": {";": "\u202f", "!": "\u202f", "?": "\u202f", ":": "\u00a0", "%": "\u00a0"},
    "de": {"%": "\u00a0"},
}
"""what stands before a sign behind a letter, digit or bracket of the text"""
QUOTES = {"fr": "«»", "de": "„“"}


@cache
def rows(language: str, side: str) -> list[dict[str, str]]:
    text = (FOLDER / f"en-{language}.{side}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def every(language: str) -> list[dict[str, str]]:
    return [row for side in COUNTS for row in rows(language, side)]


def sheet() -> str:
    return (FOLDER / "README.md").read_text(encoding="utf-8")


def plain(text: str) -> str:
    """Removes what a translation keeps, so that only the language's own signs stay."""
    for span in reversed(find(text)):
        text = text[: span.start] + ("" if span.kind == "icu" else "x") + text[span.end :]
    return text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pack_ships_it(language: str) -> None:
    shipped = TASK.load(TranslationConfig(target_language=language))
    assert shipped is not None
    assert dict(shipped.files) == {side: f"interface/en-{language}.{side}.jsonl" for side in COUNTS}
    for side, count in COUNTS.items():
        result = read(str(FOLDER / f"en-{language}.{side}.jsonl"), TASK.row, {}, TASK.needed or ())
        assert (len(result.records), result.faults) == (count, [])
        assert all(record.value.target_language == language for record in result.records)


def test_french_is_shipped_unless_another_is_named_and_nothing_for_others() -> None:
    french = TASK.load(TranslationConfig())
    assert french is not None
    assert french.files["train"] == "interface/en-fr.train.jsonl"
    assert TASK.load(TranslationConfig(target_language="it")) is None
    assert TASK.load(TranslationConfig(source_language="de", target_language="fr")) is None


def test_the_card_tells_the_truth() -> None:
    card = yaml.safe_load((FOLDER / "card.yaml").read_text(encoding="utf-8"))
    assert card["licence"] == "CC0-1.0"
    assert set(card["files"]) == {f"en-{lang}.{side}.jsonl" for lang in LANGUAGES for side in COUNTS} | {
        "glossary.csv"
    }
    for name, recorded in card["files"].items():
        content = (FOLDER / name).read_bytes()
        header = name.endswith(".csv")
        assert recorded == {
            "rows": content.count(b"\n") - header,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    assert set(card["columns"]) == set(rows("fr", "train")[0])


def test_the_datasheet_counts_programs_and_kinds() -> None:
    programs = {
        name: (int(count), side)
        for name, count, side in re.findall(r"^\| (\w+) \| [^|]+ \| (\d+) \| (train|test) \|$", sheet(), re.M)
    }
    counted = {side: Counter(row["document"] for row in rows("fr", side)) for side in COUNTS}
    assert programs == {name: (count, side) for side in COUNTS for name, count in counted[side].items()}
    assert len(programs) == 14
    kinds = {
        kind: (int(train), int(test))
        for kind, train, test in re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \|", sheet(), re.M)
    }
    train, test = (Counter(row["kind"] for row in rows("fr", side)) for side in COUNTS)
    assert kinds == {kind: (train[kind], test[kind]) for kind in train}
    assert set(test) <= set(train)


def test_the_datasheet_measures_lengths_and_terms() -> None:
    sources = [row["source"] for row in every("fr")]
    words = [len(source.split()) for source in sources]
    assert (min(words), max(words), median(words)) == (1, 32, 15)
    assert f"{sum(words) / len(words):.1f}" == "13.5"
    assert (min(map(len, sources)), max(map(len, sources))) == (4, 185)
    for language, told in (("fr", "1.21"), ("de", "1.19")):
        longer = sum(len(row["target"]) for row in every(language)) / sum(map(len, sources))
        assert f"{longer:.2f}" == told
    assert sum(bool(find(source)) for source in sources) == 819
    assert sum("\n" in source for source in sources) == 17
    glossary = open_glossary("shipped", "en", "fr")
    found = [{match.term.source for match in glossary.find(source)} for source in sources]
    assert (sum(map(bool, found)), sum(map(len, found))) == (1275, 2053)
    train = Counter(term for terms in found[: COUNTS["train"]] for term in terms)
    test = {term for terms in found[COUNTS["train"] :] for term in terms}
    assert (len(train), min(train.values()), len(test)) == (291, 3, 278)
    for number in ("819", "17", "1,275", "2,053", "278", "291", "13.5", "1.21", "1.19"):
        assert re.search(rf"(?<![\d.,]){number}(?!\d|[.,]\d)", sheet()), number


def test_both_languages_translate_the_same_segments() -> None:
    for side, count in COUNTS.items():
        french, german = (
            [(row["id"], row["source"], row["kind"]) for row in rows(lang, side)] for lang in LANGUAGES
        )
        assert french == german
        assert len(french) == count
    assert COUNTS["train"] >= 1200
    assert COUNTS["test"] >= 200


def test_no_source_twice_and_the_test_programs_are_new() -> None:
    sources = [row["source"].casefold() for row in every("fr")]
    assert len(set(sources)) == len(sources)
    assert len({row["id"] for row in every("fr")}) == len(sources)
    train, test = ({row["document"] for row in rows("fr", side)} for side in COUNTS)
    assert train.isdisjoint(test)
    assert not [name for row in rows("fr", "train") for name in test if name in row["source"]]


def test_no_test_source_is_near_a_training_source_or_repeats_a_sentence() -> None:
    def sentences(text: str) -> Iterator[str]:
        for sentence in re.split(r"(?<=[.!?])\s+", text):
            yield sentence.casefold().rstrip(".!?")

    train = [row["source"] for row in rows("fr", "train")]
    known = {sentence for source in train for sentence in sentences(source)}
    nearest = 0.0
    for row in rows("fr", "test"):
        assert not known.intersection(sentences(row["source"])), row["id"]
        nearest = max(nearest, *(similarity(row["source"], source) for source in train))
    assert f"{nearest:.2f}" == "0.58"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_pair_keeps_what_must_be_kept(language: str) -> None:
    assert [(row["id"], str(compare(row["source"], row["target"]))) for row in every(language)
            if compare(row["source"], row["target"])] == []  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_checks_find_nothing(language: str) -> None:
    pairs = [(row["source"], row["target"], "en", language) for row in every(language)]
    assert list(check_pairs(pairs)) == []


def test_the_glossary_has_a_translation_for_each_of_its_nouns() -> None:
    with (FOLDER / "glossary.csv").open(encoding="utf-8", newline="") as file:
        entries = list(csv.DictReader(file))
    assert len(entries) == 291
    assert len({entry["en"].casefold() for entry in entries}) == len(entries)
    assert {entry["pos"] for entry in entries} == {"noun"}
    assert all(
        entry[language] == entry[language].strip() != ""
        for entry in entries
        for language in ("en", "fr", "de")
    )
    for language in LANGUAGES:
        shared = Counter(entry[language] for entry in entries)
        for target in (target for target, count in shared.items() if count > 1):
            assert f"*{target}*" in sheet(), target


@pytest.mark.parametrize(("language", "kept"), [("fr", 1705), ("de", 1704)])
def test_terms_are_translated_as_listed(language: str, kept: int) -> None:
    glossary = open_glossary("shipped", "en", language)
    counts = {}
    for side in COUNTS:
        sums = [0, 0]
        for row in rows(language, side):
            entries = dict.fromkeys(match.term for match in glossary.find(row["source"]))
            terms = [
                Term(source=entry.source, target=target) for entry in entries for target in entry.targets
            ]
            for place, count in enumerate(count_terms(terms, row["target"], language)):
                sums[place] += count
        counts[side] = tuple(sums)
    assert counts == {"train": (kept, 1717), "test": (336, 336)}
    assert f"{kept:,}" in sheet()


@pytest.mark.parametrize("language", LANGUAGES)
def test_signs_are_written_as_the_guide_says(language: str) -> None:
    wrong = []
    opening, closing = QUOTES[language]
    for row in every(language):
        text = plain(row["target"])
        if text.count(opening) != text.count(closing) or re.search('["’”]', text):
            wrong.append(row["id"])
        for sign, space in SIGN_SPACES[language].items():
            if re.search(rf"[\w)\]}}»{space}](?<!{space}){re.escape(sign)}(?!\w)", text):
                wrong.append(row["id"])
            if re.search(rf"[ \u00a0\u202f](?<!{space}){re.escape(sign)}(?!\w)", text):
                wrong.append(row["id"])
    if language == "fr":
        wrong += [row["id"] for row in every("fr") if re.search("«(?!\u202f)|(?<!\u202f)»", row["target"])]
    assert wrong == []


@pytest.mark.parametrize(
    ("language", "familiar"),
    [("fr", r"\b(?:[Tt]u|[Tt]oi|t[ae]|tes|ton)\b"), ("de", r"\b[Dd](?:u|ich|ir|ein\w*)\b")],
)
def test_the_user_is_addressed_formally(language: str, familiar: str) -> None:
    assert [row["id"] for row in every(language) if re.search(familiar, plain(row["target"]))] == []


def test_the_examples_are_not_from_it() -> None:
    shown = [example if isinstance(example, str) else example["source"] for example in TASK.examples]
    assert len(shown) == 3
    assert max(similarity(text, row["source"]) for text in shown for row in every("fr")) < 0.5
