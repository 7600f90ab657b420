"""Schema says what a bundle may hold: every key of manifest and adapter_config.json, its type and its range.

A bundle is input from a stranger. What is not named here is refused by its name, whatever the engine: PEFT, for one,
has options that rebuild the base that all bundles share. A new key of the manifest, or a new option of PEFT that a
method exports, is added here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from appkit.bundles.files import escape
from appkit.errors import BundleError, shortened
from appkit.stats.confidence import Calibration, LabelCalibration
from appkit.task import HeadSpec

__all__ = ["NAME", "check_adapter_config", "check_manifest", "known_options"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""of bundles and aliases"""
LARGEST_PARTS = {
    "metrics": 200_000,  # of all bundles at once, in a list
    **dict.fromkeys(("labels", "head"), 2_000_000),
    **dict.fromkeys(("quant", "method", "quantization", "confidence", "calibration", "versions"), 100_000),
}
"""characters of JSON of the parts that gateways show: encoding them may not hold up other requests"""


def _check_line(text: str) -> str:
    if escape(text) != text:
        raise ValueError("it must be one line without control characters")
    return text


def _check_text(text: str) -> str:
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text):
        raise ValueError("it must hold no control characters")
    return text


Name = Annotated[str, StringConstraints(pattern=f"^(?:{NAME.pattern})$")]
Line = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_check_line)]
Text = Annotated[str, StringConstraints(max_length=65_536), AfterValidator(_check_text)]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{1,64}$")]
Module = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,64}(\.[A-Za-z0-9_]{1,64}){0,15}$")]
"""a module's name, or its end; no regular expression, for which PEFT takes whatever is more than that"""
Count = Annotated[int, Field(ge=0, le=2**53)]
Number = Annotated[float, Field(ge=-1e15, le=1e15)]
Rank = Annotated[int, Field(ge=1, le=16_384)]
Alpha = Annotated[float, Field(gt=0, le=1e6)]


class Part(BaseModel):
    """Base of every part: types as they are, an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Task(Part):
    name: Name
    version: Line
    kind: Literal["generate", "sequence", "token"]


class Base(Part):
    name: Line
    id: Line
    source: Literal["registry", "hub", "directory"]
    revision: Line | None
    fingerprint: Fingerprint
    fingerprint_with_dtype: Fingerprint
    dtype: Literal["float32", "bfloat16", "float16"]
    quantizer: Line
    licence: Text | None


class Exported(Part):
    kind: Literal["lora", "routed", "full", "prefix"]
    rank: Rank | None
    error: Annotated[float, Field(ge=0, le=1e15)]
    trained: Annotated[int, Field(ge=0, le=10**13)] | None = None
    routing: dict[Line, Any] | None = None


class Decoding(Part):
    max_new_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"] = "auto"
    temperature: Annotated[float, Field(ge=0, le=5)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    seed: Count = 0
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=64)] = []
    loop: Annotated[int, Field(ge=8, le=1_000_000)] | None = None


class Capped(Decoding):
    cap: int = Field(ge=0, le=1_000_000)


class Interval(Part):
    value: Number
    low: Number
    high: Number
    n: Count
    level: Annotated[float, Field(ge=0, le=1)]


class Column(Part):
    who: Text
    n: Count
    seconds: Annotated[float, Field(ge=0, le=1e15)]
    tokens: Count
    metrics: dict[Text, Interval]
    strata: dict[Text, dict[Text, Interval]]


class Quantization(Part):
    metric: Text
    rows: Count
    unquantized: Number
    difference: Number
    low: Number
    high: Number


class Source(Part):
    model_config = ConfigDict(extra="allow", strict=True)

    split: Line
    rows: Count
    licence: Text | None


class Data(Part):
    model_config = ConfigDict(extra="allow", strict=True)

    sources: Annotated[list[Source], Field(max_length=64)]
    rows: dict[Line, Count]


Hashes = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$", max_length=8_000_000)]


class RowHashes(Part):
    """Keeps which rows a run has seen: 6 bytes of a salted hash each, in base64."""

    salt: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    train: Hashes
    dev: Hashes
    test: Hashes


class Head(HeadSpec):
    """A label head whose numbers stay finite whatever the logits."""

    labels: Annotated[tuple[Annotated[str, Field(max_length=1000)], ...], Field(max_length=65_536)] = ()
    max_length: int = Field(512, ge=1, le=1_000_000)
    overlap: int = Field(0, ge=0, le=1_000_000)
    temperature: float = Field(1.0, ge=1e-6, le=1e6)
    shift: float = Field(0.0, ge=-1e15, le=1e15)
    scale: float = Field(1.0, gt=0, le=1e15)


class Named(BaseModel):
    """A part of the configuration whose own model, of a pack, a method or a preset, reads the rest."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: Line


class Rows(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    max_length: Annotated[int, Field(ge=1, le=1_000_000)] = 512


class Config(BaseModel):
    """The run's configuration; `appkit.config` reads it whole. Here are the limits that a user's own need not have."""

    model_config = ConfigDict(extra="allow", strict=True)

    task: Named
    model: Named
    method: Named
    quant: Named
    decoding: Decoding
    data: Rows
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    name: Name | None = None


class ManifestModel(Part):
    """The manifest, appkit.json."""

    format: Literal[1] = Field(alias="schema")
    sha: Hash
    files: Annotated[dict[Line, Hash], Field(max_length=16)]
    name: Name
    task: Task
    base: Base
    quant: dict[Line, Any]
    method: Named
    exported: Exported
    template: Fingerprint
    labels: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=65_536)] | None = None
    head: Head | None = None
    decoding: Capped
    grammar: Text | None = None
    metrics: Annotated[dict[Text, Column], Field(max_length=64)]
    verdict: Text
    quantization: Quantization | None = None
    confidence: Calibration | None = None
    calibration: LabelCalibration | None = None
    no_confidence: Text | None = None
    data: Data
    rows: RowHashes | None = None
    seed: Count
    versions: Annotated[dict[Line, Line | None], Field(max_length=64)]
    servable_by: Annotated[list[Line], Field(max_length=16)]
    config: Config


Ranks = Annotated[dict[Module, Rank], Field(max_length=4096)]
Alphas = Annotated[dict[Module, Alpha], Field(max_length=4096)]
Off = Literal[False] | None
Modules = Annotated[list[Module], Field(min_length=1, max_length=4096)]


class FullConfig(Part):
    """adapter_config.json of a bundle that holds whole weights."""

    form: Literal["full"]
    base_model_name_or_path: Line | None = None


class RoutedConfig(Part):
    """adapter_config.json of PEFT's LoRA. Of what changes more than the factors' own layers only "off" passes."""

    r: Rank
    lora_alpha: Alpha = 8
    peft_type: Literal["LORA"] = "LORA"
    task_type: Literal["CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS"] | None = None
    target_modules: Modules | None = None
    modules_to_save: list[Literal["score", "classifier"]] | None = None
    rank_pattern: Ranks | None = None
    alpha_pattern: Alphas | None = None
    layers_to_transform: (
        Annotated[list[Annotated[int, Field(ge=0, le=4096)]], Field(max_length=4096)] | None
    ) = None
    use_dora: bool | None = None
    use_rslora: bool | None = None
    inference_mode: bool = True
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    base_model_name_or_path: Line | None = None
    peft_version: Line | None = None
    revision: Line | None = None
    init_lora_weights: bool | Literal["gaussian", "orthogonal"] = True
    """the others, such as pissa, take their start out of the base's weights when the adapter is loaded"""
    bias: Literal["none"] = "none"
    megatron_core: Literal["megatron.core"] | None = None
    qalora_group_size: Annotated[int, Field(ge=1, le=4096)] = 16
    loftq_config: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    ensure_weight_tying: Off = None
    fan_in_fan_out: Off = None
    lora_bias: Off = None
    use_bdlora: Off = None
    use_qalora: Off = None
    alora_invocation_tokens: None = None
    arrow_config: None = None
    auto_mapping: None = None
    corda_config: None = None
    eva_config: None = None
    exclude_modules: None = None
    kasa_config: None = None
    layer_replication: None = None
    layers_pattern: None = None
    lora_ga_config: None = None
    megatron_config: None = None
    monteclora_config: None = None
    target_parameters: None = None
    trainable_token_indices: None = None
    velora_config: None = None


class LoraConfig(RoutedConfig):
    """The same, of a bundle that PEFT loads: PEFT would choose targets of its own where none are named."""

    target_modules: Modules
    lora_alpha: Alpha
    peft_type: Literal["LORA"]


class PrefixConfig(Part):
    """adapter_config.json of PEFT's prefix tuning, whose virtual tokens are stored as they are."""

    peft_type: Literal["PREFIX_TUNING"]
    num_virtual_tokens: Annotated[int, Field(ge=1, le=65_536)]
    num_layers: Annotated[int, Field(ge=1, le=4096)]
    num_attention_heads: Annotated[int, Field(ge=1, le=65_536)]
    token_dim: Annotated[int, Field(ge=1, le=2**24)]
    task_type: Literal["CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS"]
    modules_to_save: list[Literal["score", "classifier"]] | None = None
    num_transformer_submodules: Literal[1] = 1
    encoder_hidden_size: Annotated[int, Field(ge=1, le=2**24)] | None = None
    inference_mode: bool = True
    base_model_name_or_path: Line | None = None
    peft_version: Line | None = None
    revision: Line | None = None
    prefix_projection: Off = None
    init_weights: None = None
    auto_mapping: None = None


CONFIGS: dict[str, type[Part]] = {
    "full": FullConfig,
    "routed": RoutedConfig,
    "lora": LoraConfig,
    "prefix": PrefixConfig,
}
"""of each form of export"""


def known_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the options that this appkit does not know and that are off: a newer PEFT's own."""
    known = {name for model in CONFIGS.values() for name in model.model_fields}
    return {name: value for name, value in config.items() if name in known or value}


def check_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Raise BundleError, which names the key, where a manifest is not as `ManifestModel` says; path: its file."""
    _check(ManifestModel, path, manifest)
    for name, largest in LARGEST_PARTS.items():
        if (size := len(json.dumps(manifest.get(name)))) > largest:
            raise BundleError(
                f"{path} is damaged: {name} has {size} characters, at most {largest} are read; "
                "copy the bundle again"
            )


def check_adapter_config(path: Path, config: Mapping[str, Any], form: str) -> None:
    """Raise BundleError, which names the option, where an adapter_config.json has one that is not allowed."""
    _check(CONFIGS[form], path, config)


def _check(model: type[Part], path: Path, values: Mapping[str, Any]) -> None:
    try:
        model.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = escape(".".join(str(part)[:80] for part in fault["loc"]))
        if fault["type"] == "missing":
            reason = f"it has no {key!r}"
        elif fault["type"] == "extra_forbidden":
            reason = f"{key} is no key that a bundle may hold, got {escape(shortened(fault['input']))}"
        else:
            reason = f"{key}: {fault['msg']}, got {escape(shortened(fault['input']))}"
        raise BundleError(f"{path} is damaged: {reason}; copy the bundle again, or train it anew") from None
