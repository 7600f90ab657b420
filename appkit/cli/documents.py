"""Defines `appkit translate`, which answers the texts of a file in its own format."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from appkit.cli.answerer import BATCH, Answered, Answerer, check_answerer, find_answerer
from appkit.errors import ConfigError, DataError, RunError
from appkit.progress import Progress

if TYPE_CHECKING:
    from appkit.task import AnswerInputs, Prediction, Task

__all__ = ["app"]

app = typer.Typer(rich_markup_mode=None)


@app.command()
def translate(
    file: Annotated[
        Path, typer.Argument(help="PO, XLIFF, TMX, Markdown or text file, or one side of parallel ones.")
    ],
    bundle: Annotated[Path | None, typer.Option(help="Bundle or run directory; loaded here.")] = None,
    gateway: Annotated[
        str | None, typer.Option(help="URL of a gateway that serves it, in place of --bundle.")
    ] = None,
    alias: Annotated[str, typer.Option(help="Of the gateway.")] = "translation",
    key: Annotated[str | None, typer.Option(help="Of the gateway; none: $APPKIT_KEY.")] = None,
    to: Annotated[
        str | None, typer.Option(help="Target language, such as fr; none: that of the bundle.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", help="Source language; none: that of the bundle.")
    ] = None,
    glossary: Annotated[Path | None, typer.Option(help="CSV, TSV, JSONL or TBX file of terms.")] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Confidence below which a translation is marked for review.")
    ] = 0.5,
    again: Annotated[bool, typer.Option(help="Translate what the file marks as doubtful too.")] = False,
    repair: Annotated[
        bool, typer.Option(help="Ask again, bound to its placeholders, for a text that lost one.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="None: FILE with the language in its name.")
    ] = None,
) -> None:
    """Translate a file and write it in its own format; what is doubtful is marked fuzzy or needs-review.

    Answers are stored beside the output until all are there: a run that was stopped goes on when it is repeated.
    """
    check_answerer(bundle, gateway)
    if not file.is_file():
        raise DataError(f"no file {str(file)!r}; check the path")
    wishes = {
        "to": to,
        "from": source,
        "glossary": None if glossary is None else str(glossary),
        "threshold": threshold,
        "again": again,
    }
    answerer = find_answerer(bundle, gateway, alias, key)
    rewrite = answerer.task.rewrite
    if rewrite is None:
        raise ConfigError(
            f"task {answerer.task.name!r} writes no files; give a bundle of a task that does: translation"
        )
    wishes["repair"] = repair and not answerer.unbound
    if repair and answerer.unbound:
        print(f"note: texts that lose a placeholder are not asked again: {answerer.unbound}", file=sys.stderr)
    language = to or getattr(answerer.options, "target_language", None)
    output = out or _name_output(file, source, language)
    store = output.with_name(f"{output.name}.answers.jsonl")
    try:
        with _stored(store, answerer) as answer:
            lines = rewrite(file, output, answerer.options, wishes, answer)
    except ValueError as error:
        raise DataError(" ".join(str(error).split())) from error
    except KeyboardInterrupt:
        from appkit.errors import Interrupted

        raise Interrupted(
            f"stopped; what was translated is in {store}, go on with the same command"
        ) from None
    store.unlink(missing_ok=True)
    for line in lines:
        print(line)
    print(f"written: {output}")


def _name_output(file: Path, source: str | None, language: str | None) -> Path:
    """Name the output: a.fr.po of a.po, and corpus.fr of corpus.en."""
    if file.suffix[1:].lower() == (source or "en").lower():
        return file.with_suffix(f".{language}")
    return file.with_name(f"{file.stem}.{language}{file.suffix}")


@contextmanager
def _stored(store: Path, answerer: Answerer) -> Iterator[AnswerInputs]:
    """Answer rows in batches, each stored when it is there; rows that are stored already are not asked again."""
    known = _read_store(store, answerer.name)

    def answer(rows: Sequence[Mapping[str, Any]], *, constrain: bool = False) -> list[Answered]:
        names = [_name(row, constrain) for row in rows]
        title = "translating again, bound to the grammar" if constrain else "translating"
        waiting = [place for place, name in enumerate(names) if name not in known]
        batches = [waiting[at : at + BATCH] for at in range(0, len(waiting), BATCH)]
        with (
            Progress(title, len(rows), "texts", len(rows) - len(waiting)) as bar,
            ThreadPoolExecutor(answerer.at_once) as threads,
            store.open("a", encoding="utf-8") as file,
        ):
            ask = threads.map(
                lambda batch: answerer.answer([rows[place] for place in batch], constrain), batches
            )
            for batch, answers in zip(batches, ask, strict=True):
                for place, (prediction, confidence) in zip(batch, answers, strict=True):
                    known[names[place]] = _pack(prediction, confidence)
                    entry = {"by": answerer.name, "row": names[place], **known[names[place]]}
                    file.write(json.dumps(entry, ensure_ascii=False) + "\n")
                file.flush()
                bar.advance(len(batch))
        return [_unpack(answerer.task, known[name]) for name in names]

    yield answer


def _name(row: Mapping[str, Any], constrain: bool) -> str:
    text = json.dumps(row, sort_keys=True, ensure_ascii=False) + "constrained" * constrain
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _pack(prediction: Prediction, confidence: float | None) -> dict[str, Any]:
    return {
        "text": prediction.text,
        "tokens": prediction.tokens,
        "truncated": prediction.truncated,
        "confidence": confidence,
    }


def _unpack(task: Task, entry: Mapping[str, Any]) -> Answered:
    from appkit.heads.lm.answer import parse_text
    from appkit.task import Prediction

    parsed = parse_text(task.head, entry["text"])  # type: ignore[arg-type]
    return Prediction(entry["text"], parsed, entry["tokens"], entry["truncated"]), entry["confidence"]


def _read_store(store: Path, name: str) -> dict[str, dict[str, Any]]:
    """Read the answers that a stopped run stored; those of another bundle are not used.

    Raises RunError for a file that is something else.
    """
    known: dict[str, dict[str, Any]] = {}
    if not store.exists():
        return known
    lines = store.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            if entry["by"] == name:
                known[entry["row"]] = {
                    key: entry[key] for key in ("text", "tokens", "truncated", "confidence")
                }
        except (ValueError, KeyError, TypeError):
            if number < len(lines):  # the last line may have been cut when the run was stopped
                raise RunError(
                    f"{store}:{number} holds no stored answer; remove the file, or choose another --out"
                ) from None
    return known
