"""Prepares a bundle with all that an engine needs to answer with it, for certificates and the gateway."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from appkit.bundles import manifest as manifests
from appkit.config import build_run_config
from appkit.errors import BundleError
from appkit.heads.checks import Check
from appkit.heads.choose import head_of_bundle
from appkit.heads.reference import Recorded
from appkit.heads.roles import Role
from appkit.plugins import load_task
from appkit.serving.engines.compatibility import base_shapes, faults, read_adapter, weight_faults
from appkit.serving.engines.protocol import EngineSpec, served_base
from appkit.serving.engines.views import folded, read_head, unfoldable, without_head
from appkit.serving.engines.vllm import null_adapter
from appkit.storage.atomic import file_sha256, staged

if TYPE_CHECKING:
    from appkit.models.chat import Chat
    from appkit.task import HeadSpec, Task

__all__ = ["ADAPTER", "Deployment"]

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
"""the files of a bundle that an engine reads; never a pickle"""


@lru_cache(maxsize=8)
def _load_chat(base: Path, stamps: tuple[tuple[str, int], ...]) -> Chat:
    """Loads one chat for all bundles of a base, until one of its files changes: a tokenizer is megabytes."""
    from appkit.models.chat import Chat

    return Chat.at(base)


class Deployment:
    """Holds a bundle as it is served.

    What an engine loads (`files`, `base`, `null`) is made in `store` when it is first asked for.
    """

    certificate: Mapping[str, Any] | None = None
    """found at admission, as `read_certificate` gives it; None: there is none, and none was required"""
    doubted: bool = False
    """one is required, and anybody could have written this: the gateway has to make its checks before it serves"""

    def __init__(
        self,
        path: Path,
        store: Path,
        *,
        dtype: str = "auto",
        classify: Literal["engine", "folded"] = "engine",
    ) -> None:
        """Reads the bundle in `path`; nothing is computed yet.

        store: directory for the engine's copy of the adapter. dtype: what the engine computes in; auto: the one the
        bundle was computed in. classify: as `serve.classify`.

        Raises BundleError for a damaged bundle, ModelError when its base cannot be found or fetched.
        """
        from appkit.models.files import load_config
        from appkit.models.sources import locate

        self.path, self.store = path, store
        self.manifest = manifests.read_manifest(path)
        self.config = build_run_config(self.manifest["config"])
        if (self.manifest.get("exported") or {}).get("kind") == "routed":
            raise BundleError(
                f"{path} routes experts, which no engine of this version does; use appkit predict"
            )
        self.adapter = read_adapter(path)
        self.trained_base = locate(self.config.model)
        """directory of the base as it was fetched, before any quantization"""
        architecture = load_config(self.trained_base)
        shapes = base_shapes(architecture)
        self.linear, self.parameters = shapes.linear, shapes.parameters
        self.sizes = {
            "adapter_bytes": (path / "adapter_model.safetensors").stat().st_size,
            "base_parameters": sum(math.prod(shape) for shape in self.parameters.values()),
        }
        self.width = int(architecture.get_text_config().hidden_size)
        small_files = [
            file
            for file in sorted(self.trained_base.iterdir())
            if file.suffix not in (".safetensors", ".bin")
        ]
        chat = _load_chat(
            self.trained_base, tuple((file.name, file.stat().st_mtime_ns) for file in small_files)
        )
        self.dtype: str = self.manifest["base"]["dtype"] if dtype == "auto" else dtype
        head = head_of_bundle(self.manifest, self.config, load_task(self.config.task.name), chat)
        self.unfoldable = unfoldable(head.spec) if head.spec else "its task has no labels"
        self.folds = classify == "folded"
        """fold heads into the generating engine where possible"""
        self.folded = self.folds and not self.unfoldable
        in_gateway = not self.folded and head.role in ("embed", "embed-unmasked")
        self.head = head.served(read_head(path) if in_gateway else None, folded=self.folded)

    # --- the bundle

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def sha(self) -> str:
        return str(self.manifest["sha"])

    @property
    def ref(self) -> str:
        """The version `name@sha`, as callers name it."""
        return f"{self.name}@{self.sha[:12]}"

    @property
    def virtual_tokens(self) -> int:
        """Positions of the engine's context that the adapter takes before each row."""
        return self.adapter.virtual_tokens

    @property
    def task(self) -> Task:
        return self.head.task

    @property
    def chat(self) -> Chat:
        return self.head.chat

    @property
    def spec(self) -> HeadSpec | None:
        return self.head.spec

    @property
    def role(self) -> Role:
        """The role of the engine that serves the bundle."""
        return self.head.role

    @property
    def form(self) -> str:
        """The form of the certificate: `-folded` for a head that stands in a generating engine."""
        return "-folded" if self.folded else ""

    @property
    def rank(self) -> int:
        """The rank that an engine needs room for: a folded head is a LoRA with a row for each label."""
        return max(self.adapter.rank, self.spec.outputs if self.folded and self.spec else 0)

    @property
    def recorded(self) -> Recorded:
        """The record of the live trained model; read each time, since only certificates need it."""
        return Recorded.read(self.path, self.manifest["template"], self.manifest["base"]["dtype"])

    # --- what an engine loads

    @cached_property
    def base(self) -> Path:
        """The weights that the adapter was trained on, as an engine loads them."""
        return served_base(self.config.model, self.config.quant, self.trained_base)

    @property
    def base_name(self) -> str:
        """The base's name for callers; of a directory, the last part only: every key sees this name."""
        quant = self.config.quant.name
        return Path(self.config.model.name).name + ("" if quant == "none" else f"-{quant}")

    @cached_property
    def files(self) -> Path:
        """The adapter in the form its engine takes, copied under its sha, where nothing changes it."""
        copied = self._copy_adapter()
        if self.role in ("embed", "embed-unmasked"):
            return without_head(copied, self.store / f"{copied.name}-states")
        if self.folded and self.spec is not None:
            return folded(copied, self.base, self.store / f"{copied.name}-folded", self.spec)
        return copied

    def _copy_adapter(self) -> Path:
        target = self.store / self.sha
        if target.exists():
            return target
        with staged(target) as stage:
            for name in ADAPTER:
                shutil.copyfile(self.path / name, stage / name)
                if file_sha256(stage / name) != self.manifest["files"][name]:
                    raise BundleError(f"{self.path / name} changed while it was read; copy the bundle again")
        return target

    @property
    def engine(self) -> EngineSpec:
        """The spec of the engine that serves the bundle, beside others."""
        # every linear layer, whatever the next bundle changes; lm_head only where heads are folded into it
        targets = {module.rpartition(".")[2] for module in self.linear} - {"lm_head"}
        if self.folds and self.role == "generate":
            targets.add("lm_head")
        return EngineSpec(self.base, self.base_name, self.dtype, self.role, self.null, tuple(sorted(targets)))

    @cached_property
    def null(self) -> Path:
        """The adapter that changes nothing, on a module that the bundle's changes too: an engine has room for it."""
        module = min(self.adapter.modules or self.linear.keys() - {"lm_head"})
        out, into = self.linear[module]
        folder = self.store / f"null-{out}x{into}-{module}"
        if not folder.exists():
            null_adapter(folder, module, (out, into))
        return folder

    def place(self) -> None:
        """Makes all files that an engine loads, now."""
        _ = self.base, self.files, self.null

    # --- what is known before an engine starts

    def check_files(self, engine: str) -> Iterator[Check]:
        """Checks files, base and structure. Raises BundleError where the engine would compute something else."""
        from appkit.models.fingerprint import fingerprint

        yield Check("files", True, f"{len(self.manifest['files'])} have their sha256")  # read_manifest looked
        base = self.manifest["base"]
        if (mark := fingerprint(self.trained_base, base["dtype"]).base) != base["fingerprint"]:
            raise BundleError(
                f"{self.path} was trained on {base['id']} with fingerprint {base['fingerprint'][:19]}…, this "
                f"machine's has {mark[:19]}…; pull the base that the bundle names, or train it anew"
            )
        yield Check("base", True, f"{base['name']}, {mark[:19]}…")
        full = self.adapter.form == "full"
        if reasons := list(
            weight_faults(self.adapter, self.parameters, engine)
            if full
            else faults(self.adapter, self.linear, engine, head=self.spec, width=self.width)
        ):
            more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            raise BundleError(
                f"{self.path} does not fit its base in {engine}: {reasons[0]}{more}; train it anew"
            )
        fits = (
            f"{len(self.adapter.shapes)} changed weights"
            if full
            else f"{len(self.adapter.modules)} modules of rank {self.adapter.rank}"
            if self.adapter.rank
            else "the virtual tokens"
        )
        yield Check("structure", True, f"{fits} fit the base")
        yield from self.head.check_files(self.recorded)
