"""Defines `appkit translate`, which answers the texts of a file in its own format."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from appkit.cli.answerer import Answered, Answerer, check_answerer, find_answerer
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
    domain: Annotated[
        str | None, typer.Option(help="What the file is about, for a bundle trained with task.domain=true.")
    ] = None,
    memory: Annotated[
        Path | None,
        typer.Option(
            help="Translated file whose nearest pairs are shown as examples, for a bundle trained with task.examples."
        ),
    ] = None,
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
        "domain": domain,
        "threshold": threshold,
        "again": again,
    }
    answerer = find_answerer(bundle, gateway, alias, key)
    rewrite = answerer.task.rewrite
    if rewrite is None:
        raise ConfigError(
            f"task {answerer.task.name!r} writes no files; give a bundle of a task that does: translation"
        )
    if memory is not None:
        answerer = _show_examples(answerer, memory, source, to)
    wishes["repair"] = repair and not answerer.unbound
    if repair and answerer.unbound:
        print(f"note: texts that lose a placeholder are not asked again: {answerer.unbound}", file=sys.stderr)
    output = out or _name_output(file, source, to or getattr(answerer.options, "target_language", None))
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


def _show_examples(answerer: Answerer, memory: Path, source: str | None, to: str | None) -> Answerer:
    """Returns who answers, asked with the nearest rows of a file as examples.

    Raises ConfigError for a bundle whose prompts show none, DataError for a file that cannot be read.
    """
    from appkit.config import DataConfig
    from appkit.data.splits import read_source
    from appkit.rag.examples import Retriever
    from appkit.storage.atomic import file_sha256

    task, similar = answerer.task, answerer.task.similar
    count = similar.count(answerer.options) if similar else 0
    if similar is None or not count:
        raise ConfigError(
            "--memory shows examples, and the bundle was trained without; train with task.examples=2, or leave it out"
        )
    languages = {"source_language": source, "target_language": to}
    options = answerer.options.model_copy(update={key: value for key, value in languages.items() if value})
    memory_rows = read_source(task, options, DataConfig(), "train", str(memory))
    if memory_rows.left_out:
        first = f", first: {memory_rows.faults[0]}" if memory_rows.faults else ""
        print(f"note: {memory_rows.left_out} rows of {memory} are left out{first}", file=sys.stderr)
    named = {name: getattr(options, name, None) for name in languages}
    rows = [
        row.model_copy(
            update={name: value for name, value in named.items() if getattr(row, name, "") is None}
        )
        for row in (record.value for record in memory_rows.records)
    ]
    retriever = Retriever(rows, similar)

    def show(row: Mapping[str, Any]) -> Mapping[str, Any]:
        value = task.input_row(row)
        filled = similar.put(value, retriever.nearest(value, count)).model_dump(mode="json")
        return {**row, similar.field: filled[similar.field]}

    name = f"{answerer.name} with {file_sha256(memory)}"  # answers stored with another memory are not used
    return replace(
        answerer,
        name=name,
        answer=lambda asked, constrain: answerer.answer(list(map(show, asked)), constrain),
    )


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
        places = iter(waiting)
        with (
            Progress(title, len(rows), "texts", len(rows) - len(waiting)) as bar,
            store.open("a", encoding="utf-8") as file,
        ):
            for answers in answerer.answer_batches([rows[place] for place in waiting], constrain=constrain):
                for prediction, confidence in answers:
                    name = names[next(places)]
                    known[name] = _pack(prediction, confidence)
                    entry = {"by": answerer.name, "row": name, **known[name]}
                    file.write(json.dumps(entry, ensure_ascii=False) + "\n")
                file.flush()
                bar.advance(len(answers))
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
