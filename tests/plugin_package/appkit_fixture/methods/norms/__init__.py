"""Trains the normalization weights of the base, and nothing else."""

from __future__ import annotations

from typing import Any

from appkit.method import Form, Method
from appkit_fixture.methods.norms.config import NormsOptions, servable

__all__ = ["METHOD"]


def _build(base: Any, options: NormsOptions) -> Any:
    from appkit_fixture.methods.norms.build import build

    return build(base, options)


def _export(model: Any, options: NormsOptions) -> Form:
    from appkit_fixture.methods.norms.build import export

    return export(model, options)


METHOD = Method(
    name="norms",
    summary="the base's own normalization weights",
    config=NormsOptions,
    build=_build,
    servable=servable,
    export=_export,
)
