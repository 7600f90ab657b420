"""The page where a specialist is trained: rows are checked, then a run is watched. All state is the gateway's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import gradio as gr

from appkit.client import Client
from appkit.errors import GatewayError
from appkit_apps import parts
from appkit_apps.app import refusal, trouble

KINDS = [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".conll", ".bio", ".iob", ".iob2"]
FAULTS = ["row", "field", "reason", "value"]
LOOK_S = 2.0
"""between two looks at a run that is trained"""
BUSY = ("training", "stopping")


def build(blocks: gr.Blocks, client: Client, offered: Mapping[str, Any] | str) -> None:
    """offered: what `Client.runs` told when the gallery was started, or why nothing can be trained."""
    gr.Markdown("# Train a specialist")
    if isinstance(offered, str):
        gr.Markdown(f"Nothing can be trained here: {parts.plain(offered)}", elem_id="state")
        return
    tasks = {one["name"]: one for one in offered["tasks"]}
    methods = [one["name"] for one in offered["methods"]]
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
    said = gr.Textbox(label="What it said last", lines=8, max_lines=8, interactive=False, elem_id="said")
    timer = gr.Timer(LOOK_S, active=False)
    checked = gr.State(None)
    """the run whose check passed, with the form as it was then"""

    form = [task, model, method, preset, name, epochs, rank, more, train, dev, test]
    shown = [state, bar, stop, further, serve, loss, scores, said, timer]

    def look(chosen: str | None) -> tuple[Any, ...]:
        if not chosen:
            return _looks(None)
        return _looks(_asked(client.run, chosen))

    def glance(chosen: str | None) -> tuple[Any, ...]:
        """The same unasked: a gateway that is gone is told of once, in the page."""
        try:
            return look(chosen)
        except gr.Error as error:
            return (error.message, *[gr.skip()] * (len(shown) - 1))

    def listed(chosen: str | None = None) -> tuple[Any, ...]:
        """The runs there are now, and one of them: the one that is trained, if none is chosen."""
        found = _asked(client.runs)
        known = [one["id"] for one in found["runs"] if one["phase"] != "new"]
        picked = chosen if chosen in known else found["running"] or _first(known)
        return gr.update(choices=known, value=picked), *look(picked)

    def ask(*values: Any) -> tuple[Any, ...]:
        words, rows = _words(*values[:8]), _rows(*values[8:])
        if not rows.get("train") and not tasks[values[0]]["ships"]:
            raise trouble(f"The task {values[0]} ships no rows: choose a file of yours.")
        found = _asked(client.check, words, rows)
        cells = [
            [f"{one['file']}:{one['line']}", one["field"] or "", one["reason"], one["value"]]
            for one in found["faults"]
        ]
        kept = {"run": found["id"], "form": list(values)} if found["ok"] else None
        return (
            _report(found),
            gr.update(value=cells, visible=bool(cells)),
            gr.update(interactive=found["ok"]),
            kept,
        )

    def begin(kept: Any, *values: Any) -> tuple[Any, ...]:
        # the form may have been changed while the check was made
        if not kept or kept["form"] != list(values):
            raise trouble("What is to be trained was changed since the check: check the data again.")
        _asked(client.start, kept["run"])
        return gr.update(interactive=False), None, *listed(kept["run"])

    def end(chosen: str) -> tuple[Any, ...]:
        _asked(client.stop, chosen)
        return look(chosen)

    def go_on(chosen: str) -> tuple[Any, ...]:
        _asked(client.start, chosen)
        return look(chosen)

    def add(chosen: str) -> tuple[Any, ...]:
        now = _asked(client.run, chosen)
        taken = {one["alias"] for one in _asked(client.tasks)}
        _asked(client.add, now["bundle"], _free(_alias(now), taken))
        return look(chosen)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    private: dict[str, Any] = {"api_visibility": "private"}
    task.change(lambda chosen: _about(tasks[chosen]), task, about, **quiet)
    gr.on(
        [one.change for one in form],
        lambda: ("", gr.update(visible=False), gr.update(interactive=False), None),
        None,
        [report, faults, start, checked],
        **quiet,
    )
    check.click(ask, form, [report, faults, start, checked], **private)
    start.click(begin, [checked, *form], [start, checked, run, *shown], **private)
    stop.click(end, run, shown, **private)
    further.click(go_on, run, shown, **private)
    serve.click(add, run, shown, **private)
    run.input(look, run, shown, **quiet)
    timer.tick(glance, run, shown, **quiet)
    blocks.load(listed, None, [run, *shown], **quiet)


def _asked(call: Any, *values: Any) -> Any:
    """What the gateway answers. Raises gr.Error with what to do."""
    try:
        return call(*values)
    except GatewayError as error:
        raise trouble(refusal(error)) from None


def _alias(now: Mapping[str, Any]) -> str:
    """What the run was to be called; none: its task."""
    named = [word.removeprefix("name=") for word in now["words"] if word.startswith("name=")]
    return named[-1] if named else str(now["task"])


def _free(name: str, taken: set[str]) -> str:
    """The name, or the first of name-2, name-3, ... that nothing is served under: whoever asks goes on being answered
    by what they know."""
    tries = (f"{name}-{number}" if number > 1 else name for number in count(1))
    return next(one for one in tries if one not in taken)


def _first(names: Sequence[str], wanted: str = "smollm2-135m") -> str | None:
    return wanted if wanted in names else next(iter(names), None)


def _about(task: Mapping[str, Any]) -> str:
    """What the task is, and which columns its rows have."""
    columns = ", ".join(f"`{one['name']}`" for one in task["fields"] if one["required"])
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
    words = [f"task={task}", f"model={model}", f"method={method}", f"train={preset}"]
    words += [f"name={name.strip()}"] if name.strip() else []
    words += [f"train.epochs={epochs:g}"] if epochs else []
    words += [f"method.rank={rank}"] if rank else []
    return words + [line.strip() for line in more.splitlines() if line.strip()]


def _rows(train: str | None, dev: str | None, test: str | None) -> dict[str, str]:
    return {split: file for split, file in (("train", train), ("dev", dev), ("test", test)) if file}


KIND = {
    "faults": "rows at fault",
    "duplicates": "exact duplicates (training leaves them out)",
    "overlaps": "inputs in two splits (training leaves them out)",
    "conflicts": "inputs with more than one answer",
    "long": "rows that are too long (data.max_length)",
}


def _report(found: Mapping[str, Any]) -> str:
    """What the check found, as Markdown."""
    sound = "**The data is sound.**" if found["ok"] else "**Not yet: this cannot be trained on.**"
    lines = [sound, "", *(f"- {parts.plain(split)}: {count} rows" for split, count in found["rows"].items())]
    lines += [f"- {count} {KIND[kind]}" for kind, count in found["counts"].items() if count]
    for split, pairs in found["duplicates"].items():
        lines += [f"    - {parts.plain(again)} repeats {parts.plain(first)}" for first, again in pairs[:3]]
        lines += [f"    - … in {split}"] if len(pairs) > 3 else []
    for split, kinds in found["lengths"].items():
        for what, values in kinds.items():
            figures = ", ".join(f"{key} {value}" for key, value in values.items())
            lines.append(f"- {parts.plain(split)}: {what} {figures}")
    return "\n".join(lines)


def _looks(now: Mapping[str, Any] | None) -> tuple[Any, ...]:
    """The components that show a run: text, bar, three buttons, two plots, last lines, timer."""
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
    """Phase, progress and end of a run, as Markdown."""
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
                f"{name} {one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
                for name, one in metrics.items()
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

    curve = [{"step": one["step"], "loss": one["loss"]} for one in points if "loss" in one]
    return gr.update(value=pd.DataFrame(curve, columns=["step", "loss"]), visible=bool(curve))


def _dev(points: Sequence[Mapping[str, float]]) -> Any:
    import pandas as pd

    found = [
        {"step": one["step"], "metric": key.removeprefix("eval_"), "score": value}
        for one in points
        for key, value in one.items()
        if key.startswith("eval_")
    ]
    return gr.update(value=pd.DataFrame(found, columns=["step", "metric", "score"]), visible=bool(found))
