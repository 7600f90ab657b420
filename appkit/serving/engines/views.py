"""Derives from bundles and bases the forms that engines load; they are kept elsewhere, and made again when gone.

Every view is PEFT's (or transformers') own form, so that engines load it as they load anything else. Nothing here
imports torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from appkit.errors import BundleError, ModelError
from appkit.serving.engines.compatibility import read_adapter
from appkit.storage import atomic, cache

if TYPE_CHECKING:
    from appkit.task import HeadSpec

__all__ = ["classify_base", "folded", "has_head", "label_tokens", "read_head", "unfoldable", "without_head"]

CONFIG, WEIGHTS, LABELS = "adapter_config.json", "adapter_model.safetensors", "labels.json"
INDEX, ZERO_HEAD = "model.safetensors.index.json", "model-score.safetensors"
MOST_LABELS = 128
"""tokens whose log-probabilities vLLM 0.32 gives by id, at most"""
CHANGED_LOGITS = ("final_logit_softcapping", "logits_scaling", "logit_scale")
"""keys of config.json of bases whose logits are not the output layer's product"""
NUMBERS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def classify_base(base: Path) -> Path:
    """Makes the base with a head of zeros, which vLLM's classify engine is started with: links to the base's files.

    The adapters bring heads of their own, of any size. Without this head vLLM starts too, and answers an adapter that
    has none from uninitialized memory. The directory is kept in the cache.

    Raises ModelError for a base that is no causal LM.
    """
    base = base.resolve()
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    architecture = str((config.get("architectures") or [""])[0])
    if not architecture.endswith("ForCausalLM"):
        raise ModelError(
            f"{base} must be a …ForCausalLM to carry a label head, got {architecture or 'no architecture'}"
        )
    config["architectures"] = [architecture.removesuffix("ForCausalLM") + "ForSequenceClassification"]
    from appkit.models.fingerprint import weights_hash

    mark = hashlib.sha256(json.dumps([str(base), weights_hash(base), config]).encode()).hexdigest()
    target = atomic.cache_dir() / "views" / f"{base.name}-classify-{mark[:16]}"
    with atomic.locked(target):
        if (target / "config.json").is_file():  # written last
            cache.mark_used(target)
            return target
        width = int((config.get("text_config") or config)["hidden_size"])
        with atomic.staged(target) as stage:
            _save(
                stage / ZERO_HEAD, {"score.weight": Stored.of(np.zeros((2, width)))}
            )  # transformers' own default is 2
            if (base / INDEX).is_file():
                index = json.loads((base / INDEX).read_text(encoding="utf-8"))
                index["weight_map"]["score.weight"] = ZERO_HEAD
                (stage / INDEX).write_text(json.dumps(index), encoding="utf-8")
        # not in the stage, whose files get their permissions set and would pass them on to the base's
        for file in base.iterdir():
            if file.is_file() and file.name not in ("config.json", INDEX, "manifest.json"):
                (target / file.name).symlink_to(file)
        atomic.write_text(target / "config.json", json.dumps(config, indent=2) + "\n")
    return target


def without_head(bundle: Path, target: Path) -> Path:
    """Writes the bundle's adapter without its head to `target`, as embedding engines take it."""
    if not target.exists():
        config, tensors = _read_factors(bundle)
        with atomic.staged(target) as stage:
            _write(stage, config, tensors)
    return target


def has_head(bundle: Path) -> bool:
    """Tells whether the bundle has a label head. Raises BundleError for files that are missing or damaged."""
    return read_adapter(bundle).has_head


def read_head(bundle: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads weight (C, d) and bias (C,) or None, in float32. Raises BundleError when there is no head."""
    adapter = read_adapter(bundle)
    if not adapter.has_head:
        raise BundleError(
            f"{bundle / WEIGHTS} holds no label head ({adapter.head_tensors[0]}); copy the bundle again"
        )
    with (bundle / WEIGHTS).open("rb") as handle:
        header, start = _read_header(handle)
        tensors = {
            name: _read_tensor(handle, header[name], start).values
            for name in adapter.head_tensors
            if name in header
        }
    weight, bias = adapter.head_tensors
    return tensors[weight], tensors.get(bias)


def unfoldable(head: HeadSpec) -> str | None:
    """Says why a generate engine cannot answer for this head; None: it can, through `folded`."""
    if (head.kind, head.attention, head.pooling) != ("sequence", "causal", "last"):
        return "only sequence heads that see the last token under causal attention stand where lm_head stands"
    if head.problem != "single":
        return f"logits are known up to a constant, which a softmax does not need, but problem={head.problem} does"
    if head.outputs > MOST_LABELS:
        return f"{head.outputs} labels, and vLLM gives log-probabilities of {MOST_LABELS} tokens"
    return None


def folded(bundle: Path, base: Path, target: Path, head: HeadSpec) -> Path:
    """Writes the bundle's adapter with its head as a LoRA on lm_head to `target`: each label becomes a token.

    B picks the C label tokens, whose logits A = head - W_lm[label tokens] turns into the head's. So the next token's
    log-probabilities at the label tokens are the head's logits up to a constant. The engine needs "lm_head" among its
    targets and a rank of C or more. Exact in float32; in bf16 the two large terms W_lm h and -W_lm h are rounded.

    base: the weights that are served. Raises BundleError for a head that cannot be folded, or not into this base.
    """
    if target.exists():
        return target
    reason = unfoldable(head)
    if reason is None and read_adapter(bundle).form != "lora":
        reason = "beside it is no LoRA, to which lm_head could be added"
    if reason:
        raise BundleError(f"the head of {bundle} cannot be folded: {reason}; serve it by a classify engine")
    weight, bias = read_head(bundle)
    C, width = weight.shape
    if bias is not None or head.outputs != C:
        raise BundleError(
            f"the head of {bundle} has shape {weight.shape}{' and a bias' if bias is not None else ''}, "
            f"{head.outputs} labels ask for {(head.outputs, width)}; copy the bundle again"
        )
    tokens, rows, V = _read_output_rows(base, C)
    B = np.zeros((V, C), np.float32)
    B[tokens, range(C)] = 1
    config, tensors = _read_factors(bundle)
    name = "base_model.model.lm_head"
    tensors |= {f"{name}.lora_A.weight": Stored.of(weight - rows), f"{name}.lora_B.weight": Stored.of(B)}
    config["target_modules"] = [*config["target_modules"], "lm_head"]
    # PEFT scales by alpha / rank, or alpha / sqrt(rank)
    alpha = math.sqrt(C) if config.get("use_rslora") else C
    config["rank_pattern"] = {"lm_head": C} | (config.get("rank_pattern") or {})
    config["alpha_pattern"] = {"lm_head": alpha} | (config.get("alpha_pattern") or {})
    with atomic.staged(target) as stage:
        _write(stage, config, tensors)
        (stage / LABELS).write_text(json.dumps([*tokens]), encoding="utf-8")
    return target


def label_tokens(view: Path) -> tuple[int, ...] | None:
    """Reads the token that stands for each label of a `folded` adapter; None for any other adapter."""
    file = view / LABELS
    return tuple(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def _read_output_rows(base: Path, count: int) -> tuple[range, np.ndarray, int]:
    """Chooses label tokens from the middle, where no special tokens are; returns them, their rows (count, d), and V.

    Raises BundleError for an output layer whose logits are not its product with the hidden state.
    """
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    text = config.get("text_config") or config
    if changed := [key for key in CHANGED_LOGITS if text.get(key)]:
        raise BundleError(
            f"no head can be folded into {base}: {changed[0]}={text[changed[0]]} changes its logits; "
            "serve it by a classify engine"
        )
    tied = config.get("tie_word_embeddings") or text.get("tie_word_embeddings")
    ends = ("embed_tokens.weight",) if tied else ("lm_head.weight", "embed_tokens.weight")
    places = {
        name: (file, entry, start)
        for file in sorted(base.glob("*.safetensors"))
        for header, start in [_read_header_of(file)]
        for name, entry in header.items()
    }
    for end in ends:
        for name, (file, entry, start) in places.items():
            V = entry["shape"][0]
            if name.endswith(end) and count <= V:
                tokens = range((V - count) // 2, (V - count) // 2 + count)
                with file.open("rb") as handle:
                    return tokens, _read_tensor(handle, entry, start, tokens).values, V
    raise BundleError(f"{base} has no output layer of {count} tokens or more ({' or '.join(ends)})")


# --- files -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """Holds a tensor as a safetensors file does."""

    dtype: str
    """a key of NUMBERS"""
    shape: tuple[int, ...]
    data: bytes
    """little-endian, row by row"""

    @classmethod
    def of(cls, array: np.ndarray) -> Stored:
        return cls("F32", array.shape, np.ascontiguousarray(array, "<f4").tobytes())

    @property
    def values(self) -> np.ndarray:
        """The numbers in float32."""
        numbers: np.ndarray = np.frombuffer(self.data, NUMBERS[self.dtype]).reshape(self.shape)
        if self.dtype == "BF16":
            return (numbers.astype(np.uint32) << 16).view(np.float32)
        return numbers.astype(np.float32)


def _read_header(handle: IO[bytes]) -> tuple[dict[str, Any], int]:
    """Reads what a safetensors file declares, and where its data starts, in bytes."""
    length = int.from_bytes(handle.read(8), "little")
    header: dict[str, Any] = json.loads(handle.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length


def _read_header_of(file: Path) -> tuple[dict[str, Any], int]:
    with file.open("rb") as handle:
        return _read_header(handle)


def _read_tensor(
    handle: IO[bytes], entry: Mapping[str, Any], start: int, rows: range | None = None
) -> Stored:
    """Reads one tensor, or the given rows of it."""
    (first, last), shape = entry["data_offsets"], tuple(entry["shape"])
    if rows is not None:
        row = (last - first) // shape[0]
        first, last, shape = first + rows.start * row, first + rows.stop * row, (len(rows), *shape[1:])
    handle.seek(start + first)
    return Stored(entry["dtype"], shape, handle.read(last - first))


def _save(file: Path, tensors: Mapping[str, Stored]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    # the wide numbers first, so that every tensor starts at a multiple of its number's size
    ordered = sorted(tensors.items(), key=lambda item: -len(item[1].data) // max(1, math.prod(item[1].shape)))
    end = 0
    for name, tensor in ordered:
        offsets = [end, end := end + len(tensor.data)]
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        handle.writelines(tensor.data for _, tensor in ordered)


def _read_factors(bundle: Path) -> tuple[dict[str, Any], dict[str, Stored]]:
    """Reads configuration and tensors of the bundle's adapter on a causal LM, without its head."""
    head = read_adapter(bundle).head_tensors
    config = json.loads((bundle / CONFIG).read_text(encoding="utf-8"))
    with (bundle / WEIGHTS).open("rb") as handle:
        header, start = _read_header(handle)
        tensors = {
            name: _read_tensor(handle, entry, start) for name, entry in header.items() if name not in head
        }
    return config | {"modules_to_save": None, "task_type": "CAUSAL_LM"}, tensors


def _write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Stored]) -> None:
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    _save(folder / WEIGHTS, tensors)
