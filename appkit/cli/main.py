"""The command line: thin. Every command calls the function that the Python API has; nothing heavy is imported
until it is needed."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from appkit.cli import apps, rag, serving
from appkit.cli.terminal import print_table, quiet_libraries, read_inputs, say, show_citations
from appkit.errors import AppkitError, Interrupted

__all__ = ["app", "main"]


class _Commands(typer.core.TyperGroup):
    """Ctrl-C passes through as an error of ours: Typer would end with an empty line, or none."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("stopped") from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turn a base model and rows into a specialist adapter, with the evidence.",
)
models = typer.Typer(no_args_is_help=True, help="Base models: list, pull, show.")
tasks = typer.Typer(no_args_is_help=True, help="Task packs: list, show.")
data = typer.Typer(no_args_is_help=True, help="Check rows before training on them.")
runs = typer.Typer(no_args_is_help=True, help="Run directories: list, prune.")
cache = typer.Typer(no_args_is_help=True, help="Downloaded and converted bases: list, prune.")
for name, group in {
    "models": models,
    "tasks": tasks,
    "data": data,
    "runs": runs,
    "cache": cache,
}.items():
    app.add_typer(group, name=name)

app.add_typer(serving.app)  # at this level, without a name of its own
app.add_typer(apps.app)
app.add_typer(rag.app)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE...", help="task=nl2fol model=smollm2-135m train=quick method.rank=16 ..."
    ),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file; the words override it.")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the whole configuration and stop.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Do everything but the work itself: data, labels, plan.")
]


def main() -> None:
    """Entry point: an error that a user can cause is one line and exit code 2."""
    with _errors():
        app()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        raise SystemExit(130) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except AppkitError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:  # `appkit ... | head`
        sys.stderr.close()
        raise SystemExit(141) from None
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("appkit"):
            raise
        print(f"error: {error.name} is not installed; pip install 'appkit[train]'", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        import errno

        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        where = f" {error.filename}" if error.filename else ""
        print(
            f"error: cannot write{where}: {error.strerror}; free space or choose another directory. "
            "What was saved before is kept: appkit train --resume RUN",
            file=sys.stderr,
        )
        raise SystemExit(2) from None


def _bytes(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit in ("B", "KB") else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def _config(words: list[str] | None, file: Path | None) -> Any:
    from appkit.config import load_run_config

    return load_run_config(words or (), file)


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
        resolved = _config(overrides, config)
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


def _show_result(result: Any) -> None:
    from appkit.bundles.manifest import read_manifest
    from appkit.evaluation.report import table

    columns = [*([result.base] if result.base else []), result.adapter]
    print()
    print_table(*table(columns))
    print(result.verdict)
    manifest = read_manifest(result.bundle, verify=False)
    print()
    shown = result.adapter
    task_input = _task(manifest["task"]["name"]).input
    for record, prediction in list(zip(shown.records, shown.predictions, strict=True))[:3]:
        print(f"  {getattr(record.value, task_input)}\n    {prediction.answer}")
    print(
        f"\nbundle  {result.bundle}  ({manifest['name']}@{manifest['sha'][:12]})\n"
        f"report  {result.run_dir / 'report.md'}\n"
        f"plots   {result.run_dir / 'scores.png'}, {result.run_dir / 'loss.png'}\n"
        f'try it  appkit predict {result.bundle} "..."'
    )


def _task(name: str) -> Any:
    from appkit.plugins import load_task

    return load_task(name)


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

    targets = [word for word in words or [] if "=" not in word]
    pairs = [word for word in words or [] if "=" in word]
    resolved: Any = None
    if targets:
        from appkit.bundles.manifest import find, read_manifest
        from appkit.bundles.specialist import eval_config

        if config:
            raise AppkitError(
                f"--config {config} is not read beside a bundle, which has its own; give the keys as words"
            )
        resolved = eval_config(read_manifest(find(Path(targets[0]))), parse_overrides(pairs))
    else:
        resolved = _config(pairs, config)
    if print_config:
        print(to_yaml(resolved), end="")
        return
    quiet_libraries()
    if dry_run:
        _dry_run(resolved)
        return
    from appkit.evaluation.report import table
    from appkit.runs.evaluate import evaluate as run

    result = run(*targets, config=resolved, say=say)
    print_table(*table(result.evaluations))
    if result.verdict:
        print(result.verdict)
    if to:
        _write_evaluations(to, result, _task(resolved.task.name))
        print(f"written to {to}")


def _write_evaluations(to: Path, result: Any, task: Any) -> None:
    from appkit.evaluation.plots import plot_scores
    from appkit.storage.atomic import write_text

    for number, one in enumerate(result.evaluations):
        one.write(to / f"predictions.{number}.jsonl", task)
    write_text(to / "scores.json", json.dumps([one.summary() for one in result.evaluations], indent=1) + "\n")
    plot_scores(result.evaluations, task, to / "scores.png")


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="Bundle or run directory.")],
    sentences: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SENTENCE...] [rag=INDEX]",
            help="Inputs; none: from --file or stdin. rag=INDEX: with documents at hand.",
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="One input a line, or JSONL rows.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--jsonl", help="JSON objects instead of bare answers.")] = False,
) -> None:
    """Answer sentences given as arguments, from a file, or from stdin."""
    from appkit.config import rag_words

    documents, sentences = rag_words(sentences or ())
    inputs = read_inputs(sentences, file)
    if not inputs:
        raise AppkitError("nothing to answer; give sentences, --file, or lines on stdin")
    quiet_libraries()
    import appkit

    found: list[Any] = [(given, None) for given in inputs]
    if documents.index:
        found = _with_passages(bundle, inputs, documents)
    specialist = appkit.load(bundle)
    predictions = specialist.predict([row for row, _ in found])
    for given, (_, hits), prediction in zip(inputs, found, predictions, strict=True):
        citations = [] if hits is None else _citations(specialist.task, prediction, hits)
        if as_json:
            shown = given if isinstance(given, dict) else {specialist.task.input: given}
            entry = {
                **shown,
                "text": prediction.text,
                "parsed": prediction.parsed.value,
                "error": prediction.parsed.error,
                "truncated": prediction.truncated,
            }
            if (confidence := specialist.confidence(prediction)) is not None:
                entry["confidence"] = round(confidence, 4)
            if hits is not None:
                entry["citations"] = citations
            print(json.dumps(entry, ensure_ascii=False))
        elif prediction.confidence is not None:  # of a label, as `appkit client ask` shows it
            print(f"{prediction.confidence:.2f}\t{prediction.answer}")
        else:
            print(prediction.answer)
        if not as_json:
            show_citations(citations)


def _with_passages(bundle: Path, inputs: list[Any], documents: Any) -> list[Any]:
    """Each input as a row with what was found for it; before the weights are loaded, since an index may be missing."""
    from appkit.bundles.manifest import find, read_manifest
    from appkit.bundles.specialist import input_row
    from appkit.rag.rows import AtHand, rule

    task = _task(read_manifest(find(bundle), verify=False)["task"]["name"])
    rule(task)
    return AtHand.open(documents).put(task, [input_row(task, given) for given in inputs])


def _citations(task: Any, prediction: Any, hits: Any) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from appkit.rag.rows import AtHand

    return [asdict(one) for one in AtHand.citations(task, prediction.parsed.value, hits)]


@app.command()
def methods() -> None:
    """Adapter methods and what they are."""
    from appkit.plugins import load_method
    from appkit.plugins import modules as found

    print_table(
        ["method", ""], [[name, load_method(name).summary] for name in sorted(found("appkit.methods"))]
    )


@tasks.command("list")
def tasks_list() -> None:
    """Installed task packs."""
    from appkit.plugins import modules as found

    rows = []
    for name in sorted(found("appkit.tasks")):
        task = _task(name)
        rows.append([name, task.summary, ", ".join(metric.name for metric in task.metrics)])
    print_table(["task", "", "metrics"], rows)


@tasks.command("show")
def tasks_show(name: str) -> None:
    """A pack's row schema, options, metrics and examples."""
    task = _task(name)
    print(f"{task.name}: {task.summary}\n\nfields of a row (map yours with data.columns.<field>=<column>)")
    for field, info in task.row.model_fields.items():
        print(f"  {field}: {getattr(info.annotation, '__name__', info.annotation)}  {info.description or ''}")
    print("\noptions (task.<key>=)")
    for field, info in task.config.model_fields.items():
        print(f"  {field} = {info.get_default()!r}  {info.description or ''}")
    print("\nmetrics")
    for metric in task.metrics:
        print(f"  {metric.name}{' *' if metric.name == task.primary else ''}: {metric.description}")
    print("\nexamples")
    for example in task.examples:
        print(f"  {example}")
    if task.retrieval:
        print(f"\ndocuments\n  rag=INDEX fills {task.retrieval.field} with what is found")
    if task.tools:
        print("\ntools")
    for tool, function in task.tools.items():
        summary = " ".join((function.__doc__ or "").split("\n\n")[0].split())
        print(f"  {tool}({', '.join(inspect.signature(function).parameters)}): {summary}")


@models.command("list")
def models_list() -> None:
    """Presets, and which are on this machine."""
    from appkit.models.sources import known

    rows = [
        [
            name,
            model.source,
            model.id,
            model.licence or "",
            "yes" if path else ("gated" if model.gated else "no"),
        ]
        for name, (model, path) in known().items()
    ]
    print_table(["model", "source", "id", "licence", "here"], rows)


@models.command("pull")
def models_pull(
    name: str, force: Annotated[bool, typer.Option(help="Fetch again, even if it is here.")] = False
) -> None:
    """Bring a base to this machine."""
    from appkit.config import model_config
    from appkit.models.sources import pull

    quiet_libraries()
    print(pull(model_config(name), force=force))


@models.command("show")
def models_show(name: str) -> None:
    """Size, shape, licence, source and fingerprint of a base."""
    from appkit.config import model_config
    from appkit.models.sources import describe

    quiet_libraries()
    for key, value in describe(model_config(name)).items():
        print(f"{key:14} {value}")


@data.command("check")
def data_check(
    overrides: Overrides = None,
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    most: Annotated[
        int | None, typer.Option(min=0, help="Items of each kind in the JSON, with counts of all.")
    ] = None,
) -> None:
    """Every bad row with file, line, field and reason; duplicates, overlaps, lengths."""
    from appkit.runs.check import check_data

    quiet_libraries()
    report = check_data(_config(overrides, config))
    print(report.to_json(most) if as_json else "\n".join(report.lines()))
    if not report.ok:
        raise SystemExit(2)


@runs.command("list")
def runs_list(root: Annotated[Path, typer.Argument(help="Where to look.")] = Path("runs")) -> None:
    """Runs, newest first."""
    import time

    from appkit.runs.directory import listed

    rows = [
        [
            str(run.path),
            run.task,
            run.phase,
            _bytes(run.bytes),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(run.changed)),
            run.score,
        ]
        for run in listed(root)
    ]
    print_table(["run", "task", "phase", "size", "changed", "base → adapter"], rows) if rows else print(
        f"no runs below {root}"
    )


@runs.command("prune")
def runs_prune(
    root: Annotated[Path, typer.Argument(help="Where to look.")] = Path("runs"),
    older_than_days: Annotated[float, typer.Option(help="Leave newer runs alone.")] = 0.0,
    whole: Annotated[bool, typer.Option("--whole", help="Remove whole runs, bundles too.")] = False,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Unfinished runs too.")] = False,
) -> None:
    """Free space: checkpoints of finished runs, or whole runs."""
    from appkit.runs.directory import prune

    _report_pruned(prune(root, whole=whole, older_than_days=older_than_days, unfinished=unfinished))


@cache.command("list")
def cache_list() -> None:
    """What is in the cache, least recently used first."""
    import time

    from appkit.storage.atomic import cache_dir
    from appkit.storage.cache import entries

    found = entries()
    rows = [
        [
            entry.kind,
            entry.name,
            _bytes(entry.bytes),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used_at)),
        ]
        for entry in found
    ]
    print(cache_dir())
    print_table(["kind", "name", "size", "last used"], rows) if rows else print("empty")


@cache.command("prune")
def cache_prune(
    names: Annotated[list[str] | None, typer.Argument(help="Only these entries.")] = None,
    older_than_days: Annotated[float, typer.Option(help="Keep what was used since.")] = 0.0,
) -> None:
    """Remove entries; they are fetched again when needed."""
    from appkit.storage.cache import entries, prune

    unknown = set(names or ()) - {entry.name for entry in entries()}
    if unknown:
        raise AppkitError(
            f"no cache entry {', '.join(sorted(map(repr, unknown)))}; `appkit cache list` shows them"
        )
    _report_pruned([(e.path, e.bytes) for e in prune(older_than_days=older_than_days, names=names)])


def _report_pruned(gone: list[tuple[Path, int]]) -> None:
    for path, size in gone:
        print(f"removed {path} ({_bytes(size)})")
    print(f"{_bytes(sum(size for _, size in gone))} freed")


@app.command()
def doctor() -> None:
    """Check this machine, and print the command that mends each fault."""
    from appkit.cli.doctor import diagnose

    faults = 0
    for check in diagnose():
        mark = {"ok": "ok  ", "info": "info", "fault": "FAULT"}[check.state]
        print(f"{mark:5} {check.name}: {check.found}")
        if check.mend:
            print(f"      mend it with: {check.mend}")
        faults += check.state == "fault"
    print(f"\n{faults} fault{'s' * (faults != 1)}" if faults else "\nall is well")
    if faults:
        raise SystemExit(2)
