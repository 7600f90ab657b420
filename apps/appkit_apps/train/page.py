"""Builds the page that trains a specialist: it checks rows, then watches a run. All state is the gateway's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import gradio as gr

from appkit.client import Client
from appkit.errors import GatewayError
from appkit_apps import parts
from appkit_apps.app import refusal, trouble

KINDS = [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".conll", ".bio", ".iob", ".iob2", ".gz"]
FAULTS = ["row", "field", "reason", "value"]
LOOK_S = 2.0
"""seconds between two looks at a run in training"""
BUSY = ("training", "stopping")


QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
PRIVATE: dict[str, Any] = {"api_visibility": "private"}


@dataclass(frozen=True)
class Form:
    """Holds the fields that say what to train, and what their check reports."""

    fields: list[gr.components.Component]
    """task, model, method, preset, name, epochs, rank, further settings; files of train, dev and test rows"""
    check: gr.Button
    report: gr.Markdown
    faults: gr.Dataframe
    start: gr.Button
    checked: gr.State
    """the run whose check passed, with the values of the fields at that time"""

    @property
    def result(self) -> list[gr.components.Component]:
        """Lists the components that a check changes."""
        return [self.report, self.faults, self.start, self.checked]


@dataclass(frozen=True)
class Panel:
    """Holds the components of the run that is shown."""

    run: gr.Dropdown
    stop: gr.Button
    further: gr.Button
    serve: gr.Button
    timer: gr.Timer
    shown: list[gr.components.Component]
    """the components that `_panel_updates` changes, in its order"""


def build(blocks: gr.Blocks, client: Client, offered: Mapping[str, Any] | str) -> None:
    """Builds the page.

    offered: what `Client.runs` returned when the gallery started, or why nothing can be trained.
    """
    gr.Markdown("# Train a specialist")
    if isinstance(offered, str):
        gr.Markdown(f"Nothing can be trained here: {parts.plain(offered)}", elem_id="state")
        return
    tasks = {task["name"]: task for task in offered["tasks"]}
    form = _form(offered, tasks)
    panel = _panel()
    runs = Runs(client, tasks, len(panel.shown))
    _bind_form(form, panel, runs)
    _bind_panel(panel, runs)
    blocks.load(runs.listed, None, [panel.run, *panel.shown], **QUIET)


def _form(offered: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]]) -> Form:
    """Builds the fields, and the buttons that check and start."""
    methods = [method["name"] for method in offered["methods"]]
    with gr.Row():
        task = gr.Dropdown(list(tasks), value=next(iter(tasks)), label="Task", elem_id="task")
        model = gr.Dropdown(
            offered["models"], value=_first(offered["models"]), label="Model", elem_id="model"
        )
        method = gr.Dropdown(methods, value=_first(methods, "lora"), label="Method", elem_id="method")
        preset = gr.Dropdown(
            offered["presets"], value=_first(offered["presets"], "quick"), label="Effort", elem_id="preset"
        )
    about = gr.Markdown(_about(tasks[next(iter(tasks))]), elem_id="about-task")
    train = gr.File(
        label="Rows to train on; none: those that the task ships", file_types=KINDS, elem_id="rows"
    )
    with gr.Accordion("Rows of your own to measure on", open=False):
        dev = gr.File(
            label="For stopping early; none: a share of the rows", file_types=KINDS, elem_id="rows-dev"
        )
        test = gr.File(
            label="For the final figures; none: a share of the rows", file_types=KINDS, elem_id="rows-test"
        )
    with gr.Row():
        name = gr.Textbox(label="Name; none: the task's", max_lines=1, elem_id="name")
        epochs = gr.Number(label="Epochs; 0: the preset's", value=0, minimum=0, elem_id="epochs")
        rank = gr.Number(label="Rank; 0: the method's", value=0, minimum=0, precision=0, elem_id="rank")
    more = gr.Textbox(
        label="Further settings, KEY=VALUE, one a line",
        placeholder="data.columns.text=body\ntrain.learning_rate=5e-4",
        lines=2,
        elem_id="more",
    )
    check = gr.Button("Check the data", elem_id="check")
    report = gr.Markdown(elem_id="checked")
    faults = gr.Dataframe(
        headers=FAULTS, label="Rows at fault", interactive=False, wrap=True, visible=False, elem_id="faults"
    )
    start = gr.Button("Train", variant="primary", interactive=False, elem_id="train")
    task.change(lambda chosen: _about(tasks[chosen]), task, about, **QUIET)
    fields = [task, model, method, preset, name, epochs, rank, more, train, dev, test]
    return Form(fields, check, report, faults, start, gr.State(None))


def _panel() -> Panel:
    """Builds the components that show a run, and the buttons that stop, resume and serve it."""
    gr.Markdown("## Runs")
    run = gr.Dropdown([], label="Run", elem_id="run")
    state = gr.Markdown(elem_id="state")
    bar = gr.HTML(elem_id="bar")
    with gr.Row():
        stop = gr.Button("Stop", visible=False, elem_id="stop")
        further = gr.Button("Go on", visible=False, elem_id="further")
        serve = gr.Button("Serve it", variant="primary", visible=False, elem_id="serve")
    loss = gr.LinePlot(x="step", y="loss", label="Loss", height=240, visible=False, elem_id="loss")
    scores = gr.LinePlot(
        x="step",
        y="score",
        color="metric",
        label="On the dev rows",
        height=240,
        visible=False,
        elem_id="scores",
    )
    lines = gr.Textbox(label="What it said last", lines=8, max_lines=8, interactive=False, elem_id="said")
    timer = gr.Timer(LOOK_S, active=False)
    shown = [state, bar, stop, further, serve, loss, scores, lines, timer]
    return Panel(run, stop, further, serve, timer, shown)


class Runs:
    """Asks the gateway about its runs for the page's events. shown: number of components that show a run."""

    def __init__(self, client: Client, tasks: Mapping[str, Mapping[str, Any]], shown: int) -> None:
        self.client, self.tasks, self.shown = client, tasks, shown

    def look(self, run: str | None) -> tuple[Any, ...]:
        """Shows a run as it is now."""
        return _panel_updates(_call(self.client.run, run) if run else None)

    def glance(self, run: str | None) -> tuple[Any, ...]:
        """Shows a run by the timer: a gateway that does not answer is reported once, in the page."""
        try:
            return self.look(run)
        except gr.Error as error:
            return (error.message, *[gr.skip()] * (self.shown - 1))

    def listed(self, run: str | None = None) -> tuple[Any, ...]:
        """Lists the runs and shows one: if none is chosen, the one in training."""
        answer = _call(self.client.runs)
        known = [entry["id"] for entry in answer["runs"] if entry["phase"] != "new"]
        chosen = run if run in known else answer["running"] or _first(known)
        return gr.update(choices=known, value=chosen), *self.look(chosen)

    def check(self, *values: Any) -> tuple[Any, ...]:
        """Sends the rows of a filled form, and reports what their check found."""
        words, rows = _words(*values[:8]), _rows(*values[8:])
        if not rows.get("train") and not self.tasks[values[0]]["ships"]:
            raise trouble(f"The task {values[0]} ships no rows: choose a file of yours.")
        report = _call(self.client.check, words, rows)
        cells = [
            [f"{fault['file']}:{fault['line']}", fault["field"] or "", fault["reason"], fault["value"]]
            for fault in report["faults"]
        ]
        checked = {"run": report["id"], "form": list(values)} if report["ok"] else None
        return (
            _check_report(report),
            gr.update(value=cells, visible=bool(cells)),
            gr.update(interactive=report["ok"]),
            checked,
        )

    def begin(self, checked: Any, *values: Any) -> tuple[Any, ...]:
        """Starts the run whose check passed."""
        # the form may have been changed while the check was made
        if not checked or checked["form"] != list(values):
            raise trouble("What is to be trained was changed since the check: check the data again.")
        _call(self.client.start, checked["run"])
        return gr.update(interactive=False), None, *self.listed(checked["run"])

    def stop(self, run: str) -> tuple[Any, ...]:
        """Stops a run, which saves its state."""
        _call(self.client.stop, run)
        return self.look(run)

    def resume(self, run: str) -> tuple[Any, ...]:
        """Resumes a run that was stopped or failed."""
        _call(self.client.start, run)
        return self.look(run)

    def serve(self, run: str) -> tuple[Any, ...]:
        """Serves a run's bundle under a name that nothing is served under yet."""
        now = _call(self.client.run, run)
        aliases = {task["alias"] for task in _call(self.client.tasks)}
        _call(self.client.add, now["bundle"], _free_alias(_alias(now), aliases))
        return self.look(run)


def _bind_form(form: Form, panel: Panel, runs: Runs) -> None:
    """Binds the form's events: check and start; a change of any field asks for another check."""
    gr.on(
        [field.change for field in form.fields],
        lambda: ("", gr.update(visible=False), gr.update(interactive=False), None),
        None,
        form.result,
        **QUIET,
    )
    form.check.click(runs.check, form.fields, form.result, **PRIVATE)
    started = [form.start, form.checked, panel.run, *panel.shown]
    form.start.click(runs.begin, [form.checked, *form.fields], started, **PRIVATE)


def _bind_panel(panel: Panel, runs: Runs) -> None:
    """Binds the panel's events: stop, resume, serve and watch the run that is shown."""
    panel.stop.click(runs.stop, panel.run, panel.shown, **PRIVATE)
    panel.further.click(runs.resume, panel.run, panel.shown, **PRIVATE)
    panel.serve.click(runs.serve, panel.run, panel.shown, **PRIVATE)
    panel.run.input(runs.look, panel.run, panel.shown, **QUIET)
    panel.timer.tick(runs.glance, panel.run, panel.shown, **QUIET)


def _call(method: Any, *values: Any) -> Any:
    """Calls the gateway and returns its answer. Raises gr.Error, which says what to do."""
    try:
        return method(*values)
    except GatewayError as error:
        raise trouble(refusal(error)) from None


def _alias(now: Mapping[str, Any]) -> str:
    """Returns the name that the run was given; without one, the name of its task."""
    named = [word.removeprefix("name=") for word in now["words"] if word.startswith("name=")]
    return named[-1] if named else str(now["task"])


def _free_alias(name: str, aliases: set[str]) -> str:
    """Returns the name, or the first of name-2, name-3, ... that nothing is served under.

    Whoever asks by a name that is served gets the same version as before.
    """
    tries = (f"{name}-{number}" if number > 1 else name for number in count(1))
    return next(alias for alias in tries if alias not in aliases)


def _first(names: Sequence[str], preferred: str = "smollm2-135m") -> str | None:
    return preferred if preferred in names else next(iter(names), None)


def _about(task: Mapping[str, Any]) -> str:
    """Says what the task is, and which columns its rows have."""
    columns = ", ".join(f"`{field['name']}`" for field in task["fields"] if field["required"])
    ships = "it ships rows" if task["ships"] else "it ships no rows: bring yours"
    return f"{parts.plain(task['summary'])} · columns {columns} · {ships}"


def _words(
    task: str,
    model: str,
    method: str,
    preset: str,
    name: str,
    epochs: float | None,
    rank: int | None,
    more: str,
) -> list[str]:
    """Writes the form as words of `appkit train`."""
    words = [f"task={task}", f"model={model}", f"method={method}", f"train={preset}"]
    words += [f"name={name.strip()}"] if name.strip() else []
    words += [f"train.epochs={epochs:g}"] if epochs else []
    words += [f"method.rank={rank}"] if rank else []
    return words + [line.strip() for line in more.splitlines() if line.strip()]


def _rows(train: str | None, dev: str | None, test: str | None) -> dict[str, str]:
    """Returns the files of rows that the user chose, by split."""
    return {split: file for split, file in (("train", train), ("dev", dev), ("test", test)) if file}


KIND = {
    "faults": "rows at fault",
    "duplicates": "exact duplicates (training leaves them out)",
    "overlaps": "inputs in two splits (training leaves them out)",
    "alike": "rows with an input almost like that of another (data.near); they stay",
    "conflicts": "inputs with more than one answer",
    "long": "rows that are too long (data.max_length)",
}


def _check_report(report: Mapping[str, Any]) -> str:
    """Writes what the check found as Markdown."""
    sound = "**The data is sound.**" if report["ok"] else "**Not yet: this cannot be trained on.**"
    lines = [sound, "", *(f"- {parts.plain(split)}: {count} rows" for split, count in report["rows"].items())]
    lines += [f"- {count} {KIND[kind]}" for kind, count in report["counts"].items() if count]
    for split, pairs in report["duplicates"].items():
        lines += [f"    - {parts.plain(again)} repeats {parts.plain(first)}" for first, again in pairs[:3]]
        lines += [f"    - … in {split}"] if len(pairs) > 3 else []
    for pair in (report.get("alike") or ())[:3]:
        sides = zip(pair["places"], pair["inputs"], strict=True)
        shown = " / ".join(f"{parts.plain(place)} {parts.plain(text)}" for place, text in sides)
        lines.append(f"    - {pair['similarity']:.2f} alike: {shown}")
    for split, kinds in report["lengths"].items():
        for what, values in kinds.items():
            figures = ", ".join(f"{key} {value}" for key, value in values.items())
            lines.append(f"- {parts.plain(split)}: {what} {figures}")
    return "\n".join(lines)


def _panel_updates(now: Mapping[str, Any] | None) -> tuple[Any, ...]:
    """Updates the components that show a run: text, bar, three buttons, two plots, last lines, timer."""
    if now is None:
        off = gr.update(visible=False)
        return "No run yet.", "", off, off, off, off, off, "", gr.update(active=False)
    phase = now["phase"]
    return (
        _state(now),
        _bar(now),
        gr.update(visible=phase in BUSY, value="Stop" if phase == "training" else "Stop at once"),
        gr.update(
            visible=phase in ("stopped", "failed", "checked"),
            value="Train" if phase == "checked" else "Go on",
        ),
        gr.update(visible=phase == "done" and not now["served"]),
        _curve(now["points"]),
        _dev(now["points"]),
        "\n".join(now["lines"]),
        gr.update(active=phase in BUSY),
    )


def _state(now: Mapping[str, Any]) -> str:
    """Writes phase, progress and end of a run as Markdown."""
    lines = [f"**{now['phase']}** · `{' '.join(now['words'])}`"]
    if now["steps"]:
        lines[0] = f"**{now['phase']}** · step {now['step']} of {now['steps']} · `{' '.join(now['words'])}`"
    if bar := now["progress"]:
        lines.append(
            f"{parts.plain(bar['title'])} {bar['done']}/{bar['total']} {bar['unit']} · {parts.plain(bar['note'])}"
        )
    if now["phase"] in BUSY and now["forecast"]:
        lines.append(f"forecast: {parts.plain(now['forecast'])}")
    if now["error"]:
        lines.append(f"It failed: {parts.plain(now['error'])}")
    if now["phase"] == "done":
        lines.append(parts.plain(now["verdict"] or ""))
        for who, metrics in now["scores"].items():
            figures = [
                f"{name} {score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})"
                for name, score in metrics.items()
            ]
            lines.append(f"{parts.plain(who)}: {parts.plain(', '.join(figures))}")
    if now["served"]:
        lines.append(f"Served as `{now['served']}`: the home page leads to its own within seconds.")
    return "\n\n".join(lines)


def _bar(now: Mapping[str, Any]) -> str:
    if now["phase"] not in BUSY or not now["steps"]:
        return ""
    done, most = int(now["step"]), int(now["steps"])
    return f'<progress aria-label="Steps" style="width: 100%" value="{done}" max="{most}"></progress>'


def _curve(points: Sequence[Mapping[str, float]]) -> Any:
    import pandas as pd

    curve = [{"step": point["step"], "loss": point["loss"]} for point in points if "loss" in point]
    return gr.update(value=pd.DataFrame(curve, columns=["step", "loss"]), visible=bool(curve))


def _dev(points: Sequence[Mapping[str, float]]) -> Any:
    import pandas as pd

    scores = [
        {"step": point["step"], "metric": key.removeprefix("eval_"), "score": value}
        for point in points
        for key, value in point.items()
        if key.startswith("eval_")
    ]
    return gr.update(value=pd.DataFrame(scores, columns=["step", "metric", "score"]), visible=bool(scores))
