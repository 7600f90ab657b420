"""Says in which script a text is written, and which of its words show a language.

Most wrong answers of language detectors are names and code in a text; both are left out before one is asked.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from functools import lru_cache

from appkit_tasks.translation.codes import script_of

__all__ = ["BYTES", "find_plain_words", "plausible"]

BYTES = 120
"""read of a text; where it is longer, no fewer are named wrongly (measured at 120, 200 and 400)"""

LATIN_LETTERS, LATIN_WORDS = 12, 3
"""of Latin text where another script is due; fewer are names"""

RANGES = (
    (0x41, "Latn"), (0x250, "Latn"), (0x300, ""), (0x370, "Grek"), (0x400, "Cyrl"), (0x530, "Armn"), (0x590, "Hebr"),
    (0x600, "Arab"), (0x700, "Syrc"), (0x750, "Arab"), (0x780, "Thaa"), (0x7C0, "Nkoo"), (0x800, ""), (0x8A0, "Arab"),
    (0x900, "Deva"), (0x980, "Beng"), (0xA00, "Guru"), (0xA80, "Gujr"), (0xB00, "Orya"), (0xB80, "Taml"),
    (0xC00, "Telu"), (0xC80, "Knda"), (0xD00, "Mlym"), (0xD80, "Sinh"), (0xE00, "Thai"), (0xE80, "Laoo"),
    (0xF00, "Tibt"), (0x1000, "Mymr"), (0x10A0, "Geor"), (0x1100, "Hang"), (0x1200, "Ethi"), (0x13A0, "Cher"),
    (0x1400, "Cans"), (0x1680, ""), (0x1780, "Khmr"), (0x1800, "Mong"), (0x18B0, "Cans"), (0x1900, ""),
    (0x1C50, "Olck"), (0x1C80, "Cyrl"), (0x1C90, "Geor"), (0x1CC0, ""), (0x1E00, "Latn"), (0x1F00, "Grek"),
    (0x2000, ""), (0x2C60, "Latn"), (0x2C80, "Copt"), (0x2D00, "Geor"), (0x2D30, "Tfng"), (0x2D80, "Ethi"),
    (0x2DE0, "Cyrl"), (0x2E00, ""), (0x3040, "Kana"), (0x3100, "Hani"), (0x3130, "Hang"), (0x3190, ""),
    (0x31F0, "Kana"), (0x3200, ""), (0x3400, "Hani"), (0xA000, ""), (0xA640, "Cyrl"), (0xA6A0, ""), (0xA720, "Latn"),
    (0xA800, ""), (0xA8E0, "Deva"), (0xA900, ""), (0xAA60, "Mymr"), (0xAA80, ""), (0xAB00, "Ethi"), (0xAB30, "Latn"),
    (0xAB70, "Cher"), (0xABC0, ""), (0xAC00, "Hang"), (0xD7B0, ""), (0xF900, "Hani"), (0xFB00, "Latn"),
    (0xFB13, "Armn"), (0xFB1D, "Hebr"), (0xFB50, "Arab"), (0xFE00, ""), (0xFE70, "Arab"), (0xFF00, ""),
    (0xFF66, "Kana"), (0xFFA0, "Hang"), (0xFFE0, ""), (0x1E900, "Adlm"), (0x1E960, ""), (0x20000, "Hani"),
)  # fmt: skip
"""first code point of each script (Unicode blocks), letters of one script each"""
STARTS = [start for start, _ in RANGES]

MARKUP = re.compile(r"(?::[\w-]+:)?`+[^`]*`+|</?[A-Za-z][^<>]*>|&[A-Za-z]{1,20};")
ICU = re.compile(
    r"\{\s*\w+\s*,\s*(?:plural|select|selectordinal)\s*,|(?:zero|one|two|few|many|other|=\d+)\s*\{"
)
NOT_LATIN = re.compile("[^\\W\\d_A-Za-z\u00aa\u00b5\u00ba\u00c0-\u02ff\u1e00-\u1eff]")
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]+")
"""what is written without space between words: a name in Latin letters inside is a word of its own"""
CODE = re.compile(r"[\d_/\\`@=<>{}#$%+*|~^]|\w\.\w")
AROUND = ".,:;!?()[]\"'«»„“”‘’‚‹›–—¿¡…"

SIMPLIFIED = frozenset(
    "们个这来时说对为国会发过学见开关书长问间门头实电动点现应员机业东车马风语请读写进远边运还无与从"
)
TRADITIONAL = frozenset(
    "們個這來時說對為國會發過學見開關書長問間門頭實電動點現應員機業東車馬風語請讀寫進遠邊運還無與從"
)


def find_plain_words(text: str) -> str:
    """Returns the words of a text that show its language: not code, acronyms and names, which translations keep."""
    text = text[: 4 * BYTES]
    if text.isupper():
        text = text.lower()
    if "`" in text or "<" in text or "&" in text:
        text = MARKUP.sub(" ", text)
    if "{" in text and ICU.search(text):
        text = ICU.sub(" ", text).replace("}", " ").replace("#", " ")
    if text.isascii() or not NOT_LATIN.search(text):
        words = text.replace("'", " ").replace("’", " ").split()
        plain = [bare for word in words if (bare := word.strip(AROUND)).islower() and bare.isalpha()]
        first = words[0].strip(AROUND) if words else ""
        if first.isalpha() and first[1:].islower() and not first.islower():
            plain.insert(0, first.lower())
    else:
        words = UNSPACED.sub(r" \g<0> ", text).split()
        plain = [
            word
            for place, word in enumerate(words)
            if not CODE.search(word) and (not place or not _is_name(word))
        ]
    return " ".join(plain)[:BYTES]


def _is_name(word: str) -> bool:
    return word.strip(AROUND)[:1].isupper()


def plausible(words: str, codes: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
    """Returns which normalized codes the script of plain words allows, or `und-Cyrl` if it is that of none.

    Both are empty where the words show nothing: those in Latin letters may be names in a text of any other script.
    """
    latin, other = _in_latin(codes)
    if not NOT_LATIN.search(words):
        letters = len(words) - words.count(" ")
        enough = letters >= LATIN_LETTERS and words.count(" ") >= LATIN_WORDS - 1
        return (latin, other) if enough or (letters and len(latin) == len(codes)) else ((), None)
    counts = _count_scripts(words)
    total = counts.total()
    least = max(1, 0.25 * total)
    scripts = {script for script in _scripts(codes) if _count_letters(script, counts) >= least}
    if scripts or not total:
        return tuple(code for code in codes if script_of(code) in scripts), None
    script, letters = max(counts.items(), key=lambda item: item[1])
    if script == "Latn":
        return (latin, other) if letters >= max(LATIN_LETTERS, 0.9 * total) else ((), None)
    return (), f"und-{script}" if letters >= max(4, total / 2) else None


@lru_cache(maxsize=256)
def _in_latin(codes: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
    latin = tuple(code for code in codes if script_of(code) == "Latn")
    return latin, None if latin else "und-Latn"


@lru_cache(maxsize=256)
def _scripts(codes: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(script_of, codes)) - {"Latn"}


def _count_scripts(text: str) -> Counter[str]:
    counts = Counter(map(_script, text))
    del counts[""]
    if counts["Hani"]:
        simplified = sum(character in SIMPLIFIED for character in text)
        traditional = sum(character in TRADITIONAL for character in text)
        if max(simplified, traditional) >= 2 * min(simplified, traditional) + 2:
            counts["Hans" if simplified > traditional else "Hant"] = 0  # marks, not letters
    return counts


@lru_cache(maxsize=1 << 14)
def _script(character: str) -> str:
    """Returns the script of a letter; empty for any other character."""
    place = bisect_right(STARTS, ord(character)) - 1
    return RANGES[place][1] if place >= 0 and character.isalpha() else ""


def _count_letters(script: str, counts: Counter[str]) -> int:
    """Counts the letters that belong to a script; Japanese and Korean text has Han letters in it."""
    han, kana, hangul = counts["Hani"], counts["Kana"], counts["Hang"]
    if script == "Jpan":  # a label may have no kana, a sentence has
        return han + kana if kana * 10 >= han or han < 12 else 0
    if script == "Kore":
        return han + hangul if hangul * 10 >= han else 0
    if script in ("Hani", "Hans", "Hant"):
        other = {"Hans": "Hant", "Hant": "Hans"}.get(script)
        return 0 if other in counts or kana * 20 > han else han
    return counts[script]
