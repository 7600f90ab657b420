"""Reads and writes files for a page that translates them: what is to be asked, and the file with the answers in it.

Nothing is stored between the two calls: the caller sends the file twice, and the same file is cut into the same rows.
"""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from appkit.errors import shortened
from appkit_tasks.translation.codes import normalize
from appkit_tasks.translation.lookup import Entries, Shipped, open_lookup

if TYPE_CHECKING:
    from appkit_tasks.translation.documents import Answer, Ask, Request
    from appkit_tasks.translation.formats import Counts, Document, State, Translation

__all__ = ["FileAnswer", "Language", "read_document", "write_document"]

MAX_BYTES = 500_000
"""bytes of a file; a request of the gateway has a megabyte (`serve.max_body`)"""
MAX_ANSWERS = 20_000
SUFFIX = re.compile(r"\.[A-Za-z0-9_-]{1,20}")
OF_OTHERS = frozenset({"duplicate", "many_targets", "long", "protected"})
"""findings about other pairs, or that are told anyway"""

Language = Annotated[str, Field(min_length=1, max_length=40, description="BCP 47 code, such as pt-BR")]
FileName = Annotated[
    str, Field(min_length=1, max_length=255, description="the file's name: its suffix says what it is")
]
Content = Annotated[str, Field(max_length=MAX_BYTES * 4 // 3 + 4, description="the file's bytes in base64")]
Again = Annotated[bool, Field(description="translate what the file marks as doubtful too")]


class FileAnswer(BaseModel):
    """An answer to one of the rows of `read_document`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(max_length=100_000)
    confidence: float | None = Field(None, ge=0, le=1)
    truncated: bool = Field(False, description="it was cut off at the most tokens")


def read_document(
    file_name: FileName,
    content_base64: Content,
    source_language: Language,
    target_language: Language,
    entries: Entries = (),
    shipped: Shipped = False,
    again: Again = False,
) -> dict[str, Any]:
    """Reads a PO, XLIFF, TMX, Markdown, text, CSV or TSV file; a table has a column named source.

    rows: what is to be answered, in order, ready for `/v1/tasks/{alias}`; a long text is several rows, and equal texts
    are one. segments: how many the file has in each state. notes: what was left out or assumed, a line each.
    """
    from appkit_tasks.translation.documents import Answer

    lookup = open_lookup(entries, shipped, source_language, target_language)
    requests: list[Request] = []

    def take(all_requests: Sequence[Request]) -> list[Answer]:
        requests.extend(all_requests)
        return [Answer("")] * len(all_requests)

    with _opened(file_name, content_base64, source_language, target_language) as document:
        _translate(document, take, again)
        states = [segment.state for segment in document.segments]
        return {
            "rows": [
                {
                    "source": request.text,
                    "source_language": request.segment.source_language,
                    "target_language": request.segment.target_language,
                    "context": request.segment.context[:2000] or None,
                    "terms": lookup.row_terms(request.text),
                }
                for request in requests
            ],
            "segments": {state: states.count(state) for state in ("translated", "untranslated", "doubtful")},
            "notes": [*_note_lines(document.counts), *([lookup.note] if lookup.note else [])],
        }


def write_document(
    file_name: FileName,
    content_base64: Content,
    source_language: Language,
    target_language: Language,
    answers: Annotated[tuple[FileAnswer, ...], Field(max_length=MAX_ANSWERS)],
    threshold: Annotated[float, Field(ge=0, le=1, description="confidence below which it is doubtful")] = 0.0,
    again: Again = False,
) -> dict[str, Any]:
    """Writes the file with answers to all rows of `read_document`, called with the same file, languages and `again`.

    An answer that goes on after the translation is cut there, and placeholders are mended where that is certain.
    Doubtful translations are marked where the format has a mark. segments: those with a new translation, in the order
    of the file, with the reason where one is doubtful. notes: what was not written, a line each.
    """
    with _opened(file_name, content_base64, source_language, target_language) as document:
        translations = _translate(
            document,
            lambda requests: [
                _read_answer(request.text, answer) for request, answer in _pair(requests, answers)
            ],
            again,
            threshold,
        )
        translations = _check(document, translations)
        output = document.path.with_name(f"written{document.path.suffix}")
        written = document.write(output, translations)
        marked = {doubt.place: doubt.reason for doubt in written.doubts}
        segments = []
        for index, translation in translations.items():
            segment = document.segments[index]
            reason = translation.reason if translation.doubtful else marked.get(segment.place, "")
            segments.append(
                {
                    "place": segment.place,
                    "source": segment.source,
                    "target": translation.text,
                    "doubtful": translation.doubtful or segment.place in marked,
                    "reason": reason,
                }
            )
        return {
            "content_base64": base64.b64encode(output.read_bytes()).decode(),
            "translated": written.translated,
            "segments": segments,
            "notes": _note_lines(written.counts),
        }


@contextmanager
def _opened(
    file_name: str, content_base64: str, source_language: str, target_language: str
) -> Iterator[Document]:
    """Opens the file in a folder of its own, which goes with the context; messages say `the file` in place of its path.

    Raises ValueError for what is no base64, too large, or no such file.
    """
    from appkit_tasks.translation.formats import open_document
    from appkit_tasks.translation.tables import SUFFIXES, open_table

    try:
        content = base64.b64decode(content_base64, validate=True)
    except ValueError:
        raise ValueError(
            f"content_base64 is no base64, got {shortened(content_base64)}; encode the file's bytes"
        ) from None
    if len(content) > MAX_BYTES:
        raise ValueError(
            f"the file has {len(content):,} bytes, the limit is {MAX_BYTES:,}; translate it with `appkit translate`"
        )
    languages = normalize(source_language), normalize(target_language)
    suffix = PurePath(file_name).suffix
    with tempfile.TemporaryDirectory(prefix="appkit-translate-") as folder:
        path = Path(folder) / f"document{suffix if SUFFIX.fullmatch(suffix) else ''}"
        path.write_bytes(content)
        try:
            yield (
                open_table(path, *languages)
                if suffix.lower() in SUFFIXES
                else open_document(path, *languages)
            )
        except ValueError as error:
            message = " ".join(str(error).replace(str(path), "the file").split())
            raise ValueError(message.replace(folder, "")) from None


def _translate(document: Document, ask: Ask, again: bool, threshold: float = 0.0) -> dict[int, Translation]:
    from appkit_tasks.translation.documents import translate

    states: tuple[State, ...] = ("untranslated", "doubtful") if again else ("untranslated",)
    return translate(document, ask, threshold=threshold, states=states)


def _pair(requests: Sequence[Request], answers: Sequence[FileAnswer]) -> Iterator[tuple[Request, FileAnswer]]:
    if len(requests) != len(answers):
        raise ValueError(
            f"the file has {len(requests)} rows to answer, got {len(answers)} answers; read the file again"
        )
    return zip(requests, answers, strict=True)


def _read_answer(source: str, answer: FileAnswer) -> Answer:
    from appkit_tasks.translation.documents import read_answer

    fault = "it was cut off at the limit of tokens" if answer.truncated else ""
    return read_answer(source, answer.text, answer.confidence, fault)


def _check(document: Document, translations: dict[int, Translation]) -> dict[int, Translation]:
    """Marks what is wrong beside placeholders as doubtful: another language, another length, a copy of the source."""
    from appkit_tasks.translation.clean import check_pairs

    numbers = [index for index, translation in translations.items() if translation.text]
    pairs = (
        (segment.source, translations[index].text, segment.source_language, segment.target_language)
        for index in numbers
        for segment in (document.segments[index],)
    )
    checked = dict(translations)
    for place, findings in check_pairs(pairs):
        index = numbers[place]
        reasons = [finding.reason for finding in findings if finding.kind not in OF_OTHERS]
        if reasons:
            old = translations[index]
            known = [old.reason] if old.reason else []
            checked[index] = old._replace(doubtful=True, reason="; ".join([*known, *reasons]))
    return checked


def _note_lines(counts: Counts) -> list[str]:
    left_out = [
        f"{count} left out: {reason} (first: {counts.first[reason]})"
        for reason, count in counts.left_out.items()
    ]
    return [*left_out, *counts.notes]
