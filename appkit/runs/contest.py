"""Contest compares adapter methods fairly: each is tuned on the same grid, then trained at its best over several seeds.

Everything is in one directory, and a contest that was stopped goes on where it was:

    contest.json      what is compared; it cannot change
    tuning.jsonl      a line for each cell of the grid and method
    runs/             a run directory for each method and seed
    results.json, report.md, methods.png
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from appkit.config import RunConfig, build_run_config, to_values
from appkit.errors import ConfigError, Interrupted, RunError
from appkit.evaluation.contest import ContestResult, Standing, write_contest
from appkit.evaluation.scores import score
from appkit.plugins import did_you_mean, load_method, modules
from appkit.progress import Progress
from appkit.runs import directory
from appkit.runs.base import set_threads
from appkit.runs.prepare import Prepared, Say, plan_steps, prepare, quiet
from appkit.runs.train import TrainResult, build, train
from appkit.stats import intervals
from appkit.storage.atomic import write_text
from appkit.task import Metric

if TYPE_CHECKING:
    from appkit.models.base import Base

__all__ = ["Contest", "choose_cell", "compare_methods", "mean_over_seeds"]

REFERENCE = "lora"
QUIET_EVAL = {"baseline": False, "quant_rows": 0}
"""nothing but the adapter is measured"""


@dataclass(frozen=True)
class Contest:
    """What is compared, and with which effort; the same for every method."""

    methods: tuple[str, ...]
    """names; all are compared with lora, or with the first where lora is not among them"""
    learning_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    batch_rows: tuple[int, ...] = (8, 32)
    """rows of an optimizer step; a smaller number means more steps over the same tokens"""
    share: float = 0.25
    """of the training rows that tuning uses, above 0 to 1"""
    seeds: int = 3
    """runs of each method at its best"""

    def __post_init__(self) -> None:
        for names, key in (
            (self.methods, "methods"),
            (self.learning_rates, "rates"),
            (self.batch_rows, "rows"),
        ):
            if not names:
                raise ConfigError(f"--{key} is empty; name at least one, separated by commas")
            if len(set(names)) < len(names):
                raise ConfigError(f"--{key} names one twice: {', '.join(map(str, names))}; leave it out")
        for name in self.methods:
            if name not in modules("appkit.methods"):
                raise ConfigError(
                    f"no method {name!r}; {did_you_mean(name, sorted(modules('appkit.methods')))}"
                )
        if not 0 < self.share <= 1:
            raise ConfigError(f"--share must be above 0 and at most 1, got {self.share}")
        if not 1 <= self.seeds <= 100:
            raise ConfigError(f"--seeds must be in 1..100, got {self.seeds}")

    @property
    def reference(self) -> str:
        """The method that the others are compared with."""
        return REFERENCE if REFERENCE in self.methods else self.methods[0]

    @property
    def cells(self) -> list[tuple[float, int]]:
        """The grid: (learning rate, rows of a step)."""
        return [(rate, rows) for rows in self.batch_rows for rate in self.learning_rates]


def compare_methods(
    config: RunConfig,
    contest: Contest,
    folder: Path,
    options: Mapping[str, Any] | None = None,
    say: Say = quiet,
) -> ContestResult:
    """Tune every method on a share of the training rows by its dev score, train the best over seeds, and compare.

    `config` says task, model, data and training of all; its method, learning rate and batch rows are replaced.
    `options` go to each method that has an option of that name, such as rank.

    Raises ConfigError for options that no method has or that one refuses, RunError when `folder` holds another contest.
    """
    configs = {name: _configure(config, name, options or {}) for name in contest.methods}
    _check_options(options or {}, configs)
    settings = _write_settings(contest, configs)
    _check_folder(folder, settings)
    try:
        prepared = prepare(config, say)  # before anything is written: bad data leaves no directory
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "contest.json", settings)
        tuned = _tune(contest, configs, prepared, folder, say)
        metric = prepared.head.task.metric(prepared.head.task.primary)
        chosen = {name: choose_cell(tuned, name, metric) for name in contest.methods}
        results = _train_all(contest, configs, chosen, folder, say)
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(f"stopped; what was finished is in {folder}, go on with the same command") from None
    result = _summarize(contest, configs, tuned, chosen, results, prepared)
    write_contest(result, folder)
    return result


def _configure(config: RunConfig, name: str, options: Mapping[str, Any]) -> RunConfig:
    """Make the configuration of one method, with the options that it has."""
    for key, option in (("run_dir", "--out"), ("name", "--out")):
        if getattr(config, key) is not None:
            raise ConfigError(f"{key}= has no effect here, every run has its own; use {option}")
    known = load_method(name).config.model_fields
    method = {"name": name, **{key: value for key, value in options.items() if key in known}}
    values = to_values(config)
    return build_run_config(
        values | {"method": method, "name": None, "run_dir": None, "eval": values["eval"] | QUIET_EVAL}
    )


def _check_options(options: Mapping[str, Any], configs: Mapping[str, RunConfig]) -> None:
    for key in options:
        if not any(key in type(config.method).model_fields for config in configs.values()):
            raise ConfigError(f"method.{key} is an option of none of {', '.join(configs)}; leave it out")


def _write_settings(contest: Contest, configs: Mapping[str, RunConfig]) -> str:
    """Write what is compared as the text of contest.json."""
    settings = asdict(contest) | {"configs": {name: to_values(config) for name, config in configs.items()}}
    return json.dumps(settings, indent=1, sort_keys=True, default=str)


def _check_folder(folder: Path, settings: str) -> None:
    """Raise RunError for a folder that holds another contest, or something else."""
    file = folder / "contest.json"
    if file.exists():
        if file.read_text(encoding="utf-8", errors="replace") != settings:
            raise RunError(f"{folder} holds another contest (contest.json differs); choose another --out")
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is there and holds no contest; choose another --out")


# --- tuning ----------------------------------------------------------------------------------------------


def _tune(
    contest: Contest, configs: Mapping[str, RunConfig], prepared: Prepared, folder: Path, say: Say
) -> list[dict[str, Any]]:
    """Train and measure each cell that is not in tuning.jsonl yet; returns all lines."""
    file = folder / "tuning.jsonl"
    lines = _read_lines(file)
    done = {(line["method"], line["learning_rate"], line["batch_rows"]) for line in lines}
    # a cell of every method before the next cell: a method that refuses its options does so in the first round
    waiting = [
        (name, rate, rows)
        for rate, rows in contest.cells
        for name in contest.methods
        if (name, rate, rows) not in done
    ]
    if not waiting:
        return lines
    from appkit.models import attention
    from appkit.models.load import load_base

    set_threads(prepared.config.threads)
    base = load_base(prepared.config.model, prepared.config.quant)
    attention.use(base.model)
    with Progress("tuning", len(waiting), "cells") as bar:
        for name, rate, rows in waiting:
            cell = _set_cell(configs[name], rate, rows)
            place = folder / "tuning" / f"{name}-{rate:g}-{rows}"
            lines.append(
                {"method": name, "learning_rate": rate, "batch_rows": rows}
                | _try_cell(base, prepared, cell, contest.share, place)
            )
            write_text(file, "".join(json.dumps(line) + "\n" for line in lines))
            shutil.rmtree(place)
            dev = lines[-1]["dev"]
            bar.advance(1, note=f"{name} {'no score' if dev is None else f'{dev:.3f}'}")
    say(f"tuned: {len(lines)} cells in {file}")
    return lines


def _read_lines(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise RunError(f"{file} is damaged ({error}); remove it to tune anew") from error


def _set_cell(config: RunConfig, rate: float, rows: int) -> RunConfig:
    train = config.train.model_copy(update={"learning_rate": rate, "batch_rows": rows})
    return config.model_copy(update={"train": train})


def _try_cell(base: Base, prepared: Prepared, config: RunConfig, share: float, place: Path) -> dict[str, Any]:
    """Train one cell on a share of the rows; returns its dev score, seconds, tokens, parameters and peak memory."""
    import torch

    from appkit.training.loop import fit

    never = {"eval_steps": None, "select": "last", "trackers": ()}
    config = config.model_copy(update={"train": config.train.model_copy(update=never)})
    examples = prepared.examples[: math.ceil(share * len(prepared.examples))]
    plan = plan_steps(config, examples)
    prepared = replace(prepared, config=config, method=load_method(config.method.name))
    task, metric = prepared.head.task, prepared.head.task.metric(prepared.head.task.primary)
    shutil.rmtree(place, ignore_errors=True)  # a cell that was stopped begins anew: its time is measured
    place.mkdir(parents=True)
    with _measured_memory() as memory:
        model = build(prepared, base)
        began = time.monotonic()
        outcome = fit(
            model, config, prepared.method, prepared.head, examples, plan, lambda _: {}, metric, place
        )
        seconds = time.monotonic() - began
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    predictions = prepared.head.answer(model, [record.value for record in prepared.dev], show=False)
    dev = score(task, prepared.dev, predictions, 100)[task.primary].interval.value
    model.unload()
    for parameter in base.model.parameters():
        parameter.requires_grad_(False)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if outcome.interrupted:
        raise KeyboardInterrupt
    return {
        "dev": None if math.isnan(dev) else dev,
        "seconds": round(seconds, 2),
        "tokens": outcome.tokens,
        "parameters": trained,
        "memory": memory[0],
    }


@contextmanager
def _measured_memory() -> Iterator[list[int | None]]:
    """Measure the block's peak: bytes of the GPU's memory, or of this process's; None where neither can be known."""
    import torch

    peak: list[int | None] = [None]
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        yield peak
        peak[0] = torch.cuda.max_memory_allocated()
        return
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew
    except OSError:
        yield peak
        return
    yield peak
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    peak[0] = int(line.split()[1]) * 1024


def choose_cell(lines: Sequence[Mapping[str, Any]], name: str, metric: Metric) -> Mapping[str, Any]:
    """Find the method's cell with the best dev score; of equal ones the first of the grid.

    Raises RunError when no cell has one.
    """
    sign = 1 if metric.higher_is_better else -1
    cells = [line for line in lines if line["method"] == name and line["dev"] is not None]
    if not cells:
        raise RunError(f"no cell of {name} has a dev score: {metric.name} could score none of the dev rows")
    return max(cells, key=lambda line: sign * line["dev"])


# --- the runs --------------------------------------------------------------------------------------------


def _train_all(
    contest: Contest,
    configs: Mapping[str, RunConfig],
    chosen: Mapping[str, Mapping[str, Any]],
    folder: Path,
    say: Say,
) -> dict[str, list[TrainResult]]:
    """Train each method at its best with each seed, going on with runs that were stopped."""
    results: dict[str, list[TrainResult]] = {name: [] for name in contest.methods}
    for seed in range(contest.seeds):
        for name in contest.methods:
            place = folder / "runs" / f"{name}-{seed}"
            if (place / directory.STATE).exists():
                results[name].append(train(resume=place))
                continue
            cell = _set_cell(configs[name], chosen[name]["learning_rate"], chosen[name]["batch_rows"])
            config = cell.model_copy(update={"seed": cell.seed + seed, "run_dir": str(place)})
            say(f"training {name}, seed {config.seed}")
            results[name].append(train(config))
    return results


def _summarize(
    contest: Contest,
    configs: Mapping[str, RunConfig],
    lines: Sequence[Mapping[str, Any]],
    chosen: Mapping[str, Mapping[str, Any]],
    results: Mapping[str, Sequence[TrainResult]],
    prepared: Prepared,
) -> ContestResult:
    """Compare each method with the reference on the same test rows, over all seeds."""
    task = prepared.head.task
    metric, resamples = task.metric(task.primary), prepared.config.eval.resamples
    scores = {name: [run.adapter.scores[task.primary] for run in runs] for name, runs in results.items()}
    rows = np.logical_and.reduce([one.scored for many in scores.values() for one in many])
    clusters = scores[contest.reference][0].clusters_of(rows)
    if not rows.any():
        raise RunError(f"{metric.name} could score no test row of every run; look at {task.name}'s rows")
    # a resample draws rows, and with each its statistics of all seeds
    matrices = {name: np.hstack([one.matrix[rows] for one in many]) for name, many in scores.items()}
    aggregate = mean_over_seeds(metric.aggregate, contest.seeds)
    first = contest.cells[0]
    standings = []
    for name in contest.methods:
        # the same cell for all: with other rows in a step, memory and time differ for all methods
        (cost,) = (
            line
            for line in lines
            if (line["method"], line["learning_rate"], line["batch_rows"]) == (name, *first)
        )
        compared = None
        if name != contest.reference:
            compared = intervals.compare(
                matrices[contest.reference], matrices[name], aggregate, resamples, clusters=clusters
            )
        standings.append(
            Standing(
                name=name,
                learning_rate=chosen[name]["learning_rate"],
                batch_rows=chosen[name]["batch_rows"],
                dev=chosen[name]["dev"],
                interval=intervals.bootstrap(matrices[name], aggregate, resamples, clusters=clusters),
                seeds=[float(metric.aggregate(one.matrix[rows])) for one in scores[name]],
                comparison=compared,
                parameters=cost["parameters"],
                rank=load_method(name).servable(configs[name].method).rank,
                tokens_per_s=cost["tokens"] / max(cost["seconds"], 1e-9),
                memory=cost["memory"],
            )
        )
    return ContestResult(
        task.name, metric, contest.reference, standings, list(lines), len(prepared.test), first
    )


def mean_over_seeds(aggregate: intervals.Aggregate, seeds: int) -> intervals.Aggregate:
    """Make the aggregate of statistics (N, seeds * K) that lie side by side: the mean of each seed's value.

    A mean of the statistics themselves would mean nothing where they are numbers of labels.
    """
    return lambda matrix: float(np.mean([aggregate(part) for part in np.split(matrix, seeds, axis=1)]))
