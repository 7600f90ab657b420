"""Measures training speed beside a plain PEFT loop and TRL's SFTTrainer: `python benchmarks/train_speed.py`.

Every contender trains the same adapter on the same base and the same token-identical rows, alone in its own
process (contenders.py), one after the other, with the same threads, compute dtype, AdamW, constant learning
rate and clipping. The program times the optimizer step (forward, backward, clipping, update), without loading and
the first steps. It tries TRL's settings first in short runs; the fastest then runs in full.

Other work on the machine makes the figures wrong. A run takes about 25 minutes on 2 cores, with --quick about 6.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tables import report

DEFAULT = "appkit,appkit-none,plain,plain-nf4,trl-default,trl-default-nf4,trl-best,trl-best-nf4"
HELD_OUT = 32
TAIL = 4  # steps whose mean is the final training loss


@dataclass(frozen=True)
class Contender:
    """Says what contenders.py runs.

    settings: of SFTConfig, by its own names, and two more: attn_implementation of the model, and factors, the
    dtype of the adapter's factors where it is not the library's own. steps: of the plan, from its start.
    inexact: it does not train on the rows as they are. warmup: first steps that are not timed.
    """

    name: str
    kind: str
    quant: str
    steps: int
    warmup: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    inexact: bool = False


# --- TRL's settings --------------------------------------------------------------------------------------


def trl_default(job: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what all contenders have in common: gradient checkpointing stays on, as TRL sets it."""
    return {"per_device_train_batch_size": job["batch_rows"]}


def trl_layouts(job: Mapping[str, Any], quick: bool) -> dict[str, dict[str, Any]]:
    """Returns the ways in which TRL can lay out a step's rows; gradient checkpointing off."""
    rows, tokens, longest = job["batch_rows"], job["step_tokens"], job["longest"]

    def batches(size: int, accumulated: int | None = None) -> dict[str, Any]:
        return {
            "gradient_checkpointing": False,
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": accumulated or rows // size,
        }

    def packs(strategy: str, share: int) -> dict[str, Any]:
        length = max(-(-tokens // share), longest)
        return batches(1, share) | {"packing": True, "packing_strategy": strategy, "max_length": length}

    free = {"padding_free": True, "max_length": None}
    sizes = [size for size in (rows, rows // 2, rows // 4, 1) if size and rows % size == 0]
    sizes = list(dict.fromkeys(sizes))
    layouts = {f"padded-{size}": batches(size) for size in sizes}
    layouts |= {f"padding-free-{size}": batches(size) | free for size in sizes if size > 1}
    layouts |= {"packing-bfd": packs("bfd", 1), "packing-bfd-4": packs("bfd", 4)}
    if quick:
        quick_names = (f"padded-{rows}", f"padded-{sizes[-2]}", f"padding-free-{sizes[-2]}", "packing-bfd")
        return {name: layouts[name] for name in quick_names if name in layouts}
    layouts["grouped-by-length"] = batches(rows) | {"train_sampling_strategy": "group_by_length"}
    layouts["packing-wrapped"] = packs("wrapped", 1)
    layouts["packing-bfd-fa2"] = packs("bfd", 1) | {"attn_implementation": "flash_attention_2"}
    return layouts


def over_nf4(job: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Keeps the factors in fp32 where products are in fp32.

    Over a 4-bit base SFTTrainer rounds factors to bf16, which is slow there.
    """
    return {**settings, **({"factors": "float32"} if job["dtype"] == "float32" else {})}


def sweep(
    job: Mapping[str, Any], runner: Runner, warmup: int, steps: int, quick: bool
) -> list[dict[str, Any]]:
    """Runs every layout briefly, then variants of the fastest; runs the fastest of all again over NF4."""

    def short(name: str, settings: Mapping[str, Any], quant: str) -> dict[str, Any]:
        suffix = "-nf4" if quant == "nf4" else ""
        exact = not name.startswith("packing-wrapped")
        return runner.run(
            Contender(f"trl-{name}{suffix}", "trl", quant, warmup + steps, warmup, settings, not exact),
            "sweep",
        )

    layouts = trl_layouts(job, quick)
    plain = [short(name, settings, "none") for name, settings in layouts.items()]
    best = fastest(plain)
    if best and not quick:
        name = best["name"].removeprefix("trl-")
        plain.append(short(f"{name}-eager", best["settings"] | {"attn_implementation": "eager"}, "none"))
        if job["dtype"] == "bfloat16":  # else there is no autocast to leave out
            pure = {"bf16": False, "factors": "bfloat16"}
            plain.append(short(f"{name}-no-autocast", best["settings"] | pure, "none"))
    # 4-bit layers are dequantized once a micro-batch and pass: the fastest with a single one is tried as well.
    ranked = sorted((run for run in plain if usable(run)), key=lambda run: -run["supervised_per_s"])
    single = [run for run in ranked if run["settings"].get("gradient_accumulation_steps", 1) == 1]
    chosen = {run["name"]: run for run in [*ranked[: 1 if quick else 3], *single[:1]]}
    quantized = [
        short(name.removeprefix("trl-"), over_nf4(job, run["settings"]), "nf4")
        for name, run in chosen.items()
    ]
    return [*plain, *quantized]


def usable(run: Mapping[str, Any]) -> bool:
    return "refused" not in run and not run["inexact"]


def fastest(runs: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    return max(filter(usable, runs), key=lambda run: run["supervised_per_s"], default=None)


# --- running ---------------------------------------------------------------------------------------------


class Runner:
    """Runs contenders one at a time, each in a process of its own."""

    def __init__(self, job: Mapping[str, Any], folder: Path) -> None:
        self.job, self.folder = job, folder
        self.count = 0
        (folder / "job.json").write_text(json.dumps(job))

    def child(self, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        self.count += 1
        stem = self.folder / f"{self.count:03d}-{name}"
        spec_file, out = stem.with_suffix(".in.json"), stem.with_suffix(".json")
        spec_file.write_text(json.dumps(spec))
        script = Path(__file__).with_name("contenders.py")
        threads = str(self.job["threads"])
        environment = os.environ | {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": str(self.folder / "datasets"),
        }
        with stem.with_suffix(".log").open("w") as log:
            command = [sys.executable, str(script), str(self.folder / "job.json"), str(spec_file), str(out)]
            process = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False)
        if out.exists():
            return dict(json.loads(out.read_text()))
        tail = stem.with_suffix(".log").read_text()[-500:].strip()
        return {"refused": f"ended with code {process.returncode}: {tail}"}  # such as killed for its memory

    def run(self, contender: Contender, stage: str) -> dict[str, Any]:
        """Measures a contender; returns what it is, its settings and its measurements in one record."""
        began = time.monotonic()
        result = asdict(contender) | {"stage": stage} | self.child(contender.name, asdict(contender))
        first = contender.warmup
        timed = len(result.get("seconds", ())) - first
        if "refused" not in result and timed < 1:
            result["refused"] = f"packed all rows into {timed + first} steps, of which {first} are warm-up"
        if "refused" not in result:
            spent = sum(result["seconds"][first:])
            result["supervised_per_s"] = sum(result["supervised"][first:]) / spent
            result["tokens_per_s"] = sum(result["tokens"][first:]) / spent
            result["step_s"] = spent / timed
            result["final_loss"] = statistics.fmean(result["losses"][-TAIL:])
            body, vocabulary = self.job["body_parameters"], self.job["vocabulary_parameters"]
            flop = 4 * (body * result["tokens_per_s"] + vocabulary * result["supervised_per_s"])
            result["gflops"] = flop / 1e9
        outcome = result.get("refused") or f"{result['supervised_per_s']:.0f} supervised tokens/s"
        say(f"{contender.name}: {outcome[:160]} ({time.monotonic() - began:.0f} s in all)")
        return result


def say(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


def prepare(options: argparse.Namespace, steps: int) -> dict[str, Any]:
    """Prepares the rows as tokens, the plan of the steps, and what the contenders must agree on."""
    import torch
    from transformers import AutoModelForCausalLM

    from appkit.config import build_run_config
    from appkit.data.splits import load_splits, subset
    from appkit.heads.lm.encode import encode
    from appkit.models.base import compute_dtype
    from appkit.models.batch import collate
    from appkit.models.chat import Chat
    from appkit.models.files import load_config
    from appkit.models.sources import locate
    from appkit.plugins import load_task
    from appkit.training.plan import plan

    columns = dict(pair.split("=", 1) for pair in options.columns.split(",")) if options.columns else {}
    data = {"train": options.data, "columns": columns, "on_error": "drop", "on_long": "drop"}
    config = build_run_config({"task": "nl2fol", "model": options.model, "data": data})
    task = load_task("nl2fol")
    path = locate(config.model)
    splits = load_splits(task, config.task, config.data)
    chat = Chat.at(path)

    def examples(records: Sequence[Any], count: int) -> list[Any]:
        encoded, _, _ = encode(
            task, config.task, chat, subset(records, count), config.data.max_length, config.data.on_long
        )
        return encoded

    batch_rows = options.batch_rows
    train = examples(splits.train, steps * batch_rows + 8)[: steps * batch_rows]  # 8: some may be too long
    if len(train) < steps * batch_rows:
        raise SystemExit(
            f"{steps} steps of {batch_rows} rows need {steps * batch_rows} rows, {len(train)} fit; "
            "name a larger file with --data, or lower --steps or --batch-rows"
        )
    held = examples(splits.dev, HELD_OUT)
    lengths = [len(example.tokens) for example in train]
    order = plan(lengths, batch_rows, config.train.batch_tokens, epochs=1, seed=config.seed)
    architecture = load_config(path)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(architecture)
    output = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not output]
    on = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "model": options.model,
        "path": str(path),
        "device": torch.cuda.get_device_name() if on.type == "cuda" else processor(),
        "dtype": str(compute_dtype(config.model, on)).removeprefix("torch."),
        "threads": options.threads,
        "seed": config.seed,
        "rank": options.rank,
        "alpha": 2 * options.rank,
        "learning_rate": options.learning_rate,
        "batch_rows": batch_rows,
        "rows": [[list(example.tokens), example.supervised] for example in train],
        "held_out": [[list(example.tokens), example.supervised] for example in held],
        "plan": [step.batches for step in order],
        "step_tokens": sum(lengths) // steps,
        "step_supervised": sum(example.targets for example in train) // steps,
        "computed_tokens": sum(
            collate([train[r] for r in b]).tokens.numel() for s in order for b in s.batches
        )
        // steps,
        "longest": max(lengths),
        "body_parameters": sum(layer.weight.numel() for layer in linear),
        "vocabulary_parameters": output.weight.numel(),
        "width": architecture.hidden_size,
        "inner": architecture.intermediate_size,
    }


def processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "CPU")


def contender(
    name: str, job: Mapping[str, Any], steps: int, warmup: int, best: Mapping[str, Any]
) -> Contender | None:
    """Makes a contender from its name on the command line; None for trl-best when no setting of TRL ran."""
    kind, _, rest = name.partition("-")
    quant = "nf4" if rest.endswith("nf4") or name == "appkit" else "none"
    setting = rest.removesuffix("nf4").removesuffix("-")
    if (kind, setting) in (("appkit", ""), ("appkit", "none"), ("plain", "")):
        return Contender(name, kind, quant, steps, warmup)
    settings: Mapping[str, Any]
    if kind == "trl" and setting == "best":
        if best[quant] is None:
            return None
        settings = best[quant]["settings"]
    elif kind == "trl" and setting == "default":
        settings = trl_default(job)
    elif kind == "trl" and setting == "untouched":
        settings = trl_default(job) | {"bf16": None}  # what TRL chooses by itself
    elif kind == "trl" and setting in trl_layouts(job, quick=False):
        settings = trl_layouts(job, quick=False)[setting]
        settings = over_nf4(job, settings) if quant == "nf4" else settings
    else:
        known = [
            *DEFAULT.split(","),
            "trl-untouched",
            *(f"trl-{layout}" for layout in trl_layouts(job, quick=False)),
        ]
        raise SystemExit(f"no contender {name!r}; known: {', '.join(known)}, trl-* also with -nf4")
    return Contender(name, kind, quant, steps, warmup, settings, setting == "packing-wrapped")


def benchmark(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    warmup = 1 if options.quick else 2
    steps = warmup + options.steps
    names = options.contenders.split(",")
    job = prepare(options, steps)
    for name in names:
        contender(
            name, job, steps, warmup, {"none": None, "nf4": None}
        )  # a wrong name fails before the sweep
    runner = Runner(job, folder)
    say(f"{steps} steps of {job['step_tokens']} tokens, {job['step_supervised']} supervised; {job['dtype']}")
    swept: list[dict[str, Any]] = []
    if any(name.startswith("trl-best") for name in names):
        swept = sweep(job, runner, 1, 1 if options.quick else 2, options.quick)
    best = {quant: fastest(run for run in swept if run["quant"] == quant) for quant in ("none", "nf4")}
    full: list[dict[str, Any]] = []
    for turn in range(options.rounds):
        for name in names:
            if chosen := contender(name, job, steps, warmup, best):
                full.append(runner.run(chosen, f"round {turn + 1}"))
    done = dict.fromkeys(run["name"] for run in full)
    runs = [median([run for run in full if run["name"] == name]) for name in done]
    adapters: dict[str, dict[str, str]] = {}
    for run in runs:
        if "refused" not in run:
            adapters.setdefault(run["quant"], {})[run["name"]] = run["adapter"]
    say("the loss of every adapter on the held-out rows")
    losses = runner.child("held-out", {"kind": "held-out", "adapters": adapters})
    if "refused" in losses:
        say(f"held-out loss: {losses['refused']}")
    return {
        "job": {key: value for key, value in job.items() if key not in ("rows", "held_out", "plan")},
        "held_out_rows": len(job["held_out"]),
        "tail": TAIL,
        "machine_gflops": max(
            (run["matrix_gflops"] for run in [*swept, *full] if "refused" not in run), default=0.0
        ),
        "runs": runs,
        "all_rounds": full,
        "sweep": swept,
        "best": {quant: run and run["name"] for quant, run in best.items()},
        "held_out": losses.get("held_out", {}),
    }


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns, of the rounds, the one in the middle by speed; a refusal if there was one."""
    refused = [run for run in runs if "refused" in run]
    return refused[0] if refused else sorted(runs, key=lambda run: run["supervised_per_s"])[len(runs) // 2]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=12, help="timed optimizer steps (default 12)")
    parser.add_argument("--batch-rows", type=int, default=8, help="rows a step (default 8)")
    parser.add_argument("--rank", type=int, default=16, help="of the factors; alpha is twice it (default 16)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="constant (default 1e-3)")
    parser.add_argument("--model", default="smollm2-135m", help="preset, hub id or directory")
    parser.add_argument("--data", help="file with rows of nl2fol (default: the shipped ones)")
    parser.add_argument("--columns", help="field=column,... of that file, such as sentence=NL,formula=FOL")
    parser.add_argument("--contenders", default=DEFAULT, help=f"in turn (default {DEFAULT})")
    parser.add_argument("--rounds", type=int, default=1, help="full runs of each, in turn; the median counts")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="(default: one a core)"
    )
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    parser.add_argument("--quick", action="store_true", help="3 steps, a few of TRL's settings")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and adapters")
    options = parser.parse_args(words)
    if options.quick:
        options.steps = 3
    return options


def main() -> None:
    options = arguments()
    folder = Path(tempfile.mkdtemp(prefix="train_speed-"))
    try:
        measured = benchmark(options, folder)
    finally:
        if options.keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1))
    print(report(measured))
    if refused := [run["name"] for run in measured["runs"] if "refused" in run]:
        raise SystemExit(f"did not run: {', '.join(refused)}")


if __name__ == "__main__":
    main()
