"""`appkit certify` checks that an engine computes what the trained model computed.

The engine is compared with `reference.safetensors`, which the live trained model wrote, never with a reload of the same
files. A certificate is kept in `certificates/`, outside of the payload's sha, is keyed by payload, base, engine and
dtype, and has the seal of the machine that made it.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from appkit.bundles import manifest as manifests
from appkit.errors import BundleError, ConfigError
from appkit.heads.checks import Check
from appkit.serving.certify.certificate import Certificate, digest_manifest, write_certificate
from appkit.serving.certify.metric import check_metric
from appkit.serving.certify.seal import require_key
from appkit.serving.deployment import Deployment
from appkit.serving.engines.choose import engine_name
from appkit.serving.engines.protocol import Engine
from appkit.storage.atomic import cache_dir

__all__ = ["certify", "certify_served", "check_engine"]

SUBJECT = "subject"
"""name of the adapter in an engine of its own"""
LONGEST_CHECK_S = 120.0
"""how long a bundle may keep a gateway's engine busy with checks: whoever brings it chooses what is compared"""


def certify(
    path: str | Path,
    *,
    engine: str = "auto",
    dtype: str = "auto",
    rows: int | None = None,
    folded: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Certificate:
    """Checks a bundle (or a run's) in an engine; keeps the certificate in the bundle if every check passes.

    engine: "vllm", "transformers", or "auto": vLLM if it is installed. dtype: "float32", "bfloat16", or "auto": the one
    the bundle was computed in. rows: how many test rows the task's metric is measured on; None: all, the only number
    that counts as a check; 0 leaves it out. folded: a causal sequence head inside vLLM's generating engine, as
    serve.classify=folded serves it. `say` receives each check with its figure.

    Raises BundleError for a bundle that is damaged or fails a check, with the reason; RunError when the engine does
    not run; ModelError when the base cannot be found or fetched; ConfigError for an unknown engine or dtype, or where
    the key of this machine's seals cannot be made or read.
    """
    for name, value, allowed in (
        ("engine", engine, ("auto", "vllm", "transformers")),
        ("dtype", dtype, ("auto", "float32", "bfloat16")),
    ):
        if value not in allowed:
            raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    if rows is not None and rows < 0:
        raise ConfigError(f"rows must be 0 or more, got {rows}; leave it out to measure all")
    require_key()  # now, not after all checks
    with tempfile.TemporaryDirectory(prefix="appkit-certify-") as store:
        deployment = Deployment(
            manifests.find(path),
            Path(store),
            dtype=dtype,
            classify="folded" if folded else "engine",
        )
        chosen_engine = engine_name(engine)
        if folded and (not deployment.folded or chosen_engine != "vllm"):
            raise ConfigError(
                f"{deployment.path} cannot be certified folded: "
                f"{deployment.unfoldable or 'only vLLM serves so'}"
            )
        return asyncio.run(_certify(deployment, chosen_engine, rows, say))


async def _certify(
    deployment: Deployment, engine: str, rows: int | None, say: Callable[[str], None]
) -> Certificate:
    checks: list[Check] = []

    def add(check: Check) -> None:
        mark = "n/a " if check.passed is None else "ok  " if check.passed else "FAIL"
        say(f"{mark} {check.name}: {check.figure}")
        checks.append(check)

    for check in deployment.check_files(engine):
        add(check)
    async with _run_engine(deployment, engine) as running:
        async for check in check_engine(deployment, running, SUBJECT, rows):
            add(check)
    certificate = _make_certificate(deployment, running, checks)
    if not certificate.passed:
        (deployment.path / certificate.file).unlink(missing_ok=True)  # an earlier certificate no longer holds
    _require_passed(deployment, certificate)
    write_certificate(deployment.path, certificate)
    return certificate


async def certify_served(deployment: Deployment, engine: Engine) -> dict[str, Any]:
    """Makes a certificate's checks in a gateway's engine that has the bundle loaded, the metric left out.

    Returns the certificate as `read_certificate` gives it; it is kept nowhere, since the bundle is a stranger's.
    Raises BundleError for a bundle that fails a check, or whose checks take longer than `LONGEST_CHECK_S`.
    """
    checks = await asyncio.to_thread(lambda: list(deployment.check_files(engine.name)))
    try:
        async with asyncio.timeout(LONGEST_CHECK_S):
            checks += [check async for check in check_engine(deployment, engine, deployment.sha, rows=0)]
    except TimeoutError:
        raise BundleError(
            f"{deployment.path}: its checks took longer than {LONGEST_CHECK_S:.0f} s; appkit certify "
            f"{deployment.path} makes them without this limit"
        ) from None
    certificate = _make_certificate(deployment, engine, checks)
    _require_passed(deployment, certificate)
    return asdict(certificate) | {"sealed": True, "seal_fault": None}


def _make_certificate(deployment: Deployment, engine: Engine, checks: Sequence[Check]) -> Certificate:
    return Certificate(
        deployment.sha,
        deployment.manifest["base"]["fingerprint"],
        engine.name,
        engine.version,
        engine.dtype,
        tuple(checks),
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        deployment.form,
        digest_manifest(deployment.manifest),
    )


def _require_passed(deployment: Deployment, certificate: Certificate) -> None:
    """Raises BundleError with the first check that failed."""
    for check in certificate.checks:
        if check.passed is False:
            raise BundleError(
                f"{deployment.path} does not give in {certificate.engine} {certificate.version} ({certificate.dtype}) "
                f"what training gave: {check.name}: {check.figure}; copy the bundle again, or train it anew"
            )


async def check_engine(
    deployment: Deployment, engine: Engine, adapter: str, rows: int | None
) -> AsyncIterator[Check]:
    """Compares what the engine computes with what the trained model recorded; then measures the task's metric.

    adapter: the bundle's name in the engine. rows: as for `certify`.
    """
    recorded = await asyncio.to_thread(lambda: deployment.recorded)  # a file as large as its author likes
    exact = engine.dtype == recorded.dtype == "float32"
    async for check in deployment.head.check_engine(engine, adapter, recorded, exact=exact):
        yield check
    yield await check_metric(deployment, engine, adapter, rows)


@asynccontextmanager
async def _run_engine(deployment: Deployment, name: str) -> AsyncIterator[Engine]:
    """Starts the engine, loads the adapter, and closes the engine afterwards."""
    engine = _make_engine(deployment, name)
    await engine.start()
    try:
        await engine.add(SUBJECT, deployment.files)
        yield engine
    finally:
        await engine.close()


def _make_engine(deployment: Deployment, name: str) -> Engine:
    if name == "transformers":
        from appkit.serving.engines.transformers import TransformersEngine

        return TransformersEngine(deployment.base, dtype=deployment.dtype, role=deployment.role)
    from appkit.serving.engines.vllm import Room, VllmEngine

    targets = sorted({module.rpartition(".")[2] for module in deployment.adapter.modules})
    spec = deployment.spec
    return VllmEngine(
        deployment.base,
        dtype=deployment.dtype,
        null=deployment.null,
        room=Room(
            rank=deployment.rank,
            targets=[*targets, "lm_head"] if deployment.folded else targets,
            labels=max(2, spec.outputs) if spec else 2,
            length=max(64, spec.max_length) if spec and deployment.role == "embed-unmasked" else None,
        ),
        log=cache_dir() / "logs" / f"certify-{deployment.sha[:12]}.log",
        role=deployment.role,
    )
