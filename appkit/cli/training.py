"""The commands around training: train, eval, predict."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from appkit.cli.inputs import file_words, is_data_file, read_inputs, read_rows
from appkit.cli.options import ConfigFile, DryRun, Overrides, PrintConfig, run_config
from appkit.cli.terminal import print_table, quiet_libraries, say, show_citations, tell_unsound
from appkit.errors import AppkitError, ConfigError, DataError

__all__ = ["app"]

app = typer.Typer()


def _dry_run(config: Any) -> None:
    from appkit.runs.prepare import prepare

    prepare(config, say)
    say("dry run: the configuration, the data and the labels are sound; nothing was trained")


@app.command()
def train(
    overrides: Overrides = None,
    config: ConfigFile = None,
    print_config: PrintConfig = False,
    dry_run: DryRun = False,
    resume: Annotated[Path | None, typer.Option("--resume", help="Go on with this run directory.")] = None,
) -> None:
    """Train an adapter, measure it against the base, write bundle and report."""
    from appkit.config import to_yaml

    if resume is not None:
        if overrides or config or print_config or dry_run:
            raise AppkitError(
                "--resume takes the run's own configuration; leave the other words and options out"
            )
        quiet_libraries()
        from appkit.runs.train import train as run

        result = run(resume=resume, say=say)
    else:
        resolved = run_config(overrides, config)
        if print_config:
            print(to_yaml(resolved), end="")
            return
        quiet_libraries()
        if dry_run:
            _dry_run(resolved)
            return
        from appkit.runs.train import train as run

        result = run(resolved, say=say)
    _show_result(result)


@app.command("compare-methods")
def compare_methods(
    overrides: Overrides = None,
    config: ConfigFile = None,
    methods: Annotated[
        str, typer.Option(help="Names, separated by commas; appkit methods lists them.")
    ] = "lora,pissa,miss",
    rates: Annotated[str, typer.Option(help="The grid's learning rates.")] = "3e-4,1e-3,3e-3",
    rows: Annotated[str, typer.Option(help="The grid's rows of an optimizer step.")] = "8,32",
    share: Annotated[float, typer.Option(help="Share of the training rows that tuning uses.")] = 0.25,
    seeds: Annotated[int, typer.Option(help="Runs of each method at its best.")] = 3,
    out: Annotated[Path, typer.Option(help="Directory of the contest; a stopped one goes on.")] = Path(
        "runs/methods"
    ),
) -> None:
    """Tune methods on the same grid, train each at its best over seeds, and compare them with plain LoRA."""
    from appkit.config import parse_overrides
    from appkit.evaluation.contest import contest_table
    from appkit.runs.contest import Contest
    from appkit.runs.contest import compare_methods as run

    words = overrides or []
    own = [word for word in words if word.startswith(("method.", "method="))]
    if any(word.startswith("method=") for word in own):
        raise ConfigError("method= chooses one method; name those to compare with --methods")
    for key, option in (("train.learning_rate", "--rates"), ("train.batch_rows", "--rows")):
        if any(word.startswith(f"{key}=") for word in words):
            raise ConfigError(f"{key}= has no effect here, the grid has its own; use {option}")
    resolved = run_config([word for word in words if word not in own], config)
    contest = Contest(
        tuple(_split(methods)),
        tuple(_read_number(word, "--rates") for word in _split(rates)),
        tuple(_read_count(word, "--rows") for word in _split(rows)),
        share,
        seeds,
    )
    quiet_libraries()
    result = run(resolved, contest, out, parse_overrides(own).get("method"), say)
    print()
    print_table(*contest_table(result))
    print(result.verdict)
    print(f"\nreport  {out / 'report.md'}\nplot    {out / 'methods.png'}")


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _read_number(word: str, key: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise ConfigError(f"{key} takes numbers above 0 and at most 1, separated by commas, got {word!r}")
    return value


def _read_count(word: str, key: str) -> int:
    if not word.isdecimal() or not int(word):
        raise ConfigError(f"{key} takes whole numbers from 1, separated by commas, got {word!r}")
    return int(word)


def _show_result(result: Any) -> None:
    from appkit.bundles.manifest import read_manifest
    from appkit.evaluation.report import table
    from appkit.plugins import load_task

    columns = [*([result.base] if result.base else []), result.adapter]
    print()
    print_table(*table(columns))
    print(result.verdict)
    manifest = read_manifest(result.bundle, verify=False)
    print()
    evaluation = result.adapter
    task_input = load_task(manifest["task"]["name"]).input
    for record, prediction in list(zip(evaluation.records, evaluation.predictions, strict=True))[:3]:
        print(f"  {getattr(record.value, task_input)}\n    {prediction.answer}")
    print(
        f"\nbundle  {result.bundle}  ({manifest['name']}@{manifest['sha'][:12]})\n"
        f"report  {result.run_dir / 'report.md'}\n"
        f"plots   {result.run_dir / 'scores.png'}, {result.run_dir / 'loss.png'}\n"
        f'try it  appkit predict {result.bundle} "..."'
    )


@app.command("eval")
def evaluate(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BUNDLE...] [KEY=VALUE...]", help="Bundles or run directories, then overrides."
        ),
    ] = None,
    config: ConfigFile = None,
    print_config: PrintConfig = False,
    dry_run: DryRun = False,
    to: Annotated[
        Path | None, typer.Option("--to", help="Write predictions and scores into this directory.")
    ] = None,
) -> None:
    """Measure a bundle against its base, bundles against each other, or the base alone."""
    from appkit.config import parse_overrides, to_yaml

    targets = [word for word in words or [] if _is_target(word)]
    pairs = [word for word in words or [] if not _is_target(word)]
    resolved: Any = None
    if targets:
        from appkit.bundles.manifest import find, read_manifest
        from appkit.bundles.specialist import eval_config

        if config:
            raise AppkitError(
                f"--config {config} is not read beside a bundle, which has its own; give the keys as words"
            )
        resolved = eval_config(read_manifest(find(targets[0])), parse_overrides(pairs))
    else:
        resolved = run_config(pairs, config)
    if print_config:
        print(to_yaml(resolved), end="")
        return
    quiet_libraries()
    if dry_run:
        _dry_run(resolved)
        return
    from appkit.evaluation.report import table
    from appkit.plugins import load_task
    from appkit.runs.evaluate import evaluate as run
    from appkit.storage.atomic import explained

    if to:
        with explained(to):  # before the work, whose answers would be lost
            to.mkdir(parents=True, exist_ok=True)
    result = run(*targets, config=resolved, say=say)
    print_table(*table(result.evaluations))
    if result.verdict:
        print(result.verdict)
    if to:
        _write_evaluations(to, result, load_task(resolved.task.name).under(resolved.task))
        print(f"written to {to}")


def _is_target(word: str) -> bool:
    """Whether a word of `eval` is a bundle, whose path may hold "=" (`runs/lr=1e-3`), and no key with its value."""
    from appkit.config import RunConfig

    group = word.partition("=")[0].partition(".")[0]
    return "=" not in word or (group not in RunConfig.model_fields and os.path.exists(word))


def _write_evaluations(to: Path, result: Any, task: Any) -> None:
    from appkit.evaluation.plots import plot_scores
    from appkit.storage.atomic import write_text

    for number, evaluation in enumerate(result.evaluations):
        evaluation.write(to / f"predictions.{number}.jsonl", task)
    write_text(
        to / "scores.json",
        json.dumps([evaluation.summary() for evaluation in result.evaluations], indent=1) + "\n",
    )
    plot_scores(result.evaluations, to / "scores.png")


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="Bundle or run directory.")],
    sentences: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SENTENCE...] [rag=INDEX] [task.KEY=VALUE] [data.columns.FIELD=COLUMN] [data.encoding=] "
            "[data.delimiter=]",
            help="Inputs; none: from --file or stdin. rag=INDEX: with documents at hand. task.*: what the pack fills "
            "inputs from, such as task.glossary=FILE. data.*: of the file.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Rows (JSONL, JSON, CSV, TSV, Parquet, CoNLL), or a text a line."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--jsonl", help="JSON objects instead of bare answers.")] = False,
    constrain: Annotated[bool, typer.Option("--constrain", help="Keep to the pack's grammar.")] = False,
) -> None:
    """Answer sentences given as arguments, from a file, or from stdin."""
    from appkit.config import rag_words

    documents, sentences = rag_words(sentences or ())
    options = [word for word in sentences if re.match(r"task\.\w+=", word)]
    inputs, rows = _read_inputs(bundle, [word for word in sentences if word not in options], file)
    quiet_libraries()
    if options:
        rows = _fill_rows(bundle, rows, options)
    import appkit

    retrieved: list[Any] = [(row, None) for row in rows]
    if documents.index:
        retrieved = _find_passages(bundle, rows, documents)
    specialist = appkit.load(bundle)
    predictions = specialist.predict([row for row, _ in retrieved], constrain=constrain)
    for sentence, (_, hits), prediction in zip(inputs, retrieved, predictions, strict=True):
        citations = [] if hits is None else _list_citations(specialist.task, prediction, hits)
        if as_json:
            fields = sentence if isinstance(sentence, dict) else {specialist.task.input: sentence}
            entry = {
                **fields,
                "text": prediction.text,
                "parsed": prediction.parsed.value,
                "error": prediction.parsed.error,
                "truncated": prediction.truncated,
            }
            if (confidence := specialist.confidence(prediction)) is not None:
                entry["confidence"] = round(confidence, 4)
            if hits is not None:
                entry["citations"] = citations
            print(json.dumps(entry, ensure_ascii=False, default=str))
        elif prediction.confidence is not None:  # of a label, as `appkit client ask` shows it
            print(f"{prediction.confidence:.2f}\t{prediction.answer}")
        else:
            print(prediction.answer)
        if not as_json:
            show_citations(citations)
    if not as_json:
        tell_unsound([(prediction.parsed.error, prediction.truncated) for prediction in predictions])


def _read_inputs(bundle: Path, words: list[str], file: Path | None) -> tuple[Sequence[Any], list[Any]]:
    """Reads what is to be answered, and the rows made of it; before weights are loaded."""
    from appkit.bundles.manifest import find, read_manifest
    from appkit.bundles.specialist import input_row
    from appkit.plugins import load_task

    about_file, sentences = file_words(words)
    about_file.check(file, sentences)
    if file is not None and is_data_file(file) and not sentences:
        manifest = read_manifest(find(bundle), verify=False)
        task = load_task(manifest["task"]["name"])
        fields = {
            name: info.is_required() for name, info in task.row.model_fields.items() if name != task.output
        }
        learned = manifest["config"].get("data", {}).get("columns", {})
        inputs = read_rows(file, fields, about_file, {n: learned[n] for n in learned if n in fields})
    else:
        inputs = read_inputs(sentences, file, about_file.form)
    for note in inputs.notes:
        say(f"note: {note}")
    if not inputs.values:
        raise AppkitError("nothing to answer; give sentences, --file, or lines on stdin")
    task = load_task(read_manifest(find(bundle), verify=False)["task"]["name"])
    places = inputs.places or [f"input {n}" for n in range(1, len(inputs.values) + 1)]
    rows = []
    for place, value in zip(places, inputs.values, strict=True):
        try:
            rows.append(input_row(task, value))
        except DataError as error:
            raise DataError(f"{place}: {error}") from None
    return inputs.values, rows


def _fill_rows(bundle: Path, rows: list[Any], words: list[str]) -> list[Any]:
    """Fills rows from what the words name; before weights are loaded: the file may be missing."""
    from appkit.bundles.manifest import find, read_manifest
    from appkit.bundles.specialist import fill_rows
    from appkit.config import parse_overrides

    filled, notes = fill_rows(read_manifest(find(bundle), verify=False), rows, parse_overrides(words))
    for note in notes:
        say(f"note: {note}")
    return filled


def _find_passages(bundle: Path, rows: list[Any], documents: Any) -> list[Any]:
    """Finds passages for each row and returns (row, hits); before weights are loaded: the index may be missing."""
    from appkit.bundles.manifest import find, read_manifest
    from appkit.plugins import load_task
    from appkit.rag.rows import AtHand, rule

    task = load_task(read_manifest(find(bundle), verify=False)["task"]["name"])
    rule(task)
    return AtHand.open(documents).put(task, rows)


def _list_citations(task: Any, prediction: Any, hits: Any) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from appkit.rag.rows import AtHand

    return [asdict(citation) for citation in AtHand.citations(task, prediction.parsed.value, hits)]
