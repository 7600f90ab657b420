"""Counts for Prometheus, in a registry of each gateway's own: two gateways in a process share none."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from appkit.serving.engines.supervised import Pool

__all__ = ["Metrics"]

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counts requests and tokens. bundle: `name@sha`, a base's name, or "" for a request that reached none."""

    def __init__(self, pool: Pool) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "appkit_requests", "requests", ["route", "bundle", "status"], registry=self.registry
        )
        self.tokens = Counter(
            "appkit_tokens",
            "tokens read (prompt) and generated (answer)",
            ["bundle", "kind"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "appkit_request_seconds",
            "from a request's place in the queue to the end of its answer",
            ["bundle"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.first = Histogram(
            "appkit_first_text_seconds",
            "from a streamed request to its first text",
            ["bundle"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.registry.register(_Engines(pool))

    @contextmanager
    def timed(self, bundle: str) -> Iterator[None]:
        """Measures the time of a request."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds.labels(bundle).observe(time.monotonic() - began)

    def count(self, bundle: str, *, prompt: int, answer: int) -> None:
        """Counts the tokens of an answered prompt."""
        self.tokens.labels(bundle, "prompt").inc(prompt)
        self.tokens.labels(bundle, "answer").inc(answer)

    def text(self) -> bytes:
        """Writes the metrics in Prometheus's text format."""
        return generate_latest(self.registry)


class _Engines:
    """Collects the state of each engine whenever Prometheus asks."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def collect(self) -> Iterable[Metric]:
        gauges: dict[str, tuple[str, Any]] = {
            "appkit_engine_ready": ("1: it answers", lambda engine: float(engine.ready)),
            "appkit_engine_queue": ("requests accepted, running or waiting", lambda engine: engine.running),
            "appkit_engine_restarts": ("times it was started again", lambda engine: engine.restarts),
            "appkit_engine_adapters": ("adapters registered", lambda engine: len(engine.adapters)),
        }
        for name, (description, value) in gauges.items():
            gauge = GaugeMetricFamily(name, description, labels=["engine", "base", "dtype", "role"])
            for (base, dtype, role), supervised in self.pool.engines.items():
                gauge.add_metric([supervised.engine.name, base.name, dtype, role], value(supervised))
            yield gauge
