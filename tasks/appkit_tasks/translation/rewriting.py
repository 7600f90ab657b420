"""Translates a file in its own format, with the answers that it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from appkit.task import AnswerInputs
from appkit_tasks.translation.codes import normalize
from appkit_tasks.translation.config import TranslationConfig

__all__ = ["rewrite"]

SHOWN = 10
"""doubtful segments that are told"""


def rewrite(
    path: Path, output: Path, options: TranslationConfig, wishes: Mapping[str, Any], answer: AnswerInputs
) -> list[str]:
    """Translates the untranslated segments of a file; wishes: to, from, glossary, threshold, again.

    An answer that goes on after the translation is cut there, and placeholders are mended where that is certain.
    Raises ValueError for a file that cannot be read, and where no target language is named.
    """
    from appkit_tasks.translation.documents import UNTRANSLATED, Answer, Request, translate_file

    target = wishes.get("to") or options.target_language
    if target is None:
        raise ValueError("the bundle translates into several languages; name one: --to fr")
    source, target = normalize(wishes.get("from") or options.source_language), normalize(target)
    find = _make_finder(wishes.get("glossary") or options.glossary, source, target)
    counts = {"trimmed": 0, "mended": 0}

    def ask(requests: Sequence[Request]) -> list[Answer]:
        rows = [
            {
                "source": request.text,
                "source_language": source,
                "target_language": target,
                "context": request.segment.context or None,
                "terms": find(request.text),
            }
            for request in requests
        ]
        if not rows:
            return []
        return [
            _read(request.text, prediction, confidence, counts)
            for request, (prediction, confidence) in zip(requests, answer(rows), strict=True)
        ]

    states = (*UNTRANSLATED, "doubtful") if wishes.get("again") else UNTRANSLATED
    document, written = translate_file(
        path, output, ask, source, target, threshold=float(wishes.get("threshold") or 0), states=states
    )
    return _describe(document, written, counts)


def _make_finder(glossary: str | None, source: str, target: str) -> Any:
    """Makes the function text -> the entries of the glossary in it, as the fields of a row."""
    from appkit_tasks.translation.load import open_glossary

    if glossary is None:
        return lambda text: []
    opened = open_glossary(glossary, source, target)

    def find(text: str) -> list[dict[str, str]]:
        entries = dict.fromkeys(match.term for match in opened.find(text))
        return [{"source": entry.source, "target": target} for entry in entries for target in entry.targets]

    return find


def _read(source: str, prediction: Any, confidence: float | None, counts: dict[str, int]) -> Any:
    """Reads an answer: cut at the translation's end, with placeholders mended where that is certain."""
    from appkit_tasks.translation.documents import Answer
    from appkit_tasks.translation.repair import mend, trim

    text = trim(source, prediction.answer)
    counts["trimmed"] += text != prediction.answer
    mended = mend(source, text)
    counts["mended"] += mended is not None and mended != text
    fault = f"it was cut off at {prediction.tokens} tokens" if prediction.truncated else ""
    return Answer(mended or text, confidence, fault)


def _describe(document: Any, written: Any, counts: Mapping[str, int]) -> list[str]:
    """Says what was done, in lines whose counts add up to the file's segments."""
    states = [segment.state for segment in document.segments]
    lines = [
        f"{len(states)} segments: {states.count('translated')} were translated, {states.count('doubtful')} marked "
        f"doubtful; {written.translated} are new, {len(written.doubts)} of them to be reviewed"
    ]
    if counts["trimmed"] or counts["mended"]:
        lines.append(
            f"{counts['trimmed']} answers were cut at their end, {counts['mended']} placeholders mended"
        )
    lines += [f"  review {doubt.place}: {doubt.reason}" for doubt in written.doubts[:SHOWN]]
    if len(written.doubts) > SHOWN:
        lines.append(f"  and {len(written.doubts) - SHOWN} more")
    for side in (document.counts, written.counts):
        lines += [
            f"{count} left out: {reason} (first: {side.first[reason]})"
            for reason, count in side.left_out.items()
        ]
        lines += list(side.notes)
    return lines
