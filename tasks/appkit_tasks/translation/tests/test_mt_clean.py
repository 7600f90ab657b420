"""What is found wrong with pairs, one at a time and among others."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from appkit_tasks.translation.clean import BATCH, KINDS, Finding, Pair, check_pair, check_pairs
from hypothesis import given, settings
from hypothesis import strategies as st

SHARED = Path(__file__).parents[5] / "shared" / "data" / "translation"
ENGLISH = "The file could not be opened because it is damaged."
FRENCH = "Le fichier n'a pas pu être ouvert parce qu'il est endommagé."


def kinds(findings: list[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


@pytest.mark.parametrize(
    ("source", "target", "languages"),
    [
        (ENGLISH, FRENCH, "en fr"),
        ("OK", "OK", "en fr"),
        ("Visual Studio Code", "Visual Studio Code", "en fr"),
        ("%s", "%s", "en fr"),
        ("Save", "Enregistrer sous un autre nom", "en fr"),  # short: its length says nothing
        ("The colour of the theatre", "The color of the theater", "en-GB en-US"),
        ("Open the file and save it", "फ़ाइल खोलें और उसे सहेजें", "en hi"),
        ("The file was not found.", "הקובץ לא נמצא.", "en he"),
        ("Line one\r\nLine two", "Première ligne\nDeuxième ligne", "en fr"),
        ("a < b", "a < b", "en fr"),
        ("Tom &amp; Jerry were here", "Tom &amp; Jerry étaient là", "en fr"),
        ("Please wait…", "Veuillez patienter\u202f…", "en fr"),
        ("to the theatre", "jusqu'à\u00a0Â, âge", "en fr"),
        ("good night", "नमस्ते\u200dक", "en hi"),
    ],
)
def test_nothing_is_wrong(source: str, target: str, languages: str) -> None:
    assert check_pair(source, target, *languages.split()) == []


@pytest.mark.parametrize(
    ("source", "target", "kind", "reason"),
    [
        ("", FRENCH, "empty", "source is empty"),
        (ENGLISH, " \t\u200b\n", "empty", "target is empty"),
        (ENGLISH, ENGLISH, "identical", f"target is the source: {ENGLISH!r}"),
        (ENGLISH, ENGLISH.upper(), "identical", f"target is the source: {ENGLISH.upper()!r}"),
        (
            ENGLISH,
            "Die Datei konnte nicht geöffnet werden, weil sie beschädigt ist.",
            "language",
            "target is written in German, not in French: "
            "'Die Datei konnte nicht geöffnet werden, weil sie beschädigt ist.'",
        ),
        (
            FRENCH,
            FRENCH.replace("fichier", "document"),
            "language",
            f"source is written in French, not in English: {FRENCH!r}",
        ),
        (
            ENGLISH,
            "Не удалось открыть файл, потому что он повреждён.",
            "language",
            "target is written in Russian, not in French: 'Не удалось открыть файл, потому что он повреждён.'",
        ),
        (
            ENGLISH,
            "ไม่สามารถเปิดไฟล์ได้เนื่องจากไฟล์เสียหาย",
            "language",
            "target is written in the script Thai, not in French: 'ไม่สามารถเปิดไฟล์ได้เนื่องจากไฟล์เสียหาย'",
        ),
        (
            ENGLISH * 3,
            "Le fichier est là.",
            "ratio",
            "target has 18 characters, about 187 are usual for 153 of the source (-10.5 deviations)",
        ),
        ("Copy %s to {name}", "Copier vers {nom}", "protected", "target lost %s, {name}; added {nom}"),
        (
            ENGLISH,
            FRENCH.replace("ê", "Ãª"),
            "debris",
            "target has text decoded wrongly: ' pas pu Ãªtre ouve'",
        ),
        (
            ENGLISH,
            FRENCH.replace("'", "â€™"),
            "debris",
            "target has text decoded wrongly: 'ichier nâ€™a pas pu'",
        ),
        (ENGLISH, "Ð¤Ð°Ð¹Ð» Ð½Ðµ Ð¾Ñ‚ÐºÑ€Ñ‹Ñ‚", "debris", "target has text decoded wrongly: 'Ð¤Ð°Ð¹Ð» Ð½Ð'"),
        (
            ENGLISH,
            "Le fichier est endommag\ufffd.",
            "debris",
            "target has a replacement character (U+FFFD) at character 23",
        ),
        (
            ENGLISH,
            "Le fi\u00adchier est endommagé.",
            "debris",
            "target has a soft hyphen (U+00AD) at character 5",
        ),
        ("\ufeff" + ENGLISH, FRENCH, "debris", "source has a byte order mark (U+FEFF) at character 0"),
        (ENGLISH, FRENCH + "\x00", "debris", "target has a control character (U+0000) at character 60"),
        (ENGLISH, FRENCH + "\ud800", "debris", "target has a control character (U+D800) at character 60"),
        (
            ENGLISH,
            FRENCH + " &amp;nbsp;",
            "debris",
            "target has a doubly escaped or cut entity: '&amp;nbsp;'",
        ),
        (ENGLISH, FRENCH + " &lt b", "debris", "target has a doubly escaped or cut entity: '&lt'"),
        (ENGLISH, FRENCH + ' <a href="x', "debris", "target has cut markup: '<a href=\"x'"),
        (ENGLISH, 'href="x">' + FRENCH, "debris", "target has cut markup: 'href=\"x\">'"),
        (ENGLISH, FRENCH + " :class:`a", "debris", "target has cut markup: ':class:`a'"),
        (ENGLISH, FRENCH + "_x000D_", "debris", "target has cut markup: '_x000D_'"),
        ("One\nTwo\r\nThree\rFour", "Un\nDeux", "newline", "source has 3 line breaks, target 1"),
        (ENGLISH * 99, FRENCH * 99, "long", "source has 5049 characters, more than 5000"),
    ],
)
def test_what_is_wrong(source: str, target: str, kind: str, reason: str) -> None:
    findings = check_pair(source, target, "en", "fr")
    assert Finding(kind, reason) in findings
    others = {"language", "protected", "ratio"} if kind in {"debris", "language"} else set()
    others |= {"ratio"} if kind in {"newline", "protected"} else set()
    assert set(kinds(findings)) - {kind} <= others


def test_findings_are_one_line_of_known_kinds() -> None:
    bad = "a\nb\ufffd<b> %s" * 800
    findings = check_pair(bad, bad.replace("%s", "%d"), "en", "fr")
    assert set(kinds(findings)) == {"long", "debris", "protected"}
    for finding in findings:
        assert finding.kind in KINDS
        assert "\n" not in finding.reason
        assert len(finding.reason) < 250


def pairs(count: int, ratio: int = 1) -> list[Pair]:
    return [(f"{ENGLISH} {number}", f"{FRENCH * ratio} {number}", "en", "fr") for number in range(count)]


def test_duplicates_and_second_translations() -> None:
    rows = pairs(3)
    rows += [rows[1], (rows[0][0], f"{FRENCH} !", "en", "fr"), (rows[0][0], rows[0][1], "en", "fr-CA")]
    assert list(check_pairs(rows)) == [
        (3, [Finding("duplicate", "the same pair stands in row 2")]),
        (4, [Finding("many_targets", "the same source stands in row 1 with another target")]),
    ]


def test_rows_are_read_once_and_counted_over_batches() -> None:
    rows = iter([*pairs(BATCH + 3), *pairs(2)])
    checked = list(check_pairs(rows))
    assert [number for number, _ in checked] == [BATCH + 3, BATCH + 4]
    assert [kinds(findings) for _, findings in checked] == [["duplicate"], ["duplicate"]]


def test_the_usual_length_is_that_of_the_direction() -> None:
    long_targets = pairs(300, ratio=3)
    assert kinds(check_pair(*long_targets[0])) == ["ratio"]
    assert list(check_pairs(long_targets)) == []
    odd = ("The file is not here, it was there " * 3, "Le fichier.", "en", "fr")
    ((number, findings),) = check_pairs([*long_targets, odd])
    assert (number, kinds(findings)) == (300, ["ratio"])


def test_a_shifted_file_is_not_taken_for_usual() -> None:
    sizes = [1 + number * 7 % 5 for number in range(400)]
    rows = [(f"{ENGLISH} " * size, f"{FRENCH} " * size, "en", "fr") for size in sizes]
    shifted = [(row[0], following[1], "en", "fr") for row, following in pairwise(rows)]
    kinds_of = [kinds(findings) for _, findings in check_pairs(shifted)]
    assert sum("ratio" in names for names in kinds_of) > 100
    assert not any("ratio" in kinds(findings) for _, findings in check_pairs(rows))


def test_limits_can_be_set() -> None:
    assert kinds(check_pair(ENGLISH, FRENCH, "en", "fr", longest=52)) == ["long"]
    assert kinds(check_pair(ENGLISH, "Fichier endommagé.", "en", "fr", deviations=2)) == ["ratio"]
    spanish = "No se ha podido abrir el archivo porque está dañado."
    assert [kinds(findings) for _, findings in check_pairs([(ENGLISH, spanish, "en", "fr")])] == [
        ["language"]
    ]
    with pytest.raises(ValueError, match="detector must be one of"):
        check_pair(ENGLISH, FRENCH, "en", "fr", detector="none")


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.text(), st.text(), st.sampled_from(["en", "zh-TW", "xyz"]), st.sampled_from(["fr", "ar", "ja"])
        ),
        max_size=5,
    )
)
def test_any_text_is_checked(rows: list[Pair]) -> None:
    checked = list(check_pairs(rows))
    assert checked == list(check_pairs(iter(rows)))
    for number, findings in checked:
        assert rows[number]
        assert {finding.kind for finding in findings} <= KINDS.keys()


def test_a_long_segment_is_checked() -> None:
    source, target = (f"{ENGLISH} " * 1000, f"{FRENCH} " * 1000)
    assert kinds(check_pair(source, target, "en", "fr", longest=10**6)) == []
    assert kinds(check_pair(source, target, "en", "fr")) == ["long", "long"]


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not on this machine")
@pytest.mark.parametrize(("name", "most"), [("debian_desc_en_de", 16), ("tico19_en_hi", 3)])
def test_human_translations_have_few_findings(name: str, most: int) -> None:
    lines = (SHARED / name / "train.jsonl").read_text(encoding="utf-8").splitlines()[:4000]
    rows = [(row["src"], row["tgt"], row["src_lang"], row["tgt_lang"]) for row in map(json.loads, lines)]
    counts = Counter(kind for _, findings in check_pairs(rows) for kind in kinds(findings))
    assert counts.total() <= most
    shifted = [(row[0], following[1], *row[2:]) for row, following in pairwise(rows)]
    assert sum(1 for _ in check_pairs(shifted)) > len(rows) / 6


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not on this machine")
def test_a_shifted_document_is_found() -> None:
    lines = (SHARED / "tico19_en_fr" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    checked = check_pairs((row["src"], row["tgt"], row["src_lang"], row["tgt_lang"]) for row in rows)
    documents = Counter(rows[number]["doc"] for number, findings in checked if "ratio" in kinds(findings))
    assert documents.most_common(1)[0][0] == "PubMed_8"  # its French side is that of other sentences
    assert documents["PubMed_8"] > 0.9 * documents.total()
