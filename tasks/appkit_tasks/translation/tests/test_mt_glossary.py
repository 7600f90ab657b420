"""Glossaries of tables and JSON lines: what is read, what is left out and counted, what is refused; chosen terms."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from appkit_tasks.translation.glossary import Entry, Glossary, choose_terms, load_glossary
from hypothesis import given, settings
from hypothesis import strategies as st


def load(folder: Path, content: str | bytes, name: str = "terms.csv", target: str = "fr") -> Glossary:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_glossary(path, "en", target)


def pairs(glossary: Glossary) -> list[tuple[str, tuple[str, ...]]]:
    return [(entry.source, entry.targets) for entry in glossary.entries]


ACCOUNT = [("account", ("compte",)), ("address book", ("carnet d'adresses",))]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "source,target\naccount,compte\naddress book,carnet d'adresses\n"),
        ("a.csv", "\ufeffsource;target\r\naccount;compte\r\naddress book;carnet d'adresses\r\n"),
        ("a.tsv", "term\ttranslation\naccount\tcompte\naddress book\tcarnet d'adresses\n"),
        ("a.txt", "sourcestring|targetstring\naccount|compte\naddress book|carnet d'adresses\n"),
        ("a.csv", 'en,fr,pos\n"account","compte",noun\naddress book,"carnet d\'adresses",noun\n'),
        ("a.csv", "English,note,French\naccount,,compte\naddress book,,carnet d'adresses\n"),
        ("a.csv", "en_US.UTF-8,de,fr_XX\naccount,Konto,compte\naddress book,Adressbuch,carnet d'adresses\n"),
        ("a.csv", "Source Term,Target Term\naccount,compte\naddress book,carnet d'adresses"),
        ("a.csv", "\n\nterm,translation,source\naccount,compte,me\naddress book,carnet d'adresses,me\n"),
        ("a.jsonl", '{"src": "account", "tgt": "compte"}\n\n{"src": "address book", "tgt": "carnet d\'adresses"}\n'),
        ("a.ndjson", '{"en": "account", "fr": "compte"}\n{"fr": "carnet d\'adresses", "en": "address book"}'),
    ],
)  # fmt: skip
def test_files_of_all_forms(tmp_path: Path, name: str, content: str) -> None:
    glossary = load(tmp_path, content, name)
    assert pairs(glossary) == ACCOUNT
    assert glossary.notes == ()
    assert all(entry.noun is ("noun" in content) for entry in glossary.entries)


def test_utf_16_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    table = "source\ttarget\naccount\tcompte\naddress book\tcarnet d'adresses\n"
    assert pairs(load(tmp_path, table.encode("utf-16"), "a.tsv")) == ACCOUNT
    with pytest.raises(ValueError, match="NUL characters, as UTF-16 without a byte order mark"):
        load(tmp_path, table.encode("utf-16-le"), "a.tsv")


CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).map(str.strip)


@settings(deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), st.sampled_from(",;\t|"))
def test_what_csv_writes_is_read_and_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([("source", "target"), ("first", "premier"), *rows])
    glossary = load(tmp_path_factory.mktemp("csv"), text.getvalue())
    read = sum(len(entry.targets) for entry in glossary.entries)
    left_out = sum(int(note.split()[1]) for note in glossary.notes if " left out: " in note)
    assert read + left_out == len(rows) + 1
    written = {target.strip() for _, target in rows} | {"premier"}
    assert {target for entry in glossary.entries for target in entry.targets} <= written


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    rows = [
        "source,target",
        "account,compte",
        "account,profil",  # another translation
        "Account,compte",  # the same one
        "us,nous",
        "US,États-Unis",  # another word
        "save,",
        ",enregistrer",
        " , ",
        "list,liste,lista",
        "–,–",
        "x" * 501 + ",x",
        "short",
    ]
    glossary = load(tmp_path, "\n".join(rows))
    assert pairs(glossary) == [
        ("account", ("compte", "profil")),
        ("us", ("nous",)),
        ("US", ("États-Unis",)),
    ]
    assert glossary.notes == (
        "terms.csv: 1 entry left out: the same as another (first: line 4)",
        "terms.csv: 2 entries left out: no translation (first: line 7)",
        "terms.csv: 1 entry left out: no source (first: line 8)",
        "terms.csv: 1 entry left out: no text (first: line 9)",
        "terms.csv: 1 entry left out: more cells than the table has columns (first: line 10)",
        "terms.csv: 1 entry left out: no letter or digit (first: line 11)",
        "terms.csv: 1 entry left out: a term of more than 500 characters (first: line 12)",
        "terms.csv: 1 term has several translations, the first is preferred and all count as right (first: 'account')",
    )


def test_entries_of_other_languages_are_left_out(tmp_path: Path) -> None:
    lines = [
        {"sourcelang": "en", "targetlang": "fr_XX", "sourcestring": "flu", "targetstring": "grippe"},
        {"sourcelang": "en", "targetlang": "de", "sourcestring": "flu", "targetstring": "Grippe"},
        {"sourcelang": "fr", "targetlang": "en", "sourcestring": "grippe", "targetstring": "flu"},
    ]
    content = "\n".join(map(json.dumps, lines))
    glossary = load(tmp_path, content, "a.jsonl")
    assert pairs(glossary) == [("flu", ("grippe",))]
    assert glossary.notes == ("a.jsonl: 2 entries left out: of other languages (first: line 2)",)
    with pytest.raises(ValueError, match=r"no entry from en to it \(3 entries left out: of other lang"):
        load(tmp_path, content, "a.jsonl", target="it")


def test_a_region_fits_its_language_and_no_other_region(tmp_path: Path) -> None:
    for table in ("en,pt-PT,pt-BR\nbus,autocarro,ônibus\n", "en,pt,pt-BR\nbus,autocarro,ônibus\n"):
        assert pairs(load(tmp_path, table, target="pt-BR")) == [("bus", ("ônibus",))]
    assert pairs(load(tmp_path, "en,pt\nbus,autocarro\n", target="pt-BR")) == [("bus", ("autocarro",))]
    with pytest.raises(ValueError, match="has the columns"):
        load(tmp_path, "en,pt-PT\nbus,autocarro\n", target="pt-BR")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", r"no entry from en to fr \(it is empty\)"),
        ("a.csv", b"source,target\n", "it is empty"),
        ("a.csv", b"account,compte\nuser,utilisateur\n", "name two of them source and target, or en and fr"),
        ("a.csv", b"source,target,Target\na,b,c\n", "two columns of one name"),
        ("a.csv", b'source,target\n"account,compte\n', r"line 2 is no table row \(unexpected end of data\)"),
        ("a.csv", b'source,target\n"a"b,c\n', "is no table row"),
        ("a.csv", b"source,target\ncaf\xe9,x\n", r"not UTF-8 \(byte 17: .*save it as UTF-8"),
        ("a.csv", b"\xff\xfea", "is not UTF-16"),
        ("a.jsonl", b'{"source": "a", "target": "b"}\n{"source": ', "line 2 is no JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1 is no JSON"),
        ("a.jsonl", b'["a", "b"]', "line 1 is no JSON object"),
        ("a.jsonl", b'{"source": 1, "target": "b"}', "line 1 has a term that is no text"),
        ("a.xlsx", b"PK", "a glossary is a .csv"),
    ],
)
def test_refused_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        load(tmp_path, content, name)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


def test_refused_paths(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be read \(No such file"):
        load_glossary(tmp_path / "none.csv", "en", "fr")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory"):
        load_glossary(tmp_path / "folder.csv", "en", "fr")


def test_find_gives_the_entries_and_their_places(tmp_path: Path) -> None:
    glossary = load(tmp_path, "source,target\naccount,compte\naddress book,carnet d'adresses\n")
    text = "Two accounts, one address book"
    found = [(match.term.target, text[match.start : match.end]) for match in glossary.find(text)]
    assert found == [("compte", "accounts"), ("carnet d'adresses", "address book")]


WORDS = [
    "account",
    "action",
    "address",
    "alias",
    "alarm",
    "album",
    "badge",
    "banner",
    "board",
    "bucket",
    "build",
    "cable",
    "cache",
    "card",
]
GLOSSARY = Glossary("en", "fr", tuple(Entry(word, (f"{word}-fr",)) for word in WORDS))
TEXTS = [f"Row {number}: open the account, then the cables." for number in range(2000)]


def choose(text: str, share: float = 1.0, distractors: int = 3, seed: int = 0) -> list[str]:
    entries = choose_terms(
        text, GLOSSARY.find(text), GLOSSARY, share=share, distractors=distractors, seed=seed
    )
    return [entry.source for entry in entries]


def test_a_share_of_rows_shows_terms() -> None:
    shown = sum(bool(choose(text, share=0.3)) for text in TEXTS)
    assert 0.26 < shown / len(TEXTS) < 0.34
    assert not any(choose(text, share=0) for text in TEXTS)
    assert all(choose(text, share=1) for text in TEXTS)
    assert choose("nothing here", share=1) == []


def test_what_matches_is_always_shown_and_distractors_are_plausible() -> None:
    chosen = [choose(text) for text in TEXTS]
    assert all(
        {"account", "cable"} <= set(sources) and len(set(sources)) == len(sources) for sources in chosen
    )
    extra = [source for sources in chosen for source in sources if source not in ("account", "cable")]
    assert sum(source[0] in "ac" for source in extra) > 0.95 * len(extra)
    counts = [len(sources) - 2 for sources in chosen]
    assert all(0.2 < counts.count(number) / len(TEXTS) < 0.3 for number in range(4))
    first = sum(sources[0] in ("account", "cable") for sources in chosen if len(sources) == 4)
    assert 0.4 < first / counts.count(2) < 0.6  # the order gives nothing away


def test_a_distractor_is_never_in_the_text() -> None:
    text = "account actions address aliases alarms albums"
    assert [set(choose(text, seed=seed)) & set(WORDS[:6]) for seed in range(50)] == [set(WORDS[:6])] * 50
    others = {source for seed in range(50) for source in choose(text, seed=seed)} - set(WORDS[:6])
    assert others <= set(WORDS[6:])
    assert others


def test_a_term_under_a_longer_one_is_no_distractor() -> None:
    entries = tuple(Entry(source, ("x",)) for source in ("account", "account book", "action"))
    glossary = Glossary("en", "fr", entries)
    text = "The account book."
    matches = glossary.find(text)
    assert [match.term.source for match in matches] == ["account book"]
    for seed in range(30):
        chosen = choose_terms(text, matches, glossary, share=1, distractors=3, seed=seed)
        assert {entry.source for entry in chosen} <= {"account book", "action"}


def test_the_choice_is_a_function_of_text_and_seed() -> None:
    assert [choose(text) for text in TEXTS[:50]] == [choose(text) for text in TEXTS[:50]]
    assert [choose(text) for text in TEXTS[:50]] != [choose(text, seed=1) for text in TEXTS[:50]]
    # of this very text: another order of rows, process or machine changes nothing
    assert choose("Open the account.", seed=7) == ["album", "account", "alarm"]


def test_no_distractors() -> None:
    assert {tuple(sorted(choose(text, distractors=0))) for text in TEXTS[:200]} == {("account", "cable")}
