"""Forecast estimates a run's memory (evaluation included), time and disk, before anything is loaded.

The estimates come from the architecture and the rows' lengths; they are within a factor of about 1.5. A run whose
memory or disk cannot suffice is refused; one that takes long is not. `correct` replaces the estimate of training's time
once its first steps have shown their speed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appkit.config import RunConfig
from appkit.errors import ConfigError, ModelError, RunError
from appkit.method import Method
from appkit.models.batch import Example
from appkit.training.plan import Step

__all__ = ["Forecast", "Pace", "check", "correct", "forecast"]

GIB = 2**30
EFFICIENCY = 0.6
"""share of the machine's matrix rate that a training step reaches"""
FIXED_BYTES = 0.9 * GIB
"""memory of the interpreter with its libraries"""


@dataclass(frozen=True)
class Forecast:
    """What a run needs, and what this machine has."""

    memory: float
    """bytes; the larger of training's and evaluation's peak"""
    memory_free: float
    """bytes"""
    disk: float
    """bytes of the checkpoints"""
    disk_free: float
    """bytes"""
    training_s: float
    """seconds"""
    evaluation_s: float
    """seconds of all evaluations together"""

    def lines(self) -> list[str]:
        """Write the forecast for people, a line each."""
        return [
            f"memory {self.memory / GIB:.1f} GiB of {self.memory_free / GIB:.1f} free · "
            f"disk {self.disk / GIB:.2f} GiB of {self.disk_free / GIB:.1f} free · "
            f"training about {_format_time(self.training_s)}, evaluations about {_format_time(self.evaluation_s)}"
        ]


def _format_time(seconds: float) -> str:
    return f"{max(seconds, 1):.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def matrix_rate(dtype: Any, device: str) -> float:
    """Measure the FLOP/s of this machine's matrix product at a layer-like shape; takes about 0.2 s."""
    import torch

    x, w = (
        torch.randn(512, 1024, dtype=dtype, device=device),
        torch.randn(1024, 1024, dtype=dtype, device=device),
    )
    torch.nn.functional.linear(x, w)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < 0.15:
        torch.nn.functional.linear(x, w)
        count += 1
    if device == "cuda":
        torch.cuda.synchronize()
    return 2 * 512 * 1024 * 1024 * count / (time.perf_counter() - began)


def forecast(
    config: RunConfig,
    method: Method,
    architecture: Any,
    parameters: int,
    dtype: Any,
    device: str,
    examples: Sequence[Example],
    plan: Sequence[Step],
    answered_rows: int,
    cap: int,
    run_dir: Path,
) -> Forecast:
    """Forecast a run's memory, disk and time.

    architecture: transformers config of the base. parameters: of the base. answered_rows: rows decoded in all
    evaluations together. cap: tokens of an answer, at most.

    Raises ConfigError where the method's virtual tokens leave too little of the base's context.
    """
    text = architecture.get_text_config()
    width, layers, vocabulary = text.hidden_size, text.num_hidden_layers, text.vocab_size
    size = 2 if "bfloat16" in str(dtype) else 4
    embedding = vocabulary * width
    body = max(parameters - embedding * (1 if text.tie_word_embeddings else 2), parameters // 2)
    inner = getattr(text, "intermediate_size", 4 * width)
    heads = getattr(text, "num_key_value_heads", text.num_attention_heads)
    head = getattr(text, "head_dim", None) or width // text.num_attention_heads
    shapes = [(width, width)] * 2 + [(heads * head, width)] * 2 + [(inner, width)] * 2 + [(width, inner)]
    trained = method.trained_parameters(config.method, shapes * layers)

    four_bit = config.quant.name == "nf4" and (config.quant.dequantize == "never" or device == "cuda")
    weights = body * (0.56 if four_bit else 1 if config.quant.name == "int8" else size) + embedding * size
    batch = max(
        (sum(len(examples[row].tokens) for row in b) for step in plan for b in step.batches), default=0
    )
    targets = max((sum(examples[row].targets for row in b) for step in plan for b in step.batches), default=0)
    activations = batch * layers * (12 * width + 6 * inner) * size + targets * vocabulary * 8
    longest = max((len(example.tokens) for example in examples), default=0) + cap
    if method.virtual_tokens:
        virtual = method.virtual_tokens(config.method)
        _check_context(config, method, text, longest, virtual)
        longest += virtual
    rows = config.eval.batch_rows
    cached = 2 * rows * heads * head * longest * layers * size + rows * vocabulary * 12
    # loading, and measuring the cost of quantization, hold a second copy of the weights for a moment
    memory = FIXED_BYTES + weights + max(weights, trained * 16 + max(activations, cached))

    rate = matrix_rate(dtype, device) * EFFICIENCY
    tokens = sum(len(examples[row].tokens) for step in plan for b in step.batches for row in b)
    supervised = sum(examples[row].targets for step in plan for b in step.batches for row in b)
    mean_target = sum(example.answered for example in examples) / max(len(examples), 1)
    decoded = answered_rows * (2 * mean_target) * 2 * (body + embedding)
    checkpoints = (config.train.keep_checkpoints + 2) * trained * 12 + trained * 4
    return Forecast(
        memory,
        _measure_free_memory(device),
        checkpoints + 20e6,
        float(shutil.disk_usage(run_dir).free),
        4 * (body * tokens + embedding * supervised) / rate,
        decoded / rate,
    )


def _check_context(config: RunConfig, method: Method, text: Any, longest: int, virtual: int) -> None:
    """Raises ConfigError when rows and answers have no room behind so many virtual tokens."""
    context = getattr(text, "max_position_embeddings", None)
    if context and longest + virtual > context:
        raise ConfigError(
            f"rows and answers reach {longest} tokens behind {virtual} virtual ones of method={method.name}, "
            f"{config.model.name} was made for {context}; use fewer virtual tokens, or lower data.max_length "
            "(with data.on_long=drop) or decoding.max_new_tokens"
        )


FIRST_STEPS = 3
"""steps whose speed is taken as that of all, at least; the first one warms up and is not counted"""
FIRST_SECONDS = 10.0
"""time that they take, unless a tenth of the steps is done before"""


@dataclass(frozen=True)
class Pace:
    """The time of training, from the speed of its first steps."""

    steps: int
    """steps that were measured, without the first"""
    tokens_per_s: float
    total_s: float
    """of all steps of this call, those done included"""
    left_s: float

    def __str__(self) -> str:
        return (
            f"training about {_format_time(self.total_s)} at the {self.tokens_per_s:.0f} tokens/s of its first steps, "
            f"{_format_time(self.left_s)} of it left"
        )


def correct(seconds: Sequence[float], tokens: Sequence[int]) -> Pace | None:
    """Forecast the time of training from its first steps; None while they are too few, or none is left.

    seconds: of each step done in this call. tokens: of each step of this call, done or not.
    """
    done = len(seconds)
    measured_s, measured = sum(seconds[1:]), sum(tokens[1:done])
    enough = sum(seconds) >= FIRST_SECONDS or done * 10 >= len(tokens)
    if done < FIRST_STEPS or done >= len(tokens) or not enough or not measured or measured_s <= 0:
        return None
    rate = measured / measured_s
    left = sum(tokens[done:]) / rate
    return Pace(done - 1, rate, sum(seconds) + left, left)


def _measure_free_memory(device: str) -> float:
    if device == "cuda":
        import torch

        return float(torch.cuda.mem_get_info()[0])
    import psutil

    return float(psutil.virtual_memory().available)


def check(needed: Forecast) -> None:
    """Raises ModelError when memory, RunError when disk cannot suffice."""
    if needed.memory > needed.memory_free:
        raise ModelError(
            f"this needs about {needed.memory / GIB:.1f} GiB of memory, {needed.memory_free / GIB:.1f} are free; "
            "lower train.batch_tokens or eval.batch_rows, or choose a smaller model"
        )
    if needed.disk > needed.disk_free:
        raise RunError(
            f"the checkpoints need about {needed.disk / GIB:.2f} GiB, {needed.disk_free / GIB:.2f} are free here; "
            "free some (`appkit runs prune`), lower train.keep_checkpoints, or give run_dir= on another disk"
        )
