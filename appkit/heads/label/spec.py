"""Makes the spec of a label head from configuration and targets, and reads it from a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from appkit.errors import BundleError, ConfigError
from appkit.task import HeadSpec, LabelHead, Task

if TYPE_CHECKING:
    from appkit.config import RunConfig
    from appkit.heads.label.targets import Targets

__all__ = ["head_spec", "read_head_spec"]


def head_spec(task: Task, head: LabelHead, config: RunConfig, targets: Targets) -> HeadSpec:
    """Makes the spec that targets and configuration ask for. Raises ConfigError where they do not fit."""
    chosen, of_words = config.head, head.words is not None
    if of_words and chosen.pooling != "auto":
        raise ConfigError(
            f"head.pooling={chosen.pooling} has no effect on task {task.name!r}, which labels words; leave it out"
        )
    if of_words and chosen.overlap * 2 >= config.data.max_length:
        raise ConfigError(
            f"head.overlap={chosen.overlap} must be less than half of data.max_length={config.data.max_length}"
        )
    pooling = "none" if of_words else chosen.pooling
    if pooling == "auto":
        pooling = "mean" if chosen.attention == "unmasked" else "last"
    out_of_scope = head.out_of_scope(config.task)
    if out_of_scope is not None and targets.problem != "single":
        raise ConfigError(
            f"a label for what is out of scope, {out_of_scope!r}, needs rows of one label each, these are "
            f"{targets.problem}; leave it out"
        )
    return HeadSpec(
        kind=head.name,
        problem=targets.problem,
        labels=targets.labels,
        attention=chosen.attention,
        pooling=pooling,
        max_length=config.data.max_length,
        overlap=chosen.overlap if of_words else 0,
        threshold=0.5 if targets.problem == "multi" else 0.0 if out_of_scope is not None else None,
        oos=out_of_scope,
        shift=targets.shift,
        scale=targets.scale,
    )


def read_head_spec(manifest: Mapping[str, Any]) -> HeadSpec:
    """Reads the spec of a bundle's head. Raises BundleError when there is none, or it is damaged."""
    try:
        return HeadSpec.model_validate(manifest["head"])
    except (KeyError, ValidationError) as error:
        raise BundleError(
            f"{manifest.get('name')}: the head in the manifest cannot be read ({type(error).__name__}); "
            "copy the bundle again"
        ) from None
