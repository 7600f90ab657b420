"""Translates files in their own format: long texts in pieces that are put together again, doubtful ones marked.

A translation is doubtful if the model says so (confidence below a threshold), if its answer was cut off, or if it
does not keep what the source protects: placeholders, tags, URLs, code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from appkit_tasks.translation.formats import Document, Segment, State, Translation, Written, open_document
from appkit_tasks.translation.formats.text import (
    LIMIT,
    Pieces,
    column_count,
    has_words,
    segment,
    unwrap,
    wrap,
)
from appkit_tasks.translation.languages import is_spaceless
from appkit_tasks.translation.protected import compare
from appkit_tasks.translation.repair import mend, trim

__all__ = ["Answer", "Ask", "Request", "read_answer", "translate", "translate_file"]

UNTRANSLATED: tuple[State, ...] = ("untranslated",)
LINE_BREAK = re.compile(r"(?:\r\n|[\r\n\x85\u2028\u2029])\s*")


class Request(NamedTuple):
    """A piece of a text that the model is to translate."""

    text: str
    """one line, without white space at its ends"""
    segment: Segment
    """the whole it is from, with context and languages"""


@dataclass(frozen=True)
class Answer:
    """What the model says to a request."""

    text: str
    """"": it has no answer"""
    confidence: float | None = None
    """calibrated, 0 to 1; none: unknown, which is not doubted"""
    fault: str = ""
    """why it is not whole, such as "it was cut off at 256 tokens\""""
    trimmed: bool = False
    """what the model wrote after the translation was cut"""
    mended: bool = False
    """a damaged placeholder was put right"""
    bound: bool = False
    """it was asked for once more, bound to placeholders that the first answer lost"""


Ask = Callable[[Sequence[Request]], Sequence[Answer]]
"""answers all requests, in their order"""


def read_answer(source: str, text: str, confidence: float | None = None, fault: str = "") -> Answer:
    """Reads a model's text: cut at the translation's end, with placeholders mended where that is certain."""
    trimmed = trim(source, text)
    mended = mend(source, trimmed)
    return Answer(
        trimmed if mended is None else mended,
        confidence,
        fault,
        trimmed=trimmed != text,
        mended=mended is not None and mended != trimmed,
    )


def translate(
    document: Document,
    ask: Ask,
    *,
    threshold: float = 0.0,
    limit: int = LIMIT,
    states: Collection[State] = UNTRANSLATED,
) -> dict[int, Translation]:
    """Translates the segments of a document that are in one of `states`: index of a segment -> its translation.

    A piece that occurs again, with the same context, is asked for once. threshold: confidence, 0 to 1, below which a
    translation is doubtful. limit: characters of a piece.

    Raises ValueError if `ask` gives another number of answers than it was asked for.
    """
    todo = {
        index: segment(part.source, limit)
        for index, part in enumerate(document.segments)
        if part.state in states
    }
    requests: dict[tuple[str, str], Request] = {}
    for index, pieces in todo.items():
        part = document.segments[index]
        for text in filter(has_words, map(unwrap, pieces.texts)):
            requests.setdefault((text, part.context), Request(text, part))
    answers = ask(list(requests.values()))
    if len(answers) != len(requests):
        raise ValueError(f"each request needs an answer: {len(requests)} were made, got {len(answers)}")
    answered = dict(zip(requests, answers, strict=True))
    return {
        index: _translation(document.segments[index], pieces, answered, threshold)
        for index, pieces in todo.items()
    }


def translate_file(
    path: Path,
    output: Path,
    ask: Ask,
    source_language: str,
    target_language: str,
    *,
    threshold: float = 0.0,
    limit: int = LIMIT,
    states: Collection[State] = UNTRANSLATED,
) -> tuple[Document, Written]:
    """Translates a file into another of the same format; `output` may be `path`.

    Returns what was read, with counts of what was left out, and what was written. Raises ValueError for a file that
    cannot be read or written.
    """
    document = open_document(path, source_language, target_language)
    translations = translate(document, ask, threshold=threshold, limit=limit, states=states)
    return document, document.write(output, translations)


def _translation(
    part: Segment, pieces: Pieces, answers: dict[tuple[str, str], Answer], threshold: float
) -> Translation:
    """Puts the answers to a segment's pieces together. No answer to one of them leaves the whole untranslated."""
    texts, reasons = [], []
    for piece in pieces.texts:
        answer = answers.get((unwrap(piece), part.context))
        if answer is None:  # without words
            texts.append(piece)
            continue
        if not answer.text.strip():
            return Translation("", True, answer.fault or "there was no answer")
        if answer.fault:
            reasons.append(answer.fault)
        if answer.confidence is not None and answer.confidence < threshold:
            reasons.append(f"confidence {answer.confidence:.2f} is below {threshold:g}")
        line = unwrap(answer.text.strip())
        if line != answer.text.strip():
            reasons.append("the answer has a line break where the source has none")
        texts.append(_wrapped_as(piece, line))
    text = _joined(part, pieces, texts)
    if difference := compare(part.source, text):
        reasons.append(str(difference))
    return Translation(text, bool(reasons), "; ".join(dict.fromkeys(reasons)))


def _wrapped_as(piece: str, line: str) -> str:
    """Wraps a line as the piece is: as wide, with its line ends and indentation."""
    match = LINE_BREAK.search(piece)
    if match is None:
        return line
    width = max(map(column_count, LINE_BREAK.split(piece)))
    return match[0].join(wrap(line, width))


def _joined(part: Segment, pieces: Pieces, texts: Sequence[str]) -> str:
    """Joins pieces by the white space of the source; a language with spaces needs one where the source has none."""
    between = list(pieces.between)
    if not is_spaceless(part.target_language):
        between[1:-1] = [space or " " for space in between[1:-1]]
    return Pieces(pieces.texts, tuple(between)).join(texts)
