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
keys = typer.Typer(no_args_is_help=True, help="API keys of a gateway: add, list.")
client = typer.Typer(no_args_is_help=True, help="Ask a gateway, and manage its bundles.")
for name, group in {
    "models": models,
    "tasks": tasks,
    "data": data,
    "runs": runs,
    "cache": cache,
    "keys": keys,
    "client": client,
}.items():
    app.add_typer(group, name=name)

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


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    # a pipe has no width: never wrap what a script may read
    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table(*header, box=SIMPLE, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)


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
    from appkit.run import prepare

    prepare(config, _say)
    _say("dry run: the configuration, the data and the labels are sound; nothing was trained")


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
        _quiet_libraries()
        from appkit.run import train as run

        result = run(resume=resume, say=_say)
    else:
        resolved = _config(overrides, config)
        if print_config:
            print(to_yaml(resolved), end="")
            return
        _quiet_libraries()
        if dry_run:
            _dry_run(resolved)
            return
        from appkit.run import train as run

        result = run(resolved, say=_say)
    _show_result(result)


def _show_result(result: Any) -> None:
    from appkit.bundle import read_manifest
    from appkit.report import table

    columns = [*([result.base] if result.base else []), result.adapter]
    print()
    _print_table(*table(columns))
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


def _quiet_libraries() -> None:
    """Libraries' own bars and warnings would tear ours apart."""
    import os
    import warnings

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")


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
        from appkit.bundle import eval_config, find, read_manifest

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
    _quiet_libraries()
    if dry_run:
        _dry_run(resolved)
        return
    from appkit.compare import evaluate as run
    from appkit.report import table

    result = run(*targets, config=resolved, say=_say)
    _print_table(*table(result.evaluations))
    if result.verdict:
        print(result.verdict)
    if to:
        _write_evaluations(to, result, _task(resolved.task.name))
        print(f"written to {to}")


def _write_evaluations(to: Path, result: Any, task: Any) -> None:
    from appkit.cache import write_text
    from appkit.report import plot_scores

    for number, one in enumerate(result.evaluations):
        one.write(to / f"predictions.{number}.jsonl", task)
    write_text(to / "scores.json", json.dumps([one.summary() for one in result.evaluations], indent=1) + "\n")
    plot_scores(result.evaluations, task, to / "scores.png")


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="Bundle or run directory.")],
    sentences: Annotated[list[str] | None, typer.Argument(help="Inputs; none: from --file or stdin.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="One input a line, or JSONL rows.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--jsonl", help="JSON objects instead of bare answers.")] = False,
) -> None:
    """Answer sentences given as arguments, from a file, or from stdin."""
    inputs = _inputs(sentences, file)
    if not inputs:
        raise AppkitError("nothing to answer; give sentences, --file, or lines on stdin")
    _quiet_libraries()
    import appkit

    specialist = appkit.load(bundle)
    for given, prediction in zip(inputs, specialist.predict(inputs), strict=True):
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
            print(json.dumps(entry, ensure_ascii=False))
        else:
            print(prediction.answer)


def _inputs(sentences: list[str] | None, file: Path | None) -> list[str | dict[str, Any]]:
    if sentences and file:
        raise AppkitError("give sentences or --file, not both")
    if sentences:
        return list(sentences)
    if file is None and sys.stdin.isatty():
        return []
    try:
        raw = file.read_bytes() if file else sys.stdin.buffer.read()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise AppkitError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise AppkitError(f"{file or 'stdin'}:{line}: not UTF-8 ({error.reason}); convert it first") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not all(line.lstrip().startswith("{") for _, line in lines):
        return [line.strip() for _, line in lines]
    rows = []
    for number, line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise AppkitError(f"{file or 'stdin'}:{number}: broken JSON: {error}; correct the line") from None
    return rows


@app.command()
def certify(
    bundle: Annotated[Path, typer.Argument(help="Bundle or run directory.")],
    engine: Annotated[
        str, typer.Option(help="vllm, transformers, or auto: vllm if it is installed.")
    ] = "auto",
    dtype: Annotated[
        str, typer.Option(help="float32, bfloat16, or auto: what the bundle was computed in.")
    ] = "auto",
    rows: Annotated[
        int | None,
        typer.Option(help="Test rows for the task's metric; none: all, which alone counts as a check."),
    ] = None,
) -> None:
    """Check that an engine gives what training gave, and keep the certificate in the bundle."""
    from appkit.certify import certify as run

    _quiet_libraries()
    certificate = run(bundle, engine=engine, dtype=dtype, rows=rows, say=print)
    print(
        f"certified for {certificate.engine} {certificate.version}, {certificate.dtype}: {certificate.file}"
    )


@app.command()
def export(
    bundle: Annotated[Path, typer.Argument(help="Bundle or run directory.")],
    to: Annotated[
        str,
        typer.Option("--to", help="DIR, hub:OWNER/NAME, or s3://, gs://, abfss:// with bucket and prefix."),
    ],
    merge: Annotated[bool, typer.Option("--merge", help="The whole model, adapter in its weights.")] = False,
    ray: Annotated[
        bool, typer.Option("--ray", help="As Ray Serve LLM loads adapters, with a file for `serve run`.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="hub: for everybody, not only its owner.")] = False,
    licence: Annotated[
        str | None, typer.Option(help="hub: of rows and base whose licence the bundle does not know.")
    ] = None,
) -> None:
    """Write a bundle as a PEFT directory, a merged model, or for Ray: to a directory, the hub or object storage."""
    from appkit.export import export as run

    _quiet_libraries()
    print(run(bundle, to, merge=merge, ray=ray, public=public, licence=licence, say=_say))


@app.command()
def recertify(
    bundle: Annotated[list[Path] | None, typer.Argument(help="Bundle or run directories.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every bundle below --bundles.")] = False,
    bundles: Annotated[Path, typer.Option("--bundles", help="Where --all looks.")] = Path("runs"),
    engine: Annotated[str, typer.Option(help="vllm, transformers or auto.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or auto.")] = "auto",
    rows: Annotated[int | None, typer.Option(help="Test rows for the metric; none: all.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Those with a fitting certificate too.")] = False,
) -> None:
    """After an upgrade: certify every bundle that has no certificate for the engine that is installed now."""
    from appkit.recertify import recertify as run

    if everything == bool(bundle):
        raise AppkitError("name bundles, or give --all for every one below --bundles (runs/ by default)")
    _quiet_libraries()
    outcomes = run(
        bundle or bundles,
        engine=engine,
        dtype=dtype,
        rows=rows,
        force=force,
        say=lambda line: print(line, flush=True),
    )
    _print_table(["bundle", "", ""], [[str(one.path), one.state, one.reason] for one in outcomes])
    if failed := sum(one.state == "failed" for one in outcomes):
        raise AppkitError(f"{failed} of {len(outcomes)} bundles are not certified; the table says why")


@app.command()
def serve(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BUNDLE|ALIAS=BUNDLE...] [serve.KEY=VALUE...]",
            help="Bundle or run directories, and settings.",
        ),
    ] = None,
    bundles: Annotated[
        Path | None, typer.Option("--bundles", help="Serve every bundle below, and add more while it runs.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="vllm, transformers or auto.")] = None,
    host: Annotated[str, typer.Option(help="Other than loopback needs --keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: a free one.")] = 8000,
    keys: Annotated[Path | None, typer.Option("--keys", help="See `appkit keys add`.")] = None,
    uncertified: Annotated[
        bool, typer.Option("--uncertified", help="Serve bundles without a certificate too.")
    ] = False,
) -> None:
    """Serve bundles behind one endpoint: OpenAI's routes and typed task routes."""
    import logging

    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise AppkitError(f"{error.name} is not installed; pip install 'appkit[serve]'") from None
    _quiet_libraries()
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("appkit").setLevel(logging.INFO)
    from appkit.serving.serve import serve as run

    run(
        words or (),
        root=bundles,
        host=host,
        port=port,
        keys=keys,
        say=_say,
        engine=engine,
        certified=False if uncertified else None,
    )


@keys.command("add")
def keys_add(
    file: Annotated[Path, typer.Argument(help="The key file; made if it is not there.")],
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    admin: Annotated[bool, typer.Option("--admin", help="May add, move and remove bundles.")] = False,
    alias: Annotated[list[str] | None, typer.Option(help="May use only this alias; repeat for more.")] = None,
    per_minute: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
) -> None:
    """Make a key and print it, once: only its hash is kept. A running gateway sees it at once."""
    from appkit.serving.keys import add_key

    print(add_key(file, name, admin=admin, aliases=alias, per_minute=per_minute))


@keys.command("list")
def keys_list(file: Annotated[Path, typer.Argument(help="The key file.")]) -> None:
    """Whose keys a file holds, and what each may do."""
    from appkit.serving.keys import read_keys

    rows = [
        [
            key.name,
            "yes" if key.admin else "",
            "all" if key.aliases is None else ", ".join(key.aliases) or "none",
            str(key.per_minute or ""),
        ]
        for key in read_keys(file)
    ]
    _print_table(["key", "admin", "aliases", "a minute"], rows)


Url = Annotated[str, typer.Option(help="The gateway's address.", envvar="APPKIT_URL")]
AccessKey = Annotated[str | None, typer.Option("--key", help="API key.", envvar="APPKIT_KEY")]
LOCAL = "http://127.0.0.1:8000"


@client.command("ask")
def client_ask(
    alias: Annotated[str, typer.Argument(help="An alias, or name@sha.")],
    inputs: Annotated[list[str] | None, typer.Argument(help="Inputs; none: from --file or stdin.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="One input a line, or JSONL rows.")
    ] = None,
    constrain: Annotated[bool, typer.Option("--constrain", help="Keep to the pack's grammar.")] = False,
    confidence: Annotated[
        bool, typer.Option("--confidence", help="How likely each answer is right.")
    ] = False,
    threshold: Annotated[float | None, typer.Option(help="Abstain below this confidence.")] = None,
    as_json: Annotated[bool, typer.Option("--jsonl", help="JSON objects instead of bare answers.")] = False,
    url: Url = LOCAL,
    key: AccessKey = None,
) -> None:
    """Answer inputs through a gateway."""
    from dataclasses import asdict

    from appkit.client import Client

    rows = _inputs(inputs, file)
    if not rows:
        raise AppkitError("nothing to answer; give inputs, --file, or lines on stdin")
    with Client(url, key=key) as gateway:
        answers = gateway.task(alias, rows, constrain=constrain, confidence=confidence, threshold=threshold)
    for one in answers:
        if as_json:
            print(json.dumps(asdict(one), ensure_ascii=False))
        else:
            shown = "(abstained)" if one.abstained else one.text if one.parsed is None else str(one.parsed)
            print(shown if one.confidence is None else f"{one.confidence:.2f}\t{shown}")


@client.command("bundles")
def client_bundles(url: Url = LOCAL, key: AccessKey = None) -> None:
    """What is served, and where the aliases point."""
    from appkit.client import Client

    with Client(url, key=key) as gateway:
        found = gateway.bundles()
    points: dict[str, list[str]] = {}
    for alias, where in found["aliases"].items():
        points.setdefault(where["current"], []).append(alias)
        if where["canary"]:
            points.setdefault(where["canary"], []).append(f"{alias} ({where['share']:.0%})")
    rows = [
        [
            one["bundle"],
            ", ".join(points.get(one["bundle"], [])),
            one["task"],
            one["base"],
            str(one["running"]),
        ]
        for one in found["bundles"]
    ]
    _print_table(["bundle", "aliases", "task", "base", "running"], rows)
    for path, reason in found["refused"].items():
        print(f"refused: {path}: {reason}")


@client.command("add")
def client_add(
    path: Annotated[str, typer.Argument(help="Its directory below the gateway's bundle root.")],
    alias: Annotated[str | None, typer.Option(help="To point to it.")] = None,
    url: Url = LOCAL,
    key: AccessKey = None,
) -> None:
    """Serve one more bundle."""
    from appkit.client import Client

    with Client(url, key=key) as gateway:
        print(gateway.add(path, alias)["bundle"])


@client.command("remove")
def client_remove(ref: str, url: Url = LOCAL, key: AccessKey = None) -> None:
    """Stop serving a version (name@sha), once its running requests have ended."""
    from appkit.client import Client

    with Client(url, key=key) as gateway:
        print(f"{gateway.remove(ref)['bundle']} is not served any more; its directory stays")


@client.command("point")
def client_point(
    alias: str,
    ref: str,
    share: Annotated[
        float, typer.Option(help="Below 1: as a canary, with this share of the requests.")
    ] = 1.0,
    url: Url = LOCAL,
    key: AccessKey = None,
) -> None:
    """Move an alias to a version, or give it a canary."""
    from appkit.client import Client

    with Client(url, key=key) as gateway:
        print(json.dumps(gateway.point(alias, ref, share)))


@client.command("rollback")
def client_rollback(alias: str, url: Url = LOCAL, key: AccessKey = None) -> None:
    """Withdraw an alias's canary; without one, go back to the version before."""
    from appkit.client import Client

    with Client(url, key=key) as gateway:
        print(json.dumps(gateway.rollback(alias)))


@app.command()
def methods() -> None:
    """Adapter methods and what they are."""
    from appkit.plugins import load_method
    from appkit.plugins import modules as found

    _print_table(
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
    _print_table(["task", "", "metrics"], rows)


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
    if task.tools:
        print("\ntools")
    for tool, function in task.tools.items():
        summary = " ".join((function.__doc__ or "").split("\n\n")[0].split())
        print(f"  {tool}({', '.join(inspect.signature(function).parameters)}): {summary}")


@models.command("list")
def models_list() -> None:
    """Presets, and which are on this machine."""
    from appkit.models import known

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
    _print_table(["model", "source", "id", "licence", "here"], rows)


@models.command("pull")
def models_pull(
    name: str, force: Annotated[bool, typer.Option(help="Fetch again, even if it is here.")] = False
) -> None:
    """Bring a base to this machine."""
    from appkit.config import model_config
    from appkit.models import pull

    _quiet_libraries()
    print(pull(model_config(name), force=force))


@models.command("show")
def models_show(name: str) -> None:
    """Size, shape, licence, source and fingerprint of a base."""
    from appkit.config import model_config
    from appkit.models import describe

    _quiet_libraries()
    for key, value in describe(model_config(name)).items():
        print(f"{key:14} {value}")


@data.command("check")
def data_check(
    overrides: Overrides = None,
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Every bad row with file, line, field and reason; duplicates, overlaps, lengths."""
    from appkit.check import check_data

    _quiet_libraries()
    report = check_data(_config(overrides, config))
    print(report.to_json() if as_json else "\n".join(report.lines()))
    if not report.ok:
        raise SystemExit(2)


@runs.command("list")
def runs_list(root: Annotated[Path, typer.Argument(help="Where to look.")] = Path("runs")) -> None:
    """Runs, newest first."""
    import time

    from appkit.runs import listed

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
    _print_table(["run", "task", "phase", "size", "changed", "base → adapter"], rows) if rows else print(
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
    from appkit.runs import prune

    _report_pruned(prune(root, whole=whole, older_than_days=older_than_days, unfinished=unfinished))


@cache.command("list")
def cache_list() -> None:
    """What is in the cache, least recently used first."""
    import time

    from appkit.cache import cache_dir, entries

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
    _print_table(["kind", "name", "size", "last used"], rows) if rows else print("empty")


@cache.command("prune")
def cache_prune(
    names: Annotated[list[str] | None, typer.Argument(help="Only these entries.")] = None,
    older_than_days: Annotated[float, typer.Option(help="Keep what was used since.")] = 0.0,
) -> None:
    """Remove entries; they are fetched again when needed."""
    from appkit.cache import entries, prune

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
    from appkit.doctor import diagnose

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
