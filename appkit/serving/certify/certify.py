"""`appkit certify`: the engine gives what training gave.

The engine is compared with `reference.safetensors`, which the live trained model wrote, never with a reload of the same
files. A certificate is kept in `certificates/`, outside of the payload's sha, and is keyed by payload, base, engine and
dtype.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path

from appkit.bundles import manifest as manifests
from appkit.errors import BundleError, ConfigError
from appkit.serving.certify.certificate import Certificate
from appkit.serving.certify.checks import FP32_LIMIT, NOISE, SHARE, Check
from appkit.serving.certify.labels import label_behaviour
from appkit.serving.certify.metric import continuations, words_metric
from appkit.serving.deployment import Subject
from appkit.serving.engines.choose import engine_name
from appkit.serving.engines.protocol import NULL, Engine
from appkit.storage.atomic import write_text

__all__ = ["Check", "behaviour", "certify"]


def certify(
    path: str | Path,
    *,
    engine: str = "auto",
    dtype: str = "auto",
    rows: int | None = None,
    folded: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Certificate:
    """Check a bundle (or a run's) in an engine; the certificate is kept in the bundle if every check passes.

    engine: "vllm", "transformers", or "auto": vLLM if it is installed. dtype: "float32", "bfloat16", or "auto": the one
    the bundle was computed in. rows: how many test rows the task's metric is measured on; None: all, the only number
    that counts as a check; 0 leaves it out. folded: a causal sequence head inside vLLM's generating engine, as
    serve.classify=folded serves it. `say` receives each check with its figure.

    Raises BundleError for a bundle that is damaged or fails a check, with the reason; RunError when the engine does
    not run; ModelError when the base cannot be had; ConfigError for an unknown engine or dtype.
    """
    for name, value, known in (
        ("engine", engine, ("auto", "vllm", "transformers")),
        ("dtype", dtype, ("auto", "float32", "bfloat16")),
    ):
        if value not in known:
            raise ConfigError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    if rows is not None and rows < 0:
        raise ConfigError(f"rows must be 0 or more, got {rows}; leave it out to measure all")
    return asyncio.run(_certify(Path(path), engine_name(engine), dtype, rows, folded, say))


async def _certify(
    path: Path, engine: str, dtype: str, rows: int | None, folded: bool, say: Callable[[str], None]
) -> Certificate:
    subject = Subject(manifests.find(path), classify="folded" if folded else "engine")
    if folded and (subject.form == "" or engine != "vllm"):
        raise ConfigError(
            f"{subject.path} cannot be certified folded: {subject.unfoldable or 'only vLLM serves so'}"
        )
    checks: list[Check] = []

    def told(check: Check) -> None:
        mark = "n/a " if check.passed is None else "ok  " if check.passed else "FAIL"
        say(f"{mark} {check.name}: {check.figure}")
        checks.append(check)

    for check in subject.on_disk(engine):
        told(check)
    chosen = subject.manifest["base"]["dtype"] if dtype == "auto" else dtype
    async with subject.started(engine, chosen) as running:
        checking = behaviour if subject.labelling is None else label_behaviour
        async for check in checking(subject, running, rows):
            told(check)
    certificate = Certificate(
        subject.manifest["sha"],
        subject.manifest["base"]["fingerprint"],
        running.name,
        running.version,
        running.dtype,
        tuple(checks),
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        subject.form,
    )
    kept = subject.path / certificate.file
    if not certificate.passed:
        kept.unlink(missing_ok=True)  # an earlier one says what is no longer so
        failed = next(check for check in checks if check.passed is False)
        raise BundleError(
            f"{subject.path} does not give in {running.name} {running.version} ({running.dtype}) what training gave: "
            f"{failed.name}: {failed.figure}; copy the bundle again, or train it anew"
        )
    write_text(kept, json.dumps(asdict(certificate), indent=1, ensure_ascii=False) + "\n")
    return certificate


async def behaviour(subject: Subject, engine: Engine, rows: int | None) -> AsyncIterator[Check]:
    """What the engine computes, against what the trained model recorded."""
    import torch

    canaries = subject.canaries
    recorded = {name: values.double() for name, values in subject.recorded.items()}
    found = {}
    for name, adapter in (("base", NULL), ("adapter", "subject")):
        scores = [value for one in canaries for value in await engine.score(adapter, one)]
        found[name] = torch.tensor(scores, dtype=torch.float64)
    exact = engine.dtype == subject.manifest["base"]["dtype"] == "float32"
    effect = (recorded["adapter"] - recorded["base"]).abs().mean()
    for name in ("base", "adapter"):
        apart = (found[name] - recorded[name]).abs()
        kind, off, limit = "largest", float(apart.max()), FP32_LIMIT
        if not exact:
            kind, off, limit = "mean", float(apart.mean()), SHARE * float(effect)
            if f"{name}_fp32" in recorded:  # unlikely tokens, the base's here, are rounded by far more nats
                noise = (recorded[f"{name}_bf16"] - recorded[f"{name}_fp32"]).abs().mean()
                limit = min(limit, NOISE * float(noise))
        figure = f"{kind} difference {off:.1e} nats over {len(apart)} tokens, limit {limit:.1e}"
        yield Check(f"log-probabilities, {name}", off <= limit, figure)
    moved = (found["adapter"] - found["base"]).abs().mean()
    share = float(moved / effect)
    yield Check(
        "the adapter acts",
        0.5 < share < 2,
        f"it moves log-probabilities by {share:.2f} of what it did in training",
    )
    prompts = [canary.tokens[: canary.supervised] for canary in canaries]
    stop = subject.chat.stops(subject.config.decoding.stop)
    cap = int(subject.manifest["decoding"]["cap"])
    answers = await continuations(engine, prompts, stop, cap)
    same = sum(
        answer == tuple(token for token in canary.tokens[canary.supervised :] if token not in stop)
        for answer, canary in zip(answers, canaries, strict=True)
    )
    figure = f"{same} of {len(canaries)} greedy ones equal{'' if exact else ', which is not asked of bf16'}"
    yield Check("answers", same == len(canaries) if exact else None, figure)
    yield await words_metric(subject, engine, stop, cap, rows)
