"""Translates a file in its own format, with the answers that it is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.task import AnswerInputs
from appkit_tasks.translation.codes import normalize
from appkit_tasks.translation.config import TranslationConfig

if TYPE_CHECKING:
    from appkit_tasks.translation.documents import Answer

__all__ = ["rewrite"]

STUTTER = re.compile(r"(\S{1,12}\s)\1{2,}")
"""what a model writes that waits for the end of a text"""
SHOWN = 10
"""doubtful segments that are told"""


def rewrite(
    path: Path, output: Path, options: TranslationConfig, wishes: Mapping[str, Any], answer: AnswerInputs
) -> list[str]:
    """Translates the untranslated segments of a file; wishes: to, from, glossary, domain, threshold, again,
    repair.

    An answer that goes on after the translation is cut there, and placeholders are mended where that is certain. With
    `repair`, texts that still lack a placeholder are asked once more, bound to a grammar that has all of them; such an
    answer stays doubtful, since the model did not want it.

    Raises ValueError for a file that cannot be read, and where no target language is named.
    """
    from appkit_tasks.translation.documents import UNTRANSLATED, Request, translate_file

    target = wishes.get("to") or options.target_language
    if target is None:
        raise ValueError("the bundle translates into several languages; name one: --to fr")
    source, target = normalize(wishes.get("from") or options.source_language), normalize(target)
    find = _make_finder(wishes.get("glossary") or options.glossary, source, target)
    answers: list[Answer] = []

    def ask(requests: Sequence[Request]) -> list[Answer]:
        rows = [
            {
                "source": request.text,
                "source_language": source,
                "target_language": target,
                "context": request.segment.context or None,
                "domain": wishes.get("domain"),
                "terms": find(request.text),
            }
            for request in requests
        ]
        first = _ask(rows, answer)
        answers.extend(_repair(rows, first, answer) if wishes.get("repair") else first)
        return answers

    states = (*UNTRANSLATED, "doubtful") if wishes.get("again") else UNTRANSLATED
    document, written = translate_file(
        path, output, ask, source, target, threshold=float(wishes.get("threshold") or 0), states=states
    )
    return _describe(document, written, answers)


def _ask(rows: Sequence[Mapping[str, Any]], answer: AnswerInputs, *, constrain: bool = False) -> list[Answer]:
    from appkit_tasks.translation.documents import read_answer

    if not rows:
        return []
    return [
        read_answer(
            row["source"],
            prediction.answer,
            confidence,
            f"it was cut off at {prediction.tokens} tokens" if prediction.truncated else "",
        )
        for row, (prediction, confidence) in zip(rows, answer(rows, constrain=constrain), strict=True)
    ]


def _repair(rows: Sequence[Mapping[str, Any]], first: Sequence[Answer], answer: AnswerInputs) -> list[Answer]:
    """Returns the first answers, those that lack placeholders replaced by bound ones where these are whole."""
    from appkit_tasks.translation.protected import compare

    differences = [compare(row["source"], one.text) for row, one in zip(rows, first, strict=True)]
    broken = [place for place, difference in enumerate(differences) if difference]
    answers = list(first)
    for place, one in zip(
        broken, _ask([rows[place] for place in broken], answer, constrain=True), strict=True
    ):
        source = rows[place]["source"]
        whole = one.text.strip() and not one.fault and not compare(source, one.text)
        if whole and (STUTTER.search(source) or not STUTTER.search(one.text)):
            fault = f"the first answer {differences[place]}; this one was bound to placeholders"
            answers[place] = replace(one, fault=fault, bound=True)
    return answers


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


def _describe(document: Any, written: Any, answers: Sequence[Answer]) -> list[str]:
    """Says what was done, in lines whose counts add up to the file's segments."""
    states = [segment.state for segment in document.segments]
    lines = [
        f"{len(states)} segments: {states.count('translated')} were translated, {states.count('doubtful')} marked "
        f"doubtful; {written.translated} are new, {len(written.doubts)} of them to be reviewed"
    ]
    trimmed, mended, bound = (
        sum(getattr(one, name) for one in answers) for name in ("trimmed", "mended", "bound")
    )
    if trimmed or mended or bound:
        lines.append(
            f"{trimmed} answers were cut at their end; placeholders were mended in {mended}, and {bound} were asked "
            "for again, bound to them"
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
