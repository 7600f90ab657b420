"""Runs one contender of train_speed.py, alone in its process: `python contenders.py JOB CONTENDER RESULT`.

JOB and CONTENDER are JSON files that train_speed.py wrote. RESULT is always written: the measurements, or why the
contender refused to run.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback
from transformers.utils import logging as transformers_logging


class Watch:
    """Records seconds, tokens and loss of every optimizer step: forward, backward, clipping, update."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.supervised: list[int] = []
        self.tokens: list[int] = []
        self.losses: list[float] = []
        self.began = self.first = self.last = 0.0

    def begin(self) -> None:
        synchronize()
        self.began = time.perf_counter()
        self.first = self.first or self.began

    def end(self) -> None:
        synchronize()
        self.last = time.perf_counter()
        self.seconds.append(self.last - self.began)


class WatchCallback(TrainerCallback):
    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.watch.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.watch.end()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" in logs:
            self.watch.losses.append(float(logs["loss"]))


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


# --- the contenders --------------------------------------------------------------------------------------


def run_appkit(job: Any, contender: Any, folder: Path, watch: Watch) -> dict[str, Any]:
    """Runs `appkit train`'s own model and loop, with a callback that watches."""
    from appkit.config import build_run_config
    from appkit.models import attention
    from appkit.models.batch import Example
    from appkit.models.load import load_base
    from appkit.plugins import load_method, load_task
    from appkit.training import loop
    from appkit.training.plan import Step

    config = build_run_config(
        {
            "task": "nl2fol",
            "model": job["model"],
            "quant": contender["quant"],
            "method": {"name": "lora", "rank": job["rank"], "alpha": job["alpha"]},
            "train": {
                "learning_rate": job["learning_rate"],
                "beta2": 0.999,
                "schedule": "constant",
                "warmup": 0,
                "optimizer": "adamw",
                "gradient_checkpointing": "off",
                "batch_rows": job["batch_rows"],
                "trackers": [],
            },
            "seed": job["seed"],
        }
    )
    base = load_base(config.model, config.quant)
    attention.use(base.model)
    method = load_method("lora")
    torch.manual_seed(config.seed)
    model = method.build(base.model, config.method)
    examples = [Example(tuple(tokens), supervised) for tokens, supervised in job["rows"]]
    plan = [Step(tuple(map(tuple, step))) for step in job["plan"][: contender["steps"]]]
    for step in plan:
        rows = [examples[row] for batch in step.batches for row in batch]
        watch.supervised.append(sum(row.targets for row in rows))
        watch.tokens.append(sum(len(row.tokens) for row in rows))
    task = load_task(config.task.name)
    from types import SimpleNamespace

    from appkit.heads.lm.loss import loss, losses
    from appkit.method import Training
    from appkit.models.batch import collate
    from appkit.training.callbacks import MethodHooks

    arguments = loop._arguments(config, len(plan), task.metric(task.primary), folder)
    head = SimpleNamespace(collate=collate, loss=loss, losses=losses)
    training = Training(config.method, config.seed, len(plan), loss, lambda: iter(()))
    callbacks = [MethodHooks(method, training), WatchCallback(watch)]
    trainer = loop.Loop(
        model, arguments, config, method, head, examples, plan, lambda _: {}, folder, callbacks, training
    )
    facts = started(model)
    trainer.train()
    return facts | {"model": model, "ran": f"{base.quantizer}; {type(trainer.optimizer.optimizer).__name__}"}


def run_plain(job: Any, contender: Any, folder: Path, watch: Watch) -> dict[str, Any]:
    """Runs a hand-written loop: a padded batch, full logits, the loss of transformers."""
    model = peer_model(job, contender)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=job["learning_rate"], weight_decay=0.0)
    facts = started(model)
    model.train()
    for rows in step_rows(job, contender["steps"]):
        watch.begin()
        batch = padded(rows)
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        watch.end()
        watch.losses.append(loss.item())
        watch.supervised.append(sum(len(tokens) - supervised for tokens, supervised in rows))
        watch.tokens.append(sum(len(tokens) for tokens, _ in rows))
    return facts | {"model": model, "ran": f"{model.config._attn_implementation}; AdamW"}


def run_trl(job: Any, contender: Any, folder: Path, watch: Watch) -> dict[str, Any]:
    """Runs SFTTrainer on rows that are tokenized already, with the settings of the contender."""
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    disable_progress_bar()
    model = peer_model(job, contender)
    start = {name: parameter.detach().clone() for name, parameter in factors(model).items()}
    rows = [row for step in step_rows(job, contender["steps"]) for row in step]
    dataset = Dataset.from_dict(
        {
            "input_ids": [tokens for tokens, _ in rows],
            "completion_mask": [[0] * first + [1] * (len(tokens) - first) for tokens, first in rows],
        }
    )
    common: dict[str, Any] = {
        "output_dir": str(folder),
        "completion_only_loss": True,
        "train_sampling_strategy": "sequential",
        "num_train_epochs": 1,
        "learning_rate": job["learning_rate"],
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
        "bf16": job["dtype"] == "bfloat16",
        "seed": job["seed"],
        "use_cpu": device().type == "cpu",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    settings = {k: v for k, v in contender["settings"].items() if k not in ("attn_implementation", "factors")}

    class Counting(SFTTrainer):  # type: ignore[misc]
        """Counts the tokens that a step learns: packing itself decides which rows a step has."""

        step = -1

        def training_step(self, model: Any, inputs: Any, *rest: Any) -> torch.Tensor:
            if self.step != self.state.global_step:
                self.step = self.state.global_step
                watch.supervised.append(0)
                watch.tokens.append(0)
            real = inputs.get("attention_mask")
            watch.supervised[-1] += int((inputs["labels"][:, 1:] != -100).sum())
            watch.tokens[-1] += inputs["input_ids"].numel() if real is None else int(real.sum())
            loss: torch.Tensor = super().training_step(model, inputs, *rest)
            return loss

    trainer = Counting(
        model=model,
        args=SFTConfig(**common | settings),
        train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(job["path"], local_files_only=True),
        callbacks=[WatchCallback(watch)],
    )
    if contender["settings"].get("factors") == "float32":
        # SFTTrainer rounds the factors over a 4-bit base to bf16, whatever the compute dtype
        for name, parameter in factors(trainer.model).items():
            parameter.data = start[name]
    facts = started(trainer.model)
    trainer.train()
    if not contender["inexact"]:
        check_rows(rows, trainer.train_dataset, watch)
    attention, optimizer = trainer.model.config._attn_implementation, trainer.optimizer.optimizer
    return facts | {"model": trainer.model, "ran": f"{attention}; {type(optimizer).__name__}"}


def check_rows(rows: Sequence[Any], dataset: Any, watch: Watch) -> None:
    """Checks that SFTTrainer trained on our tokens: none cut, added or tokenized anew, as many of them learned."""
    expected = sorted(token for tokens, _ in rows for token in tokens)
    used = sorted(token for ids in dataset["input_ids"] for token in ids)
    learned = sum(len(tokens) - first for tokens, first in rows)
    if expected != used or learned != sum(watch.supervised):
        raise AssertionError(
            f"not the same rows: {len(expected)} tokens, {learned} supervised were given; "
            f"{len(used)} were used, {sum(watch.supervised)} supervised"
        )


RUNS = {"appkit": run_appkit, "plain": run_plain, "trl": run_trl}


# --- what they share -------------------------------------------------------------------------------------


def peer_model(job: Any, contender: Any) -> Any:
    """Builds base and adapter as users of transformers and PEFT do."""
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = getattr(torch, job["dtype"])
    options: dict[str, Any] = {}
    if contender["quant"] == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    if attention := contender["settings"].get("attn_implementation"):
        options["attn_implementation"] = attention
    base = AutoModelForCausalLM.from_pretrained(
        job["path"], local_files_only=True, dtype=dtype, device_map={"": device()}, **options
    )
    torch.manual_seed(job["seed"])
    return get_peft_model(
        base, lora(job), autocast_adapter_dtype=contender["settings"].get("factors") != "bfloat16"
    )


def lora(job: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=job["rank"],
        lora_alpha=job["alpha"],
        lora_dropout=0.0,
        target_modules="all-linear",
        bias="none",
    )


def factors(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def step_rows(job: Any, steps: int) -> list[list[Any]]:
    """Returns the rows of each step, shortest first as in appkit's plan."""
    return [[job["rows"][row] for batch in step for row in batch] for step in job["plan"][:steps]]


def padded(rows: Sequence[Any]) -> dict[str, torch.Tensor]:
    """Pads rows: input_ids, attention_mask and labels, each (B, longest)."""
    shape = (len(rows), max(len(tokens) for tokens, _ in rows))
    ids = torch.zeros(shape, dtype=torch.int64)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for place, (tokens, first) in enumerate(rows):
        ids[place, : len(tokens)] = torch.tensor(tokens)
        mask[place, : len(tokens)] = 1
        labels[place, first : len(tokens)] = torch.tensor(tokens[first:])
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: tensor.to(device()) for name, tensor in batch.items()}


def started(model: Any) -> dict[str, Any]:
    """Returns what holds just before step 1: the memory, and a hash of the factors, in fp32."""
    digest = hashlib.sha256()
    for name, parameter in sorted(factors(model).items()):
        digest.update(name.encode() + parameter.detach().float().cpu().numpy().tobytes())
    return {"rss_loaded": resident("VmRSS"), "start": digest.hexdigest()[:12]}


def resident(field: str) -> int:
    """Returns memory of this process in bytes: VmRSS now, VmHWM at most so far."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss starts at the parent's own maximum
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def matrix_gflops(job: Any, seconds: float = 1.0) -> float:
    """Measures the best rate of the product (tokens of a step, C) x (C, F), the shape of the largest layers."""
    dtype = getattr(torch, job["dtype"])
    T, C, F = job["step_tokens"], job["width"], job["inner"]
    left = torch.randn(T, C, device=device()).to(dtype)
    right = torch.randn(F, C, device=device()).to(dtype)
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        for _ in range(10):
            torch.nn.functional.linear(left, right)
        synchronize()
        best = min(best, (time.perf_counter() - began) / 10)
    return 2 * T * C * F / best / 1e9


@torch.no_grad()
def held_out(job: Any, adapters: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Computes the loss of every adapter on the held-out rows, in nats per supervised token, by the same code.

    adapters: quant -> name -> file. Plain PEFT, padded batches, full logits. The NF4 adapters share one base,
    the one that appkit dequantizes: bitsandbytes' 4-bit layers give the same up to rounding.
    """
    from peft import get_peft_model, set_peft_model_state_dict

    from appkit.config import QuantConfig, build_run_config
    from appkit.models.load import load_base

    model_config = build_run_config({"task": "nl2fol", "model": job["model"]}).model
    losses: dict[str, Any] = {}
    for quant, files in adapters.items():
        base = load_base(model_config, QuantConfig(name=quant, dequantize="always"))  # type: ignore[arg-type]
        model = get_peft_model(base.model, lora(job))
        fresh = {name: tensor.clone() for name, tensor in factors(model).items()}  # B = 0: the base itself
        for name, file in {f"base-{quant}": "", **files}.items():
            if file:
                set_peft_model_state_dict(model, load_file(file))
            else:
                for key, parameter in factors(model).items():
                    parameter.copy_(fresh[key])
            total = units = 0.0
            for place in range(0, len(job["held_out"]), 8):
                batch = padded(job["held_out"][place : place + 8])
                labels = batch.pop("labels")[:, 1:]
                logits = model(**batch, use_cache=False).logits[:, :-1].float()
                flat = torch.nn.functional.cross_entropy(
                    logits.flatten(0, 1), labels.flatten(), reduction="sum"
                )
                total, units = total + float(flat), units + int((labels != -100).sum())
            losses[name] = total / units
    return {"held_out": losses}


def measure(job: Any, contender: Any, out: Path) -> dict[str, Any]:
    from peft import get_peft_model_state_dict

    watch = Watch()
    folder = out.with_suffix("")
    folder.mkdir()
    result = RUNS[contender["kind"]](job, contender, folder, watch)
    peak = resident("VmHWM")
    tensors = get_peft_model_state_dict(result.pop("model"))
    adapter = folder / "adapter.safetensors"
    save_file({name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}, adapter)
    return result | {
        "rss_peak": peak,
        "gpu_peak": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        "seconds": watch.seconds,
        "wall": watch.last - watch.first,
        "supervised": watch.supervised,
        "tokens": watch.tokens,
        "losses": watch.losses,
        "matrix_gflops": matrix_gflops(job),
        "adapter": str(adapter),
    }


def main() -> None:
    job, contender = (json.loads(Path(name).read_text()) for name in sys.argv[1:3])
    out = Path(sys.argv[3])
    torch.set_num_threads(job["threads"])
    transformers_logging.set_verbosity_error()
    try:
        if contender["kind"] == "held-out":
            result = held_out(job, contender["adapters"])
        else:
            result = measure(job, contender, out)
    except Exception as error:
        result = {"refused": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        out.write_text(json.dumps(result))
        raise
    out.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
