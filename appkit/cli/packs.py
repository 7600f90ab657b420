"""The commands around packs and their rows: methods, tasks, data."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from appkit.cli.options import ConfigFile, Overrides, run_config
from appkit.cli.terminal import print_table, quiet_libraries

__all__ = ["app", "data", "methods", "tasks"]

app = typer.Typer()
methods = typer.Typer(invoke_without_command=True, help="Adapter methods: list, show.")
tasks = typer.Typer(no_args_is_help=True, help="Task packs: list, show.")
data = typer.Typer(no_args_is_help=True, help="Check rows before training on them, or build some.")


@methods.callback()
def methods_default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        methods_list()


@methods.command("list")
def methods_list() -> None:
    """List the adapter methods, with a line on each."""
    from appkit.plugins import load_method, modules

    rows = []
    for name in sorted(modules("appkit.methods")):
        method = load_method(name)
        rows.append([name, method.summary, method.paper.rpartition("arXiv ")[2].partition(";")[0]])
    print_table(["method", "", "arXiv"], rows)


@methods.command("show")
def methods_show(name: str) -> None:
    """Show a method's paper, formula, options, export, cost, and what is proven of it."""
    from appkit.plugins import load_method

    method = load_method(name)
    options = method.config()
    served = method.servable(options)
    print(f"{method.name}: {method.summary}\n")
    print(f"paper       {method.paper or 'none'}")
    print(f"formula     {method.formula or 'in the README'}")
    print(f"proven      {method.proof or 'nothing beyond what every method is tested for'}")
    print(f"unverified  {method.unverified or 'nothing'}")
    print(f"engines     {', '.join(served.engines)}" + (f"; {served.reason}" if served.reason else ""))
    print(f"export      {f'LoRA of rank {served.rank}' if served.rank else 'no low-rank update'}")
    trained = method.trained_parameters(options, [(1024, 1024)])
    print(f"cost        {trained:,} trained parameters for a layer of 1,024 x 1,024, with the defaults below")
    print("\noptions (method.<key>=)")
    for field, info in method.config.model_fields.items():
        if field != "name":
            print(f"  {field} = {getattr(options, field)!r}  {info.description or ''}")


@tasks.command("list")
def tasks_list() -> None:
    """List the installed task packs."""
    from appkit.plugins import load_task, modules

    rows = []
    for name in sorted(modules("appkit.tasks")):
        task = load_task(name)
        rows.append([name, task.summary, ", ".join(metric.name for metric in task.metrics)])
    print_table(["task", "", "metrics"], rows)


@tasks.command("show")
def tasks_show(name: str) -> None:
    """Show a pack's row schema, options, metrics and examples."""
    from appkit.cli.daily import FILE, list_commands
    from appkit.plugins import load_task

    task = load_task(name)
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
        print(f"\ndocuments\n  rag=INDEX fills {task.retrieval.field} with the passages found")
    if task.build:
        print(f"\nbuild rows (appkit data build {task.name} <key>=<value> ...)")
        for field, info in task.build.options.model_fields.items():
            default = "needed" if info.is_required() else repr(info.get_default())
            print(f"  {field} = {default}  {info.description or ''}")
    if task.commands:
        print("\ncommands")
    named = {command: line for command, (owner, line) in list_commands().items() if owner == task.name}
    for command in task.commands:
        print(
            f"  appkit {command}: {named.get(command, f'not there, since {FILE} of the task does not name it')}"
        )
    if task.tools:
        print("\ntools")
    for tool, function in task.tools.items():
        summary = " ".join((function.__doc__ or "").split("\n\n")[0].split())
        print(f"  {tool}({', '.join(inspect.signature(function).parameters)}): {summary}")


@data.command("check")
def data_check(
    overrides: Overrides = None,
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    most: Annotated[
        int | None, typer.Option(min=0, help="Items of each kind in the JSON, with counts of all.")
    ] = None,
    max_rows: Annotated[
        int | None, typer.Option(min=1, help="Rows of a file, or lines of a text file, that are read.")
    ] = None,
    max_unpacked: Annotated[
        int | None, typer.Option(min=1, help="Bytes of a file, unpacked, that are read.")
    ] = None,
    max_gib: Annotated[int | None, typer.Option(min=1, help="GiB of memory that the check may take.")] = None,
) -> None:
    """Report every bad row with file, line, field and reason; duplicates, overlaps, lengths."""
    from appkit.data.limits import Limits
    from appkit.runs.check import check_data, limited_memory

    quiet_libraries()
    with limited_memory(max_gib):
        report = check_data(run_config(overrides, config), Limits(max_rows, max_unpacked))
        print(report.to_json(most) if as_json else "\n".join(report.lines()))
    if not report.ok:
        raise SystemExit(2)


@data.command("build")
def data_build(
    task: Annotated[str, typer.Argument(help="A task that builds rows, such as codechange.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="What to read, and how; `appkit tasks show TASK`."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory for the files.")] = Path("data"),
) -> None:
    """Build rows from raw material, such as a git repository, with counts of all that is left out."""
    from appkit.cli.daily import read_options, read_words
    from appkit.runs.build import build_rows, find_build

    build = find_build(task)
    for line in build_rows(build, read_options(build.options, read_words(words or ())), out):
        print(line)
