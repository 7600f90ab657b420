"""Optimizer makes a run's optimizer and learning-rate schedule, and checks that this machine has what they need."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from appkit.config import RunConfig, TrainConfig
from appkit.errors import ConfigError
from appkit.method import Method

__all__ = ["check_choices", "make_optimizer", "schedule", "trackers"]


def check_choices(train: TrainConfig) -> None:
    """Raises ConfigError for trackers and optimizers that this machine does not have, before any work is done."""
    trackers(train.trackers)
    if "8bit" in train.optimizer and not torch.cuda.is_available():
        raise ConfigError(f"train.optimizer={train.optimizer} needs a GPU, this machine has none; use adamw")


def trackers(names: Sequence[str]) -> list[str]:
    """Check the trackers' names, and return them as transformers wants them.

    Raises ConfigError for an unknown tracker or one that is not installed.
    """
    from importlib.util import find_spec

    packages = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}
    for name in names:
        if name not in packages:
            raise ConfigError(f"train.trackers: unknown tracker {name!r}; known: {', '.join(packages)}")
        if find_spec(packages[name]) is None:
            raise ConfigError(
                f"train.trackers names {name!r}, which is not installed; "
                f"pip install {packages[name]}, or train.trackers=[]"
            )
    return list(names) or ["none"]


def make_optimizer(
    model: Any,
    trained: Mapping[str, torch.nn.Parameter],
    config: RunConfig,
    method: Method,
    device: torch.device,
) -> torch.optim.Optimizer:
    """Make the method's optimizer over its groups, or the configured one.

    Raises ConfigError for groups that do not hold each trained parameter once.
    """
    train = config.train
    groups: list[dict[str, Any]] = [{"params": list(trained.values())}]
    if method.param_groups:
        groups = method.param_groups(model, config.method, train.learning_rate)
        _check_groups(groups, trained, method)
    if method.optimizer:
        return method.optimizer(groups, config.method, train)
    return _make_configured(train, groups, device)


def _check_groups(
    groups: Sequence[Mapping[str, Any]], trained: Mapping[str, torch.nn.Parameter], method: Method
) -> None:
    counted = Counter(id(parameter) for group in groups for parameter in group["params"])
    for name, parameter in trained.items():
        if (times := counted.pop(id(parameter), 0)) != 1:
            raise ConfigError(
                f"method {method.name}: {name} is in {times} of the optimizer's groups, each trained parameter has "
                "to be in one; correct its param_groups"
            )
    if counted:
        raise ConfigError(
            f"method {method.name}: the optimizer's groups hold {len(counted)} parameters that are not trained; "
            "correct its param_groups"
        )


def _make_configured(
    train: TrainConfig, groups: list[dict[str, Any]], device: torch.device
) -> torch.optim.Optimizer:
    name = train.optimizer
    if name == "auto":
        name = "paged_adamw_8bit" if device.type == "cuda" else "adamw"
    options: dict[str, Any] = {
        "lr": train.learning_rate,
        "weight_decay": train.weight_decay,
        "betas": (0.9, train.beta2),
    }
    if name == "adamw":
        return torch.optim.AdamW(groups, fused=True, **options)
    import bitsandbytes

    kinds = {
        "adamw_8bit": bitsandbytes.optim.AdamW8bit,
        "paged_adamw_8bit": bitsandbytes.optim.PagedAdamW8bit,
    }
    optimizer: torch.optim.Optimizer = kinds[name](groups, **options)
    return optimizer


def schedule(train: TrainConfig, steps: int) -> Callable[[int], float]:
    """Make the function step number (from 0) -> share of the peak learning rate.

    The first step of the warm-up has a rate above 0: transformers' own schedules start at 0 and waste it.
    """
    warmup = min(train.warmup, steps - 1)

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = (step - warmup) / max(steps - warmup, 1)
        shapes = {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress, "constant": 1.0}
        return shapes[train.schedule]

    return share
