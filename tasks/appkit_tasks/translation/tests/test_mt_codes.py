"""Language codes: what is written in practice becomes canonical BCP 47, with a name for prompts."""

from __future__ import annotations

import pytest
from appkit_tasks.translation.codes import (
    _table,
    is_right_to_left,
    is_spaceless,
    name_of,
    normalize,
    script_of,
)
from appkit_tasks.translation.languages import COMMON


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("fr", "fr"),
        ("FR", "fr"),
        (" fr_XX ", "fr"),  # mBART
        ("fra", "fr"),
        ("fre", "fr"),
        ("fra_Latn", "fr"),  # FLORES
        ("zho_Hant", "zh-Hant"),
        ("zh-cmn-Hans", "zh-Hans"),
        ("zh-yue", "yue"),
        ("zh_TW", "zh-TW"),
        ("en_US.UTF-8", "en-US"),
        ("en-uk", "en-GB"),
        ("pt_br", "pt-BR"),
        ("es-419", "es-419"),
        ("sr@latin", "sr-Latn"),
        ("sr_RS@latin", "sr-Latn-RS"),
        ("ca@valencia", "ca-valencia"),
        ("de-1996", "de-1996"),
        ("de-CH-1901", "de-CH-1901"),
        ("iw", "he"),
        ("tl", "fil"),
        ("arb", "ar"),
        ("de-u-co-phonebk", "de-u-co-phonebk"),
        ("en-x-pirate", "en-x-pirate"),
        ("xyz", "xyz"),  # well formed; ISO 639-3 has thousands
    ],
)
def test_normalize(written: str, code: str) -> None:
    assert normalize(written) == code
    assert normalize(code) == code


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("French", r"must be a language code of BCP 47 such as fr or pt-BR, got 'French'; write fr\Z"),
        ("brazilian portuguese", r"got 'brazilian portuguese'\Z"),
        ("xx", "got 'xx'"),
        ("und", "got 'und'"),
        ("", "got ''"),
        ("de de", "got 'de de'"),
        ("fr-", "got 'fr-'"),
        ("de\nfr", r"got 'de\\nfr'"),
    ],
)
def test_what_is_no_code_is_refused(written: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        normalize(written)


def test_a_long_code_is_shown_short() -> None:
    with pytest.raises(ValueError, match=r"got 'a{79}…") as error:
        normalize("a" * 9000)
    assert len(str(error.value)) < 200


def test_the_table_is_canonical() -> None:
    languages, codes = _table()
    assert len(languages) > 250
    for code, (name, script) in languages.items():
        assert normalize(code) == code
        assert name[0].isupper()
        assert len(script) == 4
        assert normalize(f"{code}-{script}").partition("-")[0] == code
    assert len({language.name for language in languages.values()}) == len(languages)
    for code in codes.values():
        assert code in languages
    assert {normalize(code) for code in COMMON} == {*COMMON} <= languages.keys()


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("fr", "French"),
        ("fr-FR", "French"),
        ("ja-JP", "Japanese"),
        ("pt-BR", "Brazilian Portuguese"),
        ("en-GB", "British English"),
        ("zh-Hant", "Traditional Chinese"),
        ("zh-CN", "Simplified Chinese"),
        ("zh-Hant-HK", "Traditional Chinese (HK)"),
        ("sr-Latn", "Serbian (Latin)"),
        ("ar-MA", "Arabic (MA)"),
        ("de-u-co-phonebk", "German"),
        ("xyz", "xyz"),
    ],
)
def test_names(code: str, name: str) -> None:
    assert name_of(code) == name


def test_scripts() -> None:
    codes = ["fr", "zh-TW", "zh", "zh-CN", "sr-Latn", "sr", "hi", "ja", "de-1996", "xyz"]
    expected = ["Latn", "Hant", "Hani", "Hans", "Latn", "Cyrl", "Deva", "Jpan", "Latn", ""]
    assert [script_of(code) for code in codes] == expected


def test_traits() -> None:
    codes = [*_table()[0], "az-Arab", "zh-TW"]
    assert {code for code in codes if is_spaceless(code)} == {
        "zh", "zh-TW", "ja", "th", "lo", "km", "my", "yue", "wuu", "nan",
    }  # fmt: skip
    right_to_left = {code for code in codes if is_right_to_left(code)}
    assert right_to_left > {"ar", "fa", "he", "ur", "yi", "ps", "ug", "ckb", "sd", "dv", "syr", "az-Arab"}
    assert not right_to_left & {"az", "hi", "ku", "ms", "tr", "en"}
