"""Brings back what a translation lost, where it is certain, and cuts what a model wrote after the translation."""

from __future__ import annotations

import re

from appkit_tasks.translation.grammar import pattern
from appkit_tasks.translation.protected import Span, compare, find, key_of
from appkit_tasks.translation.scripts import find_plain_words

__all__ = ["mend", "pattern", "trim"]

GAP = "[\\s\u00a0\u202f\u200b]*"
VARIANTS = {
    "%": "[%％]", "{": "[{｛]", "}": "[}｝]", "(": "[(（]", ")": "[)）]", "<": "[<＜‹]", ">": "[>＞›]", "/": "[/／]",
    "&": "[&＆]", ";": "[;；]", ":": "[:：]", "$": "[$＄]", "@": "[@＠]", "=": "[=＝]", ".": "[.．]", "#": "[#＃]",
    "`": "[`´‘’｀]", "*": "[*＊]", "\\": "[\\\\＼]", "[": "[\\[［]", "]": "[\\]］]", "!": "[!！]", ",": "[,，]",
    "-": "[-‐‑–]", '"': "[\"'“”„«»″＂]", "'": "[\"'‘’‚‹›′＇]",
}  # fmt: skip
"""signs as keyboards, word processors and translators into Chinese or Japanese write them"""

QUOTES = {
    '"': '"', "“": "”", "„": "“”", "«": "»", "»": "«", "'": "'", "‘": "’", "‚": "‘’", "「": "」",
    "『": "』",
    "`": "`",
}  # fmt: skip
"""opening sign -> those that close it"""

LONGEST_LABEL = 60
"""characters of a line such as `Here is the translation:`"""

NOTE = re.compile(
    r"(?:^|(?<=[.!?。\n)])[ \t]*|[ \t]+(?=\())[(\[*_]{0,3}(?:translator['’]s )?"
    r"(?:notes?|n\.b\.|explanation|remarques?|note du traducteur|hinweis|anmerkung(?: des übersetzers)?|nota"
    r"|注|注释|备注)"
    r"[*_]{0,2}[\s\u00a0\u202f]?[:：]",
    re.IGNORECASE | re.MULTILINE,
)
PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
COLONS = (":", "：")
COPIED_WORDS = 3
"""words of a source that is recognized in the answer"""
DOUBLED = 12
"""characters of a translation that is recognized when it follows itself"""


def mend(source: str, target: str) -> str | None:
    """Returns the target with what it lost put right, or None where that is not certain.

    Mends spaces inside a placeholder (`% s`), signs of another width (`％s`), case (`<B>`), quotes of attributes, and
    line breaks at the ends. It is certain where all that looks so is put right and then nothing differs any more.
    """
    mended = _copy_edges(source, target)
    lost = {span.text: span for span in compare(source, mended).missing}
    for text, span in lost.items():
        for start, end in reversed(_find_damaged(source, mended, span)):
            mended = mended[:start] + text + mended[end:]
    if compare(source, mended) or source.count("\n") != mended.count("\n"):
        return None
    return mended


def _copy_edges(source: str, target: str) -> str:
    """Gives the target the line breaks at the source's ends."""
    if not source.strip("\r\n") or not target.strip("\r\n"):
        return target
    head = source[: len(source) - len(source.lstrip("\r\n"))]
    return head + target.strip("\r\n") + source[len(source.rstrip("\r\n")) :]


def _find_damaged(source: str, target: str, lost: Span) -> list[tuple[int, int]]:
    """Finds what may be a lost span in the target, where no span is that the source has too."""
    keys = {key_of(span) for span in find(source)}
    whole = [span for span in find(target) if key_of(span) in keys]
    damaged = []
    for match in _damage(source, lost).finditer(target):
        if all(match.end() <= span.start or span.end <= match.start() for span in whole):
            damaged.append(match.span())
    return damaged


def _damage(source: str, span: Span) -> re.Pattern[str]:
    """Compiles a pattern of how a span may look after a word processor or a model had it."""
    parts: list[str] = []
    for before, sign in zip(" " + span.text, span.text, strict=False):
        if sign.isspace():
            parts.append("[\\s\u00a0\u202f]+")
            continue
        if parts and not before.isspace() and not (before.isalnum() and sign.isalnum()):
            parts.append(GAP)
        parts.append(VARIANTS.get(sign, re.escape(sign)))
    head = tail = ""
    if span.kind == "printf" and not source[: span.start].rstrip()[-1:].isdigit():
        head = r"(?<!\d)(?<!\d[ \u00a0\u202f])"  # 100 % sure holds no %s
    if span.text[-1].isalnum() and not source[span.end : span.end + 1].isalnum():
        tail = r"(?![^\W_])"
    case_matters = span.kind == "printf" and "(" not in span.text  # %y and %Y
    return re.compile(head + "".join(parts) + tail, re.NOFLAG if case_matters else re.IGNORECASE)


def trim(source: str, answer: str) -> str:
    """Cuts an answer at the end of the translation of `source`; an answer that is only a translation stays as it is.

    Cut are a label before it, more paragraphs (or, of a source of one line, more lines) than the source has, a note,
    the source once more, the translation once more, and quotes around the whole.
    """
    text = answer.strip()
    label, _, rest = text.partition("\n")
    breaks = source.strip().count("\n")
    if len(label) <= LONGEST_LABEL and label.rstrip().endswith(COLONS) and rest.count("\n") >= breaks:
        first = source.strip().partition("\n")[0]
        text = text if first.rstrip().endswith(COLONS) else rest.strip()
    text = (
        _cut_paragraphs(text, len(PARAGRAPH.split(source.strip())))
        if breaks
        else text.partition("\n")[0].rstrip()
    )
    text = _cut_note(source, text)
    text = _cut_copy(source, text)
    text = _unquote(source, text)
    return answer if text == answer.strip() or not text else text


def _cut_paragraphs(text: str, count: int) -> str:
    for place, gap in enumerate(PARAGRAPH.finditer(text), 1):
        if place == count:
            return text[: gap.start()]
    return text


def _cut_note(source: str, text: str) -> str:
    """Cuts a note of the translator; a source with a note of its own keeps it."""
    note = NOTE.search(text)
    return text if note is None or not note.start() or NOTE.search(source) else text[: note.start()].rstrip()


def _cut_copy(source: str, text: str) -> str:
    """Cuts the source where it follows its translation, and a translation that follows itself."""
    copied = source.strip()
    # a name may well stand in its translation; a sentence does not
    at = text.find(copied) if len(find_plain_words(copied).split()) >= COPIED_WORDS else -1
    if at > 0 and text[at - 1] in " \t\n(" and not text[at + len(copied) :].strip(" )\n."):
        text = text[:at].rstrip(" \t\n(—–-=|")
    size = (len(text) - 1) // 2
    if size >= DOUBLED and len(text) % 2 and text[:size] == text[-size:] and text[size].isspace():
        half = len(copied) // 2
        return text if copied[:half] == copied[-half:] else text[:size]
    return text


def _unquote(source: str, text: str) -> str:
    """Removes quotes around the whole text that the source does not have."""
    closing = QUOTES.get(text[:1])
    if closing is None or len(text) < 3 or text[-1] not in closing or source.strip()[:1] in QUOTES:
        return text
    inside = text[1:-1]
    if any(sign in inside for sign in (text[0], text[-1])):
        return text  # quotes of two words, not of the whole
    return inside.strip()
