"""State writes and reads a checkpoint's tensors: trained parameters, and the method's own state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from appkit.errors import RunError
from appkit.method import Method

__all__ = ["load_method_state", "load_state", "save_state"]

WEIGHTS = "trainable.safetensors"
METHOD = "method.safetensors"


def save_state(folder: Path, model: Any, trained: Sequence[str], method: Method) -> None:
    """Write the parameters named `trained`, and the method's own state."""
    parameters = dict(model.named_parameters())
    save_file({name: parameters[name].detach().cpu().contiguous() for name in trained}, folder / WEIGHTS)
    if method.state:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in method.state(model).items()}
        save_file(tensors, folder / METHOD)


def load_state(folder: Path, model: Any, trained: Sequence[str], method: Method) -> None:
    """Load a checkpoint's parameters and the method's state into the model. Raises RunError if the names differ."""
    stored, parameters = load_file(folder / WEIGHTS), dict(model.named_parameters())
    if stored.keys() != set(trained):
        raise RunError(
            f"{folder} holds {len(stored)} trained tensors, this run has {len(trained)} and the names differ; "
            "resume with the run's own config"
        )
    with torch.no_grad():
        for name in trained:
            parameters[name].copy_(stored[name])
    load_method_state(folder, model, method)


def load_method_state(folder: Path, model: Any, method: Method) -> None:
    """Load the method's own state from a checkpoint. Raises RunError where it is missing."""
    if method.load_state is None:
        return
    if not (folder / METHOD).is_file():
        raise RunError(
            f"{folder} holds no state of method {method.name} ({METHOD}); resume with the run's own config"
        )
    method.load_state(model, load_file(folder / METHOD))
