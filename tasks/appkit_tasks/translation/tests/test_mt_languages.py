"""Which language a text is in: by its script, by py3langid, and not at all where names and code are all there is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from appkit_tasks.translation import ngrams
from appkit_tasks.translation.languages import COMMON, find_other_language, identify, identify_all
from appkit_tasks.translation.scripts import SIMPLIFIED, TRADITIONAL, find_plain_words
from hypothesis import given, settings
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

SHARED = Path(__file__).parents[5] / "shared" / "data" / "translation"
SENTENCES = {
    "en": "The file could not be opened because it is damaged.",
    "fr": "Le fichier n'a pas pu être ouvert parce qu'il est endommagé.",
    "de": "Die Datei konnte nicht geöffnet werden, weil sie beschädigt ist.",
    "es": "No se ha podido abrir el archivo porque está dañado.",
    "pt-BR": "Não foi possível abrir o arquivo porque ele está danificado.",
    "pl": "Nie można otworzyć pliku, ponieważ jest uszkodzony.",
    "tr": "Dosya bozuk olduğu için açılamadı.",
    "ru": "Не удалось открыть файл, потому что он повреждён.",
    "uk": "Не вдалося відкрити файл, тому що він пошкоджений.",
    "ar": "تعذر فتح الملف لأنه تالف ولا يمكن قراءته، وقد يكون من الأفضل استعادة نسخة سابقة منه.",
    "fa": "فایل باز نشد زیرا آسیب دیده است و خوانده نمی‌شود.",
    "hi": "फ़ाइल खोली नहीं जा सकी क्योंकि वह क्षतिग्रस्त है।",
    "ja": "ファイルが壊れているため、開くことができませんでした。",
    "zh-CN": "无法打开文件，因为它已损坏。请从备份中恢复这个文件，然后再试一次。",
    "zh-TW": "無法開啟檔案，因為它已損壞。請從備份中還原這個檔案，然後再試一次。",
    "ko": "파일이 손상되어 열 수 없습니다.",
    "th": "ไม่สามารถเปิดไฟล์ได้เนื่องจากไฟล์เสียหาย",
}


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_told_from_those_of_all_others(code: str) -> None:
    assert identify(SENTENCES[code], [*SENTENCES]) == code


@pytest.mark.parametrize(
    ("text", "among", "expected"),
    [
        ("", ("en", "fr"), None),
        ("OK", ("en", "fr"), None),
        ("42 %", ("en", "fr"), None),
        ("%s: {name} <b></b> https://example.com/the/way/of/all", ("en", "fr"), None),
        ("Visual Studio Code", ("en", "hi"), None),  # a name, not English
        ("FreeBSD NFS SMB", ("en", "fr"), None),
        ("git commit --amend -m", ("en", "fr"), None),
        ("`while the loop runs and runs`", ("en", "fr"), None),
        ("Der Microsoft Windows Server Update Service ist nicht erreichbar.", ("en", "de"), "de"),
        ("GitHub Desktop खोलें और Settings पर क्लिक करें", ("en", "hi"), "hi"),
        ("Open the settings page and click there", ("en", "hi"), "en"),
        ("使用Git提交更改到远程仓库，这个操作不能撤销", ("en", "zh"), "zh"),
        ("ENREGISTREZ LE FICHIER AVANT DE QUITTER", ("en", "fr"), "fr"),
        ("{n, plural, one {# occurrence remplacée} other {# occurrences remplacées}}", ("en", "fr"), "fr"),
        ("The colour of the theatre is not known", ("en-US", "en-GB"), None),
        ("Podaci su sačuvani", ("sr-Latn", "sr"), "sr-Latn"),
        ("Подаци су сачувани", ("sr-Latn", "sr"), "sr"),
        ("保存", ("ja", "zh"), None),
        ("接続設定を変更後に再起動が必要", ("en", "zh"), "und-Hani"),  # Japanese has Han letters too
        ("Привет, как дела?", ("en", "fr"), "und-Cyrl"),
        ("Open the settings page and click there", ("ru", "hi"), "und-Latn"),
        ("Die Datei wurde gespeichert und geschlossen", ("hsb", "de"), None),  # the model knows no Sorbian
    ],
)
def test_identify(text: str, among: tuple[str, ...], expected: str | None) -> None:
    assert identify(text, among) == expected


def test_many_texts_give_what_each_gives() -> None:
    texts = [*SENTENCES.values(), "", "OK", *(text[:9] for text in SENTENCES.values())]
    codes = [*SENTENCES]
    assert identify_all(texts, codes) == [identify(text, codes) for text in texts]


@pytest.mark.parametrize("expected", SENTENCES)
def test_another_language_is_found(expected: str) -> None:
    others = find_other_language([*SENTENCES.values()], expected)
    for code, other in zip(SENTENCES, others, strict=True):
        base = code.partition("-")[0]
        if base == expected.partition("-")[0]:
            continue
        if base in COMMON:
            assert other == base
        else:  # what stands nearest to it among COMMON, or its script
            nearest = {"fa": None if expected == "ar" else "ar", "hi": "und-Deva", "th": "und-Thai"}
            assert other == nearest[base]
    assert others[[*SENTENCES].index(expected)] is None


def test_names_in_a_translation_are_no_other_language() -> None:
    texts = ["Amazon Simple Storage Service", "PostgreSQL", "Python 3.12 (CPython)", "--verbose"]
    for expected in ("fr", "hi", "ja", "ru"):
        assert find_other_language(texts, expected) == [None] * 4


def test_plain_words() -> None:
    text = "The Foo `bar baz` of NASA, l'homme isn't <b class='some thing'>here</b> v2 foo_bar a.b --opt {n} x=y."
    assert find_plain_words(text) == "the of l homme isn t here"
    assert find_plain_words("LIRE LA SUITE") == "lire la suite"
    assert find_plain_words("使用Git提交") == "使用 提交"


def test_signs_of_simplified_and_traditional_chinese() -> None:
    assert not SIMPLIFIED & TRADITIONAL
    assert len(SIMPLIFIED) == len(TRADITIONAL) > 40


@pytest.fixture(scope="module")
def reference() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(["en", "de", "fr", "sr", "zh"])  # sr has two columns
    return identifier


@settings(deadline=None)
@given(
    st.lists(st.text(alphabet="abc the und это这 é\u0301ÀŁ.\U0001f600", min_size=1), min_size=1, max_size=6)
)
def test_scores_are_those_of_py3langid(reference: LanguageIdentifier, texts: list[str]) -> None:
    labels = ["sr", "en", "zh", "de", "fr"]
    rows = ngrams.score([ngrams.encode(text) for text in texts], labels)
    for text, row in zip(texts, rows, strict=True):
        scores = dict(reference.rank(text))
        if min(scores.values()) > -1e30:  # py3langid gives texts without n-grams no score
            np.testing.assert_allclose(row, [scores[label] for label in labels], rtol=1e-4)


def test_sentences_score_as_in_py3langid(reference: LanguageIdentifier) -> None:
    texts = [*SENTENCES.values()]
    rows = ngrams.score([ngrams.encode(text) for text in texts], ["en", "de", "fr"])
    assert rows.shape == (len(texts), 3)
    for text, row in zip(texts, rows, strict=True):
        scores = dict(reference.rank(text))
        np.testing.assert_allclose(row, [scores[label] for label in ("en", "de", "fr")], rtol=1e-4)


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(ValueError, match="detector must be one of py3langid, lingua, got 'cld3'"):
        identify("text", ("en", "fr"), detector="cld3")


def test_lingua_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    with pytest.raises(
        ValueError, match=r"language_detector=lingua needs lingua; pip install 'appkit\[lingua\]'"
    ):
        identify(SENTENCES["fr"], ("en", "fr", "da"), detector="lingua")


def test_lingua_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Language(NamedTuple):
        iso_code_639_1: SimpleNamespace

        def __hash__(self) -> int:
            return hash(self.iso_code_639_1.name)

    languages = [Language(SimpleNamespace(name=name)) for name in ("EN", "FR", "NB")]
    shares = {"sure": [0.95, 0.05], "unsure": [0.6, 0.4]}

    class Builder:
        @staticmethod
        def from_languages(*chosen: Language) -> Builder:
            assert [language.iso_code_639_1.name for language in chosen] == ["EN", "FR"]
            return Builder()

        def build(self) -> Builder:
            return self

        def compute_language_confidence_values(self, text: str) -> list[SimpleNamespace]:
            return [
                SimpleNamespace(language=language, value=share)
                for language, share in zip(languages, shares[text], strict=False)
            ]

    fake = ModuleType("lingua")
    fake.Language = SimpleNamespace(all=lambda: languages)  # type: ignore[attr-defined]
    fake.LanguageDetectorBuilder = Builder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lingua", fake)
    from appkit_tasks.translation import languages as module

    module._lingua.cache_clear()
    try:
        assert identify_all(["sure", "unsure"], ("fr", "en-GB"), detector="lingua") == ["en-GB", None]
        assert identify_all(["sure"], ("fr", "xyz"), detector="lingua") == [None]
    finally:
        module._lingua.cache_clear()


def test_lingua_itself_tells_languages_apart() -> None:
    pytest.importorskip("lingua")
    texts = [SENTENCES["fr"], SENTENCES["de"], "OK"]
    assert identify_all(texts, ("en", "fr", "de"), detector="lingua") == ["fr", "de", None]
    # among the usual rivals, of which lingua knows Norwegian by another name
    assert find_other_language(texts, "fr", detector="lingua") == [None, "de", None]


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not on this machine")
@pytest.mark.parametrize("name", ["pydocs_en_fr", "debian_desc_en_de", "tico19_en_hi"])
def test_human_translations_are_told(name: str) -> None:
    lines = (SHARED / name / "train.jsonl").read_text(encoding="utf-8").splitlines()[:1500]
    rows = [json.loads(line) for line in lines]
    among = (rows[0]["src_lang"], rows[0]["tgt_lang"])
    for side, expected in zip(("src", "tgt"), among, strict=True):
        named = identify_all([row[side] for row in rows], among)
        wrong = sum(code not in (None, expected) for code in named)
        assert wrong <= 2
        assert sum(code is None for code in named) < 0.1 * len(rows)
        assert sum(map(bool, find_other_language([row[side] for row in rows], expected, COMMON))) <= 4
