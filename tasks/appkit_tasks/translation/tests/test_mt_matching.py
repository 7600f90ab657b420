"""Terms are found inflected, on borders of words, longest first, and never inside of what is to survive."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest
from appkit_tasks.translation.matching import Matcher, Term, contains
from appkit_tasks.translation.words import reduce_words, split
from hypothesis import given, settings
from hypothesis import strategies as st


def matched(text: str, terms: list[str], language: str = "en", nouns: bool = False) -> list[str]:
    """What is found of the terms, as it stands in the text."""
    matcher = Matcher([Term(term, language, nouns) for term in terms], language)
    return [text[place.start : place.end] for place in matcher.find(text)]


@pytest.mark.parametrize(
    ("text", "terms", "found"),
    [
        ("The accounts of all users.", ["account", "user"], ["accounts", "users"]),
        ("Your ACCOUNT is locked", ["account"], ["ACCOUNT"]),
        ("accountant, subaccount, account_id, account.txt", ["account"], []),
        ("(account), “account” and the account's owner", ["account"], ["account", "account", "account"]),
        ("It was saved; saving takes a minute.", ["save"], ["saved", "saving"]),
        ("the address book and the address", ["address", "address book"], ["address book", "address"]),
        ("open the address-books", ["address book"], ["address-books"]),
        ("address, book", ["address book"], []),
        ("an address\nbook", ["address book"], ["address\nbook"]),
        ("a b c d", ["a b", "b c d"], ["b c d"]),
        ("a b c", ["a b", "b c"], ["a b"]),
        ("Patients with AIDS use hearing aids", ["AIDS"], ["AIDS"]),
        ("Two APIs, one API, no api", ["API"], ["APIs", "API"]),
        ("iPhones and iphone", ["iPhone"], ["iPhones"]),
        ("children and mice", ["child", "mouse"], ["children", "mice"]),
        ("iterables", ["iterable"], ["iterables"]),
        ("C++ or C# or C", ["C", "C++"], ["C++", "C"]),
        ("a, b and C, or c", ["C"], ["C"]),
        ("logs of logging", ["logging"], ["logging"]),
        ("she meets after meetings", ["meeting"], ["meetings"]),
        ("the updated list", ["updates"], []),
        ("it is plugged in, with plug-ins", ["plug-in"], ["plug-ins"]),
        ("cafe\u0301s", ["café"], ["cafe\u0301s"]),
        ("ac\u00adcounts", ["account"], ["ac\u00adcounts"]),
        ("no term", [], []),
        ("", ["account"], []),
    ],
)
def test_english(text: str, terms: list[str], found: list[str]) -> None:
    assert matched(text, terms) == found


def test_a_noun_is_not_in_verb_forms() -> None:
    text = "You have built it: a build, two builds; importing imports, imported women, the linked link"
    terms = ["build", "import", "woman", "link"]
    assert matched(text, terms, nouns=True) == ["build", "builds", "imports", "women", "link"]
    assert matched(text, terms)[:2] == ["built", "build"]


@pytest.mark.parametrize(
    ("language", "text", "terms", "found"),
    [
        ("fr", "l’utilisateur, les comptes d'utilisateur", ["utilisateur"], ["utilisateur", "utilisateur"]),
        ("fr", "les pièces jointes", ["pièce jointe"], ["pièces jointes"]),
        ("fr", "les champs personnalisés", ["champ personnalisé"], ["champs personnalisés"]),
        ("fr", "des personnes infectées", ["infecter"], ["infectées"]),
        ("de", "Die Konten, das Benutzerkonto", ["Konto"], ["Konten"]),
        ("de", "Zwei Gießpläne in der STRASSE", ["Gießplan", "Straße"], ["Gießpläne", "STRASSE"]),
        ("de", "Sie haben es gespeichert", ["speichern"], ["gespeichert"]),
        ("ru", "удалить файлы", ["файл"], ["файлы"]),
        ("hi", "रोगियों के लक्षणों को", ["रोगी", "लक्षण"], ["रोगियों", "लक्षणों"]),
        ("az", "KAYIT", ["kayıt"], ["KAYIT"]),
        ("ko", "계정을 삭제", ["계정"], ["계정을"]),
        ("zh", "请删除您的账户设置。", ["账户", "账户设置"], ["账户设置"]),
        ("ja", "APIキーを削除します", ["API", "キー", "削除"], ["API", "キー", "削除"]),
        ("th", "ลบบัญชีผู้ใช้", ["บัญชี"], ["บัญชี"]),
    ],
)  # fmt: skip
def test_other_languages(language: str, text: str, terms: list[str], found: list[str]) -> None:
    assert matched(text, terms, language) == found


@pytest.mark.parametrize(
    "text",
    [
        "%(account)s",
        "{account}",
        "<account id='1'/>",
        "https://example.com/account",
        "`account`",
        ":ref:`account`",
    ],
)
def test_code_has_no_terms(text: str) -> None:
    assert matched(f"{text} of the account", ["account"]) == ["account"]
    assert not contains(text, "account", "en")


def test_the_words_of_a_plural_are_text() -> None:
    text = "{account, plural, one {# account of {account}} other {# accounts}}"
    assert matched(text, ["account"]) == ["account", "accounts"]
    assert matched("<b>account</b> **account**", ["account"]) == ["account", "account"]


def test_of_two_terms_at_a_place_the_one_written_so_wins_then_the_first() -> None:
    matcher = Matcher([Term(text, "en") for text in ("log", "logs", "Log")], "en")
    assert [place.term for place in matcher.find("logs log logged")] == [1, 0, 0]


WORDS = [
    "user",
    "users",
    "account",
    "address",
    "book",
    "booked",
    "log",
    "logging",
    "in",
    "API",
    "APIs",
    "a",
    "b",
    ",",
]
TERMS = [
    "user",
    "user account",
    "address book",
    "book log",
    "log in",
    "log",
    "logs",
    "API",
    "a b",
    "b a b",
    "users a",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=14))
def test_the_automaton_finds_what_trying_all_terms_everywhere_finds(words: list[str]) -> None:
    text = " ".join(words)
    terms = [Term(term, "en") for term in TERMS]
    spans, forms = split(text), reduce_words(text, "en")
    candidates = []
    for number, term in enumerate(terms):
        for first in range(len(forms) - len(term.forms) + 1):
            last = first + len(term.forms)
            unlike = term.unlike(forms[first:last])
            if unlike is not None:
                start, end = spans[first][0], spans[last - 1][1]
                candidates.append((start - end, start, unlike, number, end))
    chosen: list[tuple[int, int, int]] = []
    for _, start, _, number, end in sorted(candidates):
        if all(end <= other[1] or other[2] <= start for other in chosen):
            chosen.append((number, start, end))
    places = Matcher(terms, "en").find(text)
    assert [tuple(place) for place in places] == sorted(chosen, key=lambda place: place[1])


@given(st.text(max_size=60))
def test_split_leaves_out_only_space_and_joints(text: str) -> None:
    spans = split(text)
    assert all(start < end for start, end in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    kept = {at for start, end in spans for at in range(start, end)}
    assert all(
        text[at].isspace() or text[at] in "-‐‑'’ʼ\x85\x1c\x1d\x1e\x1f"
        for at in range(len(text))
        if at not in kept
    )


@given(st.text(max_size=40), st.sampled_from(["en", "de", "fr", "ko", "az", "hi", "zh", "xx"]))
def test_no_form_holds_a_space_or_is_empty(text: str, language: str) -> None:
    for form in reduce_words(text, language):
        assert all(part and " " not in part for part in form)


@pytest.mark.parametrize(
    ("text", "term", "there"),
    [
        ("Benutzerkonten", "Konto", True),
        ("Kontostand", "Konto", True),
        ("das Adressbuch", "Adresse", True),
        ("alle Eingabefelder", "Eingabefeld", True),
        ("neue Tokenkonten", "Tokenkonto", True),
        ("Ausleihverlauf", "Verlauf", True),
        ("Teilerstattungen", "Erstattung", True),
        ("Kontrolle", "Rolle", False),
        ("Benachrichtigung", "Nachricht", False),
        ("Ballast", "Last", False),
        ("Aktionen", "Akt", False),
        ("Vorbild", "Bild", False),
        ("drucken", "Drucker", False),
        ("Melden Sie sich bitte ab.", "abmelden", True),
        ("Melden Sie sich bitte ab.", "sich abmelden", True),
        ("um sich abzumelden", "abmelden", True),
        ("Er hat sich abgemeldet", "abmelden", True),
        ("Laden Sie die Datei hoch!", "hochladen", True),
        ("Stellen Sie sie wieder her", "wiederherstellen", True),
        ("Stellen Sie sie wieder ab", "wiederherstellen", False),
        ("Melden Sie, was Sie ab heute sehen", "abmelden", False),
        ("Sie melden das", "abmelden", False),
    ],
)
def test_german_compounds_and_verbs_in_two(text: str, term: str, there: bool) -> None:
    assert contains(text, term, "de") is there


def test_compounds_of_other_languages_do_not_count() -> None:
    assert not contains("Benutzerkonten", "Konto", "fr")
    assert not contains("useraccount", "account", "en")


def test_a_remark_in_parentheses_need_not_stand_there() -> None:
    assert contains("des objets appelables", "appelable (*callable*)", "fr")
    assert not contains("des objets", "appelable (*callable*)", "fr")
    assert not contains("anything", "(m.)", "fr")


def test_a_term_with_code_is_compared_with_code() -> None:
    assert contains("La constante :const:`Ellipsis`.", "constante :const:`Ellipsis`", "fr")
    assert not contains("La constante :const:`None`.", "constante :const:`Ellipsis`", "fr")


@pytest.mark.parametrize("term", ["", " ", "-"])
def test_a_term_without_a_word_stands_nowhere(term: str) -> None:
    assert not contains("some text", term, "en")


def test_10_000_sentences_against_50_000_terms_take_less_than_5_seconds() -> None:
    rng = random.Random(3)
    syllables = [consonant + vowel for consonant in "bcdfglmnprstvwz" for vowel in "aeiou"]
    vocabulary = ["".join(rng.choices(syllables, k=rng.randint(2, 4))) for _ in range(4_000)]
    phrases = sorted({" ".join(rng.choices(vocabulary, k=rng.randint(2, 3))) for _ in range(50_000)})
    terms = [*vocabulary[:400], *phrases][:50_000]
    assert len(terms) == 50_000
    sentences = [
        " ".join(rng.choices(vocabulary, k=18) + rng.choices(terms, k=2)) + "." for _ in range(10_000)
    ]
    matcher = Matcher([Term(term, "en") for term in terms], "en")
    began = time.process_time()
    places = sum(len(matcher.find(sentence)) for sentence in sentences)
    assert time.process_time() - began < 5
    assert places > 20_000


def test_a_text_takes_time_by_its_length() -> None:
    matcher = Matcher([Term(" ".join(["a"] * n), "en") for n in range(1, 9)], "en")

    def seconds(words: int) -> float:
        began = time.process_time()
        assert len(matcher.find("a " * words)) == words // 8
        return time.process_time() - began

    assert seconds(40_000) < 8 * max(seconds(10_000), seconds(10_000))
