"""A bundle with all that an engine needs to answer with it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from appkit.bundles import manifest as manifests
from appkit.errors import BundleError
from appkit.heads import reference
from appkit.serving.certify.checks import Check
from appkit.serving.certify.on_disk import label_names, label_tokens
from appkit.serving.engines.protocol import Engine
from appkit.storage.atomic import cache_dir

if TYPE_CHECKING:
    from appkit.models.chat import Chat

__all__ = ["Subject"]


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
