"""A bundle ready to be served: checked, certified, and its adapter copied to where nothing changes it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.errors import BundleError
from appkit.heads.roles import Role
from appkit.serving.certify.certificate import certificate_file
from appkit.serving.engines.protocol import Conflict, EngineSpec
from appkit.serving.engines.views import folded, read_head, without_head
from appkit.storage.atomic import file_sha256, staged

if TYPE_CHECKING:
    import numpy as np

    from appkit.config import RunConfig
    from appkit.heads.label import Labelling
    from appkit.models.chat import Chat
    from appkit.serving.deployment import Subject
    from appkit.serving.gateway.settings import Settings
    from appkit.task import Task

__all__ = ["Opened", "open_bundle"]

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
"""All that an engine sees of a bundle; never a pickle."""


@dataclass(frozen=True, eq=False)
class Opened:
    """One version. files: the engine's copy of the adapter; base, dtype, null: what its engine is started with.

    stop: ids that end an answer; cap: the most tokens of one. certificate None: there is none, and none was asked for.
    role: of its engine. labelling: of a label task, how texts are read and logits understood; head: its weight (C, d)
    and bias (C,), where it is the gateway that applies it.
    """

    name: str
    sha: str
    path: Path
    files: Path
    manifest: Mapping[str, Any] = field(repr=False)
    task: Task = field(repr=False)
    config: RunConfig = field(repr=False)
    chat: Chat = field(repr=False)
    stop: frozenset[int]
    cap: int
    base: Path
    base_name: str
    dtype: str
    null: Path
    targets: tuple[str, ...]
    certificate: Mapping[str, Any] | None = field(repr=False)
    role: Role = "generate"
    labelling: Labelling | None = field(default=None, repr=False)
    head: tuple[np.ndarray, np.ndarray | None] | None = field(default=None, repr=False)

    @property
    def engine(self) -> EngineSpec:
        return EngineSpec(self.base, self.base_name, self.dtype, self.role, self.null, self.targets)

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.sha[:12]}"


def open_bundle(
    path: Path, *, engine: str, version: str, max_rank: int, max_labels: int, store: Path, chosen: Settings
) -> Opened:
    """Read a bundle, check it against its base, and copy its adapter into `store`, in the form its engine takes.

    engine, version: what will serve it.
    Raises BundleError with the reason when it is unsound or has no certificate that fits; Conflict above the ceiling;
    ModelError when its base cannot be had.
    """
    from appkit.serving.deployment import Subject

    for name in ("appkit.json", *ADAPTER):
        if (path / name).is_symlink():
            raise BundleError(f"{path / name} is a link, which is not followed; copy the bundle instead")
    subject = Subject(path, classify=chosen.classify)
    for check in subject.on_disk(engine):
        if check.passed is False:
            raise BundleError(f"{path}: {check.name}: {check.figure}; appkit certify {path} tells more")
    _check_room(subject, max_rank, max_labels, chosen.max_window)
    computed = subject.manifest["base"]["dtype"] if chosen.dtype == "auto" else chosen.dtype
    certificate = _certificate(subject, engine, version, computed, needed=chosen.certified)
    base = subject.base_to_serve()
    quant = subject.config.quant.name
    decoding = subject.manifest["decoding"]
    lm_head = {"lm_head"} if chosen.classify == "folded" and subject.role == "generate" else set()
    return Opened(
        name=subject.manifest["name"],
        sha=subject.manifest["sha"],
        path=path,
        files=_view(subject, base, store),
        manifest=subject.manifest,
        task=subject.task,
        config=subject.config,
        chat=subject.chat,
        stop=_stops(subject.base, tuple(decoding.get("stop", ()))),
        cap=int(decoding["cap"]),
        base=base,
        # of a directory, the last part: every key sees this name
        base_name=Path(subject.config.model.name).name + ("" if quant == "none" else f"-{quant}"),
        dtype=computed,
        null=_null(subject, store),
        targets=tuple(sorted({name.rpartition(".")[2] for name in subject.linear} - {"lm_head"} | lm_head)),
        certificate=certificate,
        role=subject.role,
        labelling=subject.labelling,
        head=read_head(path) if subject.role in ("embed", "embed-unmasked") else None,
    )


def _check_room(subject: Subject, max_rank: int, max_labels: int, max_window: int) -> None:
    """Raises Conflict, with the key to raise, for what the engine was not started for."""
    name, spec = subject.path.name, subject.spec
    if (rank := subject.rank) > max_rank:
        raise Conflict(
            f"{name} needs rank {rank}, this gateway has room for {max_rank}; start it with serve.max_rank={rank}"
        )
    if spec and subject.role == "classify" and spec.outputs > max_labels:
        raise Conflict(
            f"{name} has {spec.outputs} labels, this gateway has room for {max_labels}; "
            f"start it with serve.max_labels={spec.outputs}"
        )
    if spec and subject.role == "embed-unmasked" and spec.max_length > max_window:
        raise Conflict(
            f"{name} reads {spec.max_length} tokens at once, this gateway has room for {max_window}; "
            f"start it with serve.max_window={spec.max_length}"
        )


def _view(subject: Subject, base: Path, store: Path) -> Path:
    """The adapter as its engine takes it."""
    copied = _copied(subject, store)
    if subject.role in ("embed", "embed-unmasked"):
        return without_head(copied, store / f"{copied.name}-states")
    if subject.role == "generate" and subject.spec is not None:
        return folded(copied, base, store / f"{copied.name}-folded", subject.spec)
    return copied


def _certificate(
    subject: Subject, engine: str, version: str, dtype: str, *, needed: bool
) -> Mapping[str, Any] | None:
    """The one for this engine; None if there is none and none is `needed`.

    Raises BundleError when there is none, and for one that is another bundle's.
    """
    file = certificate_file(subject.path, engine, version, dtype, subject.form)
    remedy = f"appkit certify {subject.path} --engine {engine} --dtype {dtype}{' --folded' if subject.form else ''}"
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        fits = (
            kept["bundle"] == subject.manifest["sha"]
            and kept["base"] == subject.manifest["base"]["fingerprint"]
            and (kept["engine"], kept["version"], kept["dtype"]) == (engine, version, dtype)
            and all(check["passed"] is not False for check in kept["checks"])
        )
    except FileNotFoundError:
        if not needed:
            return None
        raise BundleError(
            f"{subject.path} has no certificate for {engine} {version} in {dtype}; {remedy}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{file} cannot be read: {error}; {remedy}") from None
    if not fits:
        raise BundleError(f"{file} belongs to another bundle, base or engine; {remedy}")
    found: Mapping[str, Any] = kept
    return found


def _copied(subject: Subject, store: Path) -> Path:
    """The adapter under its sha, which nothing changes or removes while an engine may read it."""
    target = store / str(subject.manifest["sha"])
    if target.exists():
        return target
    with staged(target) as stage:
        for name in ADAPTER:
            shutil.copyfile(subject.path / name, stage / name)
            if file_sha256(stage / name) != subject.manifest["files"][name]:
                raise BundleError(f"{subject.path / name} changed while it was read; copy the bundle again")
    return target


def _null(subject: Subject, store: Path) -> Path:
    from appkit.serving.engines.vllm import null_adapter

    module = min(subject.linear.keys() - {"lm_head"})
    out, into = subject.linear[module]
    folder = store / f"null-{out}x{into}-{module}"
    if not folder.exists():
        null_adapter(folder, module, (out, into))
    return folder


@lru_cache(maxsize=64)
def _stops(base: Path, strings: tuple[str, ...]) -> frozenset[int]:
    from appkit.models.chat import Chat

    return Chat.at(base).stops(strings)
