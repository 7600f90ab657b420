"""Loads a run's base: forecasts memory, disk and time first, and checks that a resumed run has the same base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.config import RunConfig
from appkit.errors import ConfigError, RunError
from appkit.heads.choose import base_answers
from appkit.runs import directory
from appkit.runs.events import Events, Forecast
from appkit.runs.prepare import Prepared, Say
from appkit.training import forecast as forecasts

if TYPE_CHECKING:
    from appkit.models.base import Base

__all__ = ["base_facts", "load_run_base", "set_threads"]


def set_threads(threads: int | None) -> None:
    """Set the number of threads that torch computes with; None leaves torch's default."""
    import torch

    if threads:
        torch.set_num_threads(threads)


def load_run_base(prepared: Prepared, run_dir: Path, events: Events, say: Say) -> Base:
    """Load the base, after a forecast that memory, disk and context suffice.

    Raises ConfigError or RunError if they do not, ModelError if the base cannot be loaded, RunError if it is not the
    base that the run was started with.
    """
    from appkit.models import attention
    from appkit.models.load import load_base

    _check_forecast(prepared, run_dir, events, say)
    config = prepared.config
    base = load_base(config.model, config.quant)
    say(f"base: {config.model.name}, {base.quantizer}")
    attention.use(base.model)
    recorded = (
        directory.read_state(run_dir).get("base", {}).get("fingerprint_with_dtype", base.fingerprint.id)
    )
    if recorded != base.fingerprint.id:
        raise RunError(
            f"the base is not the one {run_dir} was started with (fingerprint {recorded[:19]}… then, "
            f"{base.fingerprint.id[:19]}… now); restore it, or start a new run"
        )
    return base


def _check_forecast(prepared: Prepared, run_dir: Path, events: Events, say: Say) -> None:
    """Forecast memory, disk and time, record and print it. Raises as `load_run_base` does."""
    import torch

    from appkit.models.base import compute_dtype
    from appkit.models.files import load_config, parameter_count
    from appkit.models.sources import locate

    config, cap = prepared.config, prepared.head.cap
    device = "cuda" if torch.cuda.is_available() else "cpu"
    architecture = load_config(locate(config.model))
    context = getattr(architecture.get_text_config(), "max_position_embeddings", None)
    longest = max(len(example.tokens) for example in prepared.examples) + cap
    if context and longest > context:
        raise ConfigError(
            f"rows and answers reach {longest} tokens, {config.model.name} was made for {context}; "
            "lower data.max_length (with data.on_long=drop) or decoding.max_new_tokens, or choose another model"
        )
    base_measured = config.eval.baseline and base_answers(prepared.head.task)
    needed = forecasts.forecast(
        config,
        prepared.method,
        architecture,
        parameter_count(architecture),
        compute_dtype(config.model, torch.device(device)),
        device,
        prepared.examples,
        prepared.plan,
        len(prepared.test) * (1 + base_measured) + config.eval.quant_rows,
        cap,
        run_dir,
    )
    for line in needed.lines():
        events.write(Forecast(text=line))
        say(f"forecast: {line}")
    forecasts.check(needed)


def base_facts(config: RunConfig, base: Base) -> dict[str, Any]:
    """Collect the facts of the base that a run's state and a bundle's manifest record."""
    return {
        "name": config.model.name,
        "id": config.model.public_id,
        "source": config.model.source,
        "revision": config.model.revision,
        "fingerprint": base.fingerprint.base,
        "fingerprint_with_dtype": base.fingerprint.id,
        "dtype": base.fingerprint.dtype,
        "quantizer": base.quantizer,
        "licence": config.model.licence,
    }
