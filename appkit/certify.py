"""`appkit certify`: the engine gives what training gave.

The engine is compared with `reference.safetensors`, which the live trained model wrote, never with a reload of the same
files. A certificate is kept in `certificates/`, outside of the payload's sha, and is keyed by payload, base, engine and
dtype.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from appkit.bundles import manifest as manifests
from appkit.certify_labels import label_behaviour, label_names, label_tokens
from appkit.checks import FP32_LIMIT, NOISE, SHARE, Check, metric_check
from appkit.errors import BundleError, ConfigError
from appkit.heads import reference
from appkit.serving.engines.choose import engine_name
from appkit.serving.engines.protocol import NULL, Engine, Job
from appkit.storage.atomic import cache_dir, write_text

if TYPE_CHECKING:
    from appkit.data.rows import Record
    from appkit.models.chat import Chat

__all__ = ["Certificate", "Check", "Subject", "behaviour", "certify"]


@dataclass(frozen=True)
class Certificate:
    """What an engine was shown to do with a bundle."""

    bundle: str
    base: str
    engine: str
    version: str
    dtype: str
    checks: tuple[Check, ...]
    made_at: str
    form: str = ""
    """`-folded` for a head that was shown inside the generating engine"""

    @property
    def passed(self) -> bool:
        return all(check.passed is not False for check in self.checks)

    @property
    def file(self) -> str:
        """Where it is kept, below the bundle."""
        from appkit.serving.opened import certificate_file

        return str(certificate_file(Path(), self.engine, self.version, self.dtype, self.form))


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


@lru_cache(maxsize=8)
def _chat(base: Path, stamps: tuple[tuple[str, int], ...]) -> Chat:
    """One for all bundles of a base, until one of its files changes: a tokenizer is megabytes."""
    from appkit.models.chat import Chat

    return Chat.at(base)


class Subject:
    """A bundle, its base and what the trained model recorded. classify: as `serve.classify`."""

    def __init__(self, path: Path, *, classify: str = "engine") -> None:
        from safetensors import safe_open
        from safetensors.torch import load_file

        from appkit.config import build_run_config
        from appkit.heads.head import of_manifest
        from appkit.heads.label import Labelling
        from appkit.heads.roles import role_of
        from appkit.models.files import load_config
        from appkit.models.sources import locate
        from appkit.plugins import load_task
        from appkit.serving.engines.compatibility import linear_shapes, read_adapter
        from appkit.serving.engines.views import unfoldable

        self.path = path
        self.manifest = manifests.read_manifest(path)
        self.config = build_run_config(self.manifest["config"])
        self.adapter = read_adapter(path)
        self.base = locate(self.config.model)
        architecture = load_config(self.base)
        self.linear, self.width = linear_shapes(architecture), int(architecture.get_text_config().hidden_size)
        small = [file for file in sorted(self.base.iterdir()) if file.suffix not in (".safetensors", ".bin")]
        self.chat = _chat(self.base, tuple((file.name, file.stat().st_mtime_ns) for file in small))
        kind = of_manifest(self.manifest, self.config, load_task(self.config.task.name), self.chat)
        self.task = kind.task
        self.labelling = kind if isinstance(kind, Labelling) else None
        self.spec = self.labelling.spec if self.labelling else None
        self.role = role_of(self.spec)
        self.unfoldable = unfoldable(self.spec) if self.spec else "its task has no labels"
        self.form = "-folded" if classify == "folded" and not self.unfoldable else ""
        if self.form:
            self.role = "generate"
        self.recorded = load_file(path / "reference.safetensors")
        with safe_open(path / "reference.safetensors", framework="np") as handle:
            self.metadata = json.loads((handle.metadata() or {}).get("appkit", "{}"))
        self.canaries = [] if self.labelling else reference.canaries(self.recorded)

    @property
    def rank(self) -> int:
        """What an engine needs: a folded head is a LoRA with a row for each label."""
        return max(self.adapter.rank, self.spec.outputs if self.form and self.spec else 0)

    def on_disk(self, engine: str) -> Iterator[Check]:
        """What is known before any engine starts. Raises BundleError where starting one would tell nothing."""
        from appkit.models.fingerprint import fingerprint
        from appkit.serving.engines.compatibility import faults

        yield Check("files", True, f"{len(self.manifest['files'])} have their sha256")  # read_manifest looked
        wanted = self.manifest["base"]
        if (found := fingerprint(self.base, wanted["dtype"]).base) != wanted["fingerprint"]:
            raise BundleError(
                f"{self.path} was trained on {wanted['id']} with fingerprint {wanted['fingerprint'][:19]}…, this "
                f"machine's has {found[:19]}…; pull the base that the bundle names, or train it anew"
            )
        yield Check("base", True, f"{wanted['name']}, {found[:19]}…")
        if wrong := list(faults(self.adapter, self.linear, engine, head=self.spec, width=self.width)):
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise BundleError(
                f"{self.path} does not fit its base in {engine}: {wrong[0]}{more}; train it anew"
            )
        yield Check(
            "structure", True, f"{len(self.adapter.modules)} modules of rank {self.adapter.rank} fit the base"
        )
        if self.labelling is not None:
            yield label_names(self)
            yield label_tokens(self)
            return
        yield self._tokens()

    def _tokens(self) -> Check:
        """The pack's examples through this base's template, against the recorded ids."""
        for example, canary in zip(self.task.examples, self.canaries, strict=True):
            prompt = self.chat.prompt(self.task.prompt(self.task.input_row(example), self.config.task))
            if tuple(prompt) != canary.tokens[: canary.supervised]:
                return Check(
                    "token ids", False, f"the prompt of {example!r} has other tokens than in training"
                )
        if (found := self.chat.fingerprint()) != self.manifest["template"]:
            return Check("token ids", False, f"the chat template is another one ({found[:19]}…)")
        return Check("token ids", True, f"equal in {len(self.canaries)} prompts")

    def base_to_serve(self) -> Path:
        """The weights that the adapter was trained on, as an engine loads them."""
        from appkit.serving.engines.protocol import served_base

        return served_base(self.config.model, self.config.quant, self.base)

    @asynccontextmanager
    async def started(self, engine: str, dtype: str) -> AsyncIterator[Engine]:
        """The engine, running with the adapter under the name "subject"."""
        with tempfile.TemporaryDirectory(prefix="appkit-certify-") as folder:
            running = self._engine(engine, dtype, Path(folder))
            await running.start()
            try:
                await running.add("subject", self._view(Path(folder)))
                yield running
            finally:
                await running.close()

    def _view(self, folder: Path) -> Path:
        """The adapter as the engine takes it."""
        from appkit.serving.engines.views import folded, without_head

        if self.role in ("embed", "embed-unmasked"):
            return without_head(self.path, folder / "states")
        if self.form and self.spec is not None:
            return folded(self.path, self.base_to_serve(), folder / "folded", self.spec)
        return self.path.resolve()

    def _engine(self, engine: str, dtype: str, folder: Path) -> Engine:
        base = self.base_to_serve()
        if engine == "transformers":
            from appkit.serving.engines.transformers import TransformersEngine

            return TransformersEngine(base, dtype=dtype, role=self.role)
        from appkit.serving.engines.vllm import Room, VllmEngine, null_adapter

        module = min(self.adapter.modules)
        targets = sorted({name.rpartition(".")[2] for name in self.adapter.modules})
        spec = self.spec
        return VllmEngine(
            base,
            dtype=dtype,
            null=null_adapter(folder / "null", module, self.linear[module]),
            room=Room(
                rank=self.rank,
                targets=[*targets, "lm_head"] if self.form else targets,
                labels=max(2, spec.outputs) if spec else 2,
                length=max(64, spec.max_length) if spec and self.role == "embed-unmasked" else None,
            ),
            log=cache_dir() / "logs" / f"certify-{self.manifest['sha'][:12]}.log",
            role=self.role,
        )


async def _continuations(
    engine: Engine, prompts: Sequence[Sequence[int]], stop: frozenset[int], cap: int
) -> list[tuple[int, ...]]:
    """Greedy answers of the subject, without the token that ended them."""
    jobs = [Job("subject", tuple(prompt), cap, stop) for prompt in prompts]
    return [piece.tokens for piece in await asyncio.gather(*map(engine.complete, jobs))]


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
    answers = await _continuations(engine, prompts, stop, cap)
    same = sum(
        answer == tuple(token for token in canary.tokens[canary.supervised :] if token not in stop)
        for answer, canary in zip(answers, canaries, strict=True)
    )
    figure = f"{same} of {len(canaries)} greedy ones equal{'' if exact else ', which is not asked of bf16'}"
    yield Check("answers", same == len(canaries) if exact else None, figure)
    yield await _metric(subject, engine, stop, cap, rows)


async def _metric(
    subject: Subject, engine: Engine, stop: frozenset[int], cap: int, rows: int | None
) -> Check:
    """The task's own metric through the engine."""
    from appkit.models.generate import cut_loop
    from appkit.task import Prediction

    task, config = subject.task, subject.config

    async def answered(records: Sequence[Record]) -> list[Prediction]:
        prompts = [subject.chat.prompt(task.prompt(record.value, config.task)) for record in records]
        predictions = []
        for tokens in await _continuations(engine, prompts, stop, cap):
            kept = cut_loop(tokens, config.decoding.loop)
            text = subject.chat.decode(kept).strip()
            predictions.append(
                Prediction(text, task.parse(text), len(kept), len(kept) >= cap or len(kept) < len(tokens))
            )
        return predictions

    return await metric_check(task, config, subject.manifest, rows, answered)
