"""Writes what train_speed.py measured as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["report"]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[int] = (0,)) -> str:
    """Writes a Markdown table; columns are right-aligned but for those of `text`, and as wide as their longest cell."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if at in text else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |"

    rule = ["-" * width if at in text else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    return "\n".join([line(header), line(rule), *map(line, rows)])


def report(measured: Mapping[str, Any]) -> str:
    job, runs = measured["job"], measured["runs"]
    parts = [
        f"{job['device']}, {job['threads']} threads, {job['dtype']}; base {job['model']}, LoRA r {job['rank']} "
        f"on all linear layers, AdamW, learning rate {job['learning_rate']:g}; {job['batch_rows']} rows a step: "
        f"{job['step_tokens']} tokens, {job['step_supervised']} supervised.\n"
        f"Matrix products ({job['step_tokens']} x {job['width']} by {job['width']} x {job['inner']}) run at "
        f"{measured['machine_gflops']:.0f} GFLOP/s at best. share: of that rate, for 4 x (body parameters x tokens + "
        "output layer x supervised tokens) FLOP. Tokens are those of the rows: of the ones that all rows of a "
        f"step begin with, appkit computes one copy ({job['computed_tokens']} tokens a step instead of "
        f"{job['step_tokens']}).",
        full_table(measured),
    ]
    if measured["sweep"]:
        parts += [
            "TRL's settings, in short runs; trl-best is the fastest exact one, in full:",
            sweep_table(measured),
        ]
    parts += [f"{run['name']} did not run: {run['refused']}" for run in runs if "refused" in run]
    parts += [*same_start(runs), *ratios(measured)]
    return "\n\n".join(parts)


def full_table(measured: Mapping[str, Any]) -> str:
    header = [
        "contender", "base", "supervised tok/s", "tok/s", "s/step", "peak MB", "after load MB", "share",
        f"loss, last {measured['tail']} steps", f"loss, {measured['held_out_rows']} held-out rows",
    ]  # fmt: skip
    rows = []
    for run in measured["runs"]:
        if "refused" in run:
            continue
        held = measured["held_out"].get(run["name"])
        rows.append(
            [
                run["name"], run["quant"], f"{run['supervised_per_s']:.1f}", f"{run['tokens_per_s']:.1f}",
                f"{run['step_s']:.2f}", f"{peak(run) / 1e6:.0f}", f"{run['rss_loaded'] / 1e6:.0f}",
                f"{run['gflops'] / measured['machine_gflops']:.0%}", f"{run['final_loss']:.4f}",
                "-" if held is None else f"{held:.4f}",
            ]
        )  # fmt: skip
    for name, loss in measured["held_out"].items():
        if name.startswith("base-"):
            rows.append(["(untrained)", name.removeprefix("base-"), *["-"] * 7, f"{loss:.4f}"])
    return table(header, rows)


def peak(run: Mapping[str, Any]) -> int:
    """Returns the peak memory in bytes: of the GPU where there is one, else of the process."""
    return int(run["gpu_peak"] or run["rss_peak"])


def sweep_table(measured: Mapping[str, Any]) -> str:
    rows = []
    for run in sorted(measured["sweep"], key=lambda run: (run["quant"], -run.get("supervised_per_s", 0.0))):
        speed = "refused" if "refused" in run else f"{run['supervised_per_s']:.1f}"
        name = run["name"] + (" (best)" if run["name"] in measured["best"].values() else "")
        name += " (inexact: cuts rows, and they see each other)" if run["inexact"] else ""
        settings = ", ".join(f"{key}={value}" for key, value in run["settings"].items())
        rows.append([name, run["quant"], speed, settings])
    lines = [table(["setting", "base", "supervised tok/s", "SFTConfig"], rows, text=(0, 3))]
    lines += [
        f"{run['name']} refused: {run['refused'][:300]}" for run in measured["sweep"] if "refused" in run
    ]
    return "\n\n".join(lines)


def same_start(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Says whether all began with the same factors, and computed the same loss before the first update."""
    lines = []
    for quant in ("none", "nf4"):
        group = [run for run in runs if run["quant"] == quant and "refused" not in run]
        if len(group) < 2:
            continue
        first = group[0]
        differing = [run["name"] for run in group if run["start"] != first["start"]]
        rows = [run for run in group if run["supervised"] == first["supervised"]]
        losses = [run["losses"][0] for run in rows]
        line = f"{quant}: the factors at the start are bit for bit the same"
        if differing:
            line += f", but for {', '.join(differing)} (SFTTrainer rounds them to bf16 over a 4-bit base)"
        line += f"; on the same rows, losses of step 1 differ by {max(losses) - min(losses):.1e} at most"
        repacked = [run["name"] for run in group if run["supervised"] != first["supervised"]]
        if repacked:
            line += f"; {', '.join(repacked)}: the same rows in all, otherwise spread over the steps"
        lines.append(line + ".")
    return lines


def ratios(measured: Mapping[str, Any]) -> list[str]:
    runs = {run["name"]: run for run in measured["runs"] if "refused" not in run}
    lines = []
    for contender, suffix in (("appkit", "-nf4"), ("appkit-none", "")):
        for rival, goal in ((f"trl-best{suffix}", 2), (f"trl-default{suffix}", 3), (f"plain{suffix}", None)):
            if contender not in runs or rival not in runs:
                continue
            ratio = runs[contender]["supervised_per_s"] / runs[rival]["supervised_per_s"]
            line = f"{contender} / {rival}: {ratio:.2f}x supervised tokens/s"
            if goal:
                line += f" (goal {goal}x: {'met' if ratio >= goal else 'missed'})"
            line += f"; {peak(runs[contender]) / peak(runs[rival]):.2f}x peak memory"
            held = measured["held_out"]
            if contender in held and rival in held:
                line += f"; held-out loss {held[contender] - held[rival]:+.4f}"
            lines.append(line)
    return ["\n".join(lines)] if lines else []
