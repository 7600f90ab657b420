"""The commands around apps: demo, feedback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from appkit.cli.terminal import print_table, say
from appkit.data.feedback import Feedback
from appkit.errors import AppkitError, ConfigError

__all__ = ["app"]

app = typer.Typer()
feedback = typer.Typer(no_args_is_help=True, help="Feedback on answers: list, review, export.")
app.add_typer(feedback, name="feedback")

STORE = Path("feedback.sqlite")
Store = Annotated[Path, typer.Option("--store", help="The file that `appkit demo --feedback` wrote.")]


@app.command()
def demo(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[task=NAME] [rag=INDEX]", help="Its newest bundle; documents at hand."),
    ] = None,
    bundles: Annotated[
        Path | None, typer.Option("--bundles", help="Every bundle below this directory.")
    ] = None,
    gateway: Annotated[
        str | None, typer.Option(help="Show what this gateway serves.", envvar="APPKIT_URL")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="The gateway's API key.", envvar="APPKIT_KEY")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="Engine of the gateway that is started: vllm, transformers, auto.")
    ] = "auto",
    host: Annotated[str, typer.Option(help="A host other than loopback needs --auth-file.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the page.")] = 7860,
    auth_file: Annotated[Path | None, typer.Option(help="Who may log in: lines of name:password.")] = None,
    feedback_file: Annotated[
        Path | None, typer.Option("--feedback", help="Keep thumbs and corrections in this file.")
    ] = STORE,
    no_feedback: Annotated[bool, typer.Option("--no-feedback", help="Ask for no opinions.")] = False,
    days: Annotated[
        int, typer.Option("--feedback-days", help="Days to keep texts that nobody accepted.")
    ] = 90,
    per_minute: Annotated[int, typer.Option(help="Rows a minute that one user may ask.")] = 600,
) -> None:
    """Open a page for each specialist in the browser; starts a gateway unless one is named."""
    from appkit.cli.demo import demo as run
    from appkit.config import rag_words

    task = None
    _, others = rag_words(words or ())
    for word in others:
        name, equals, value = word.partition("=")
        if name != "task" or not equals or not value:
            raise ConfigError(f"expected task=NAME, got {word!r}; for instance appkit demo task=nl2fol")
        task = value
    run(
        task,
        root=bundles,
        gateway=gateway,
        key=key,
        host=host,
        port=port,
        auth=auth_file,
        feedback=None if no_feedback else feedback_file,
        days=days,
        per_minute=per_minute,
        engine=engine,
        rag=[word for word in words or () if word not in others],
        say=say,
    )


@feedback.command("list")
def feedback_list(
    store: Store = STORE,
    task: Annotated[str | None, typer.Option(help="Of this task only.")] = None,
) -> None:
    """Count verdicts and corrections by task and version."""
    entries = _open_store(store).entries(task=task)
    if not entries:
        print("there is no feedback yet")
        return
    rows = []
    for model in dict.fromkeys((entry.task, entry.model) for entry in entries):
        model_entries = [entry for entry in entries if (entry.task, entry.model) == model]
        rows.append(
            [
                *model,
                str(sum(entry.verdict == "up" for entry in model_entries)),
                str(sum(entry.verdict == "down" for entry in model_entries)),
                str(sum(entry.correction is not None for entry in model_entries)),
                str(sum(entry.status == "accepted" for entry in model_entries)),
            ]
        )
    print_table(["task", "bundle", "right", "wrong", "corrected", "accepted"], rows)


@feedback.command("review")
def feedback_review(
    store: Store = STORE,
    task: Annotated[str | None, typer.Option(help="Of this task only.")] = None,
) -> None:
    """Show each new correction, and accept or reject it: training uses accepted ones only."""
    feedback_store = _open_store(store)
    pending = [
        entry for entry in feedback_store.entries(task=task, status="new") if entry.correction is not None
    ]
    if not pending:
        print("no correction waits for a review")
        return
    for number, entry in enumerate(pending, 1):
        print(f"\n{number}/{len(pending)}  {entry.task}  {entry.model}")
        print(f"  input       {json.dumps(entry.input, ensure_ascii=False)}")
        print(f"  answered    {entry.answer}")
        print(f"  correction  {json.dumps(entry.correction, ensure_ascii=False)}")
        match typer.prompt("accept, reject, skip or quit", default="skip")[:1].lower():
            case "a":
                feedback_store.review(entry.id, "accepted")
            case "r":
                feedback_store.review(entry.id, "rejected")
            case "q":
                return


@feedback.command("export")
def feedback_export(
    task: Annotated[str, typer.Argument(help="The task pack.")],
    file: Annotated[Path, typer.Argument(help="JSONL file to write.")],
    store: Store = STORE,
    pairs: Annotated[bool, typer.Option("--pairs", help="Preferences instead: chosen and rejected.")] = False,
) -> None:
    """Write the accepted corrections as rows of the task, or as preferences."""
    from appkit.plugins import load_task
    from appkit.storage.atomic import write_text

    feedback_store = _open_store(store)
    rows = (
        feedback_store.pairs(task)
        if pairs
        else list(feedback_store.rows(task, load_task(task).output).values())
    )
    if not rows:
        raise AppkitError(f"no accepted correction of task {task!r} in {store}; appkit feedback review")
    write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"{len(rows)} {'pairs' if pairs else 'rows'} written to {file}")


def _open_store(store: Path) -> Feedback:
    if not store.is_file():
        raise AppkitError(f"no feedback store {store}; appkit demo keeps one, --store names another")
    return Feedback(store)
