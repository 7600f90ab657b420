"""The configuration of a run: frozen models, presets, and how words and keys become one of them.

Bare words (`task model method quant train`) choose presets, dotted keys refine them. Lowest to highest:
defaults, presets, the pack's own defaults, `--config` file, command line. OmegaConf parses and merges plain
values; the pydantic models here validate them and give the JSON schema.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from appkit.errors import ConfigError
from appkit.plugins import did_you_mean, load_method, load_task
from appkit.task import Decoding

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = [
    "DataConfig",
    "EvalConfig",
    "HeadConfig",
    "ModelConfig",
    "QuantConfig",
    "RagConfig",
    "RunConfig",
    "TrainConfig",
    "build_run_config",
    "load_run_config",
    "merge_over",
    "model_config",
    "parse_overrides",
    "presets",
    "rag_words",
    "to_values",
    "to_yaml",
]

GROUPS = ("task", "model", "method", "quant", "train")


class Section(BaseModel):
    """Base of every part of the configuration: frozen, and an unknown key is an error; 2024 can be a text."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class ModelConfig(Section):
    """A base model: one source, one fingerprint. No fallback from one source to another."""

    name: str = Field(description="preset name, hub id or directory, as the user gave it")
    source: Literal["registry", "hub", "directory"] = Field(description="where the weights come from")
    id: str = Field(description="package name, hub id (org/name) or directory")
    revision: str | None = Field(None, description="package version or hub commit/tag")
    file: str | None = Field(None, description="the GGUF file inside the registry package")
    sha256: str | None = Field(None, description="of the registry package's wheel")
    fingerprint: str | None = Field(None, description="recorded fingerprint; a different one is refused")
    gated: bool = Field(False, description="the hub asks for a login and an accepted licence")
    licence: str | None = Field(None, description="SPDX id or the licence's own name")
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="compute dtype; auto is bfloat16 where the hardware multiplies it, else float32"
    )


class QuantConfig(Section):
    """How the frozen base is quantized."""

    name: Literal["nf4", "int8", "none"] = Field("nf4", description="quantizer; NF4 is 4-bit NormalFloat")
    double_quant: bool = Field(True, description="quantize the NF4 scales too")
    dequantize: Literal["auto", "always", "never"] = Field(
        "auto", description="turn NF4 back into plain linears once, before any forward; auto does so on CPU"
    )


class HeadConfig(Section):
    """The head of a label task (kinds sequence and token). Defaults are those of LS-LLaMA (arXiv 2310.01208)."""

    attention: Literal["causal", "unmasked"] = Field(
        "causal", description="unmasked: every token sees the whole text (LS-unLLaMA)"
    )
    pooling: Literal["auto", "last", "mean", "max"] = Field(
        "auto", description="of a sequence's states; auto is last with causal attention, mean with unmasked"
    )
    dropout: float | Literal["auto"] = Field(
        "auto", description="on what the head sees; auto is 0.1 for tokens, 0 for sequences"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: rows of rare labels count more, n / (classes x rows of the class)"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all labels")
    overlap: int = Field(64, ge=0, description="tokens shared by two windows of a long document; token heads")


def _switch(value: object) -> object:
    """YAML reads a bare `on` or `off` as true or false."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class TrainConfig(Section):
    """The optimization. Lengths are tokens, sizes are rows, steps are optimizer steps."""

    name: str = Field("quick", description="the preset these values started from")
    epochs: float = Field(1.0, gt=0, le=1000, description="passes over the training rows")
    max_rows: int | None = Field(None, ge=1, description="use at most this many training rows (hash order)")
    max_tokens: int | None = Field(
        None, ge=16, description="use as many training rows as have this many tokens (hash order)"
    )
    batch_tokens: int = Field(1024, ge=16, description="tokens laid end to end in one micro-batch, at most")
    batch_rows: int = Field(8, ge=1, description="rows per optimizer step")
    optimizer: Literal["auto", "adamw", "adamw_8bit", "paged_adamw_8bit"] = Field(
        "auto", description="auto is paged 8-bit AdamW on a GPU, AdamW on a CPU"
    )
    learning_rate: float = Field(1e-3, gt=0, le=1, description="peak")
    beta2: float = Field(
        0.95,
        gt=0,
        lt=1,
        description="AdamW's memory of squared gradients; 0.999 remembers the first steps of a short run to its end",
    )
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="after the warm-up")
    warmup: int = Field(5, ge=0, description="optimizer steps")
    weight_decay: float = Field(0.0, ge=0, le=1)
    max_grad_norm: float = Field(1.0, gt=0, description="gradients above it are scaled down")
    gradient_checkpointing: Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)] = Field(
        "auto", description="auto is on on a GPU"
    )
    eval_steps: int | None = Field(None, ge=1, description="measure the dev rows this often; none: never")
    eval_rows: int = Field(64, ge=1, description="dev rows measured during training, at most")
    save_steps: int | None = Field(
        None, ge=1, description="checkpoint this often; none: with each evaluation"
    )
    keep_checkpoints: int = Field(2, ge=1, description="the best one is kept besides")
    patience: int | None = Field(None, ge=1, description="stop after this many evaluations without gain")
    select: Literal["best", "last"] = Field("best", description="which checkpoint becomes the bundle")
    trackers: tuple[str, ...] = Field(
        ("tensorboard",), description="where the curves go besides metrics.jsonl"
    )


class DataConfig(Section):
    """Where rows come from and what happens to bad ones."""

    train: str | None = Field(None, description="JSONL, CSV or Parquet file, or hub:org/name; none: shipped")
    dev: str | None = Field(None, description="rows for early stopping; none: carved from train by hash")
    test: str | None = Field(None, description="rows for the final figures; none: shipped, or carved")
    columns: dict[str, str] = Field(
        default_factory=dict, description="field of the task -> column of the file"
    )
    feedback: str | None = Field(
        None, description="store of `appkit demo`: accepted corrections join the training rows"
    )
    dev_share: float = Field(0.05, gt=0, lt=0.5, description="share of train carved out when dev is none")
    test_share: float = Field(0.1, gt=0, lt=0.5, description="share of train carved out when test is none")
    on_error: Literal["refuse", "drop"] = Field("refuse", description="rows that do not fit the schema")
    on_long: Literal["refuse", "drop", "cut"] = Field(
        "refuse",
        description="rows longer than max_length; cut keeps the first tokens, of sequence tasks only",
    )
    max_length: int = Field(512, ge=8, description="tokens of prompt and answer together")


class EvalConfig(Section):
    """The final measurement."""

    rows: int | None = Field(None, ge=1, description="test rows, at most (hash order); none: all")
    batch_rows: int = Field(128, ge=1, description="rows decoded side by side, at most")
    few_shot: int = Field(4, ge=0, description="examples in the base's prompt")
    quant_rows: int = Field(
        64, ge=0, description="rows on which the cost of quantization is measured; 0: off"
    )
    resamples: int = Field(2000, ge=100, description="of the bootstrap")
    baseline: bool = Field(True, description="measure the base as well; of label tasks, the `baselines`")
    baselines: Literal["quick", "all"] = Field(
        "quick",
        description="what label tasks are measured against: quick is majority and TF-IDF (of tokens, known "
        "names and word features) with logistic regression; all adds MiniLM embeddings and the same base trained to "
        "write the label",
    )


class RagConfig(Section):
    """Documents at hand: which index, and what is taken from it."""

    index: str | None = Field(
        None,
        description="directory that `appkit rag index` made; none: rows bring their own passages",
    )
    k: int = Field(5, ge=1, le=50, description="passages of a row")
    by: Literal["dense", "bm25", "hybrid"] = Field("hybrid", description="how they are ranked")
    judge: bool = Field(False, description="QIM puts the best 20 in order")


def _of_index(value: Any) -> Any:
    """`rag=INDEX` names the directory."""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return {"index": str(value)}
    if isinstance(value, Mapping) and "name" in value:  # beside `rag.k=3`
        return {**{key: one for key, one in value.items() if key != "name"}, "index": str(value["name"])}
    return value


class RunConfig(Section):
    """Everything that decides a run."""

    task: Any = Field(description="the pack and its options")
    model: ModelConfig
    method: Any = Field(description="the adapter method and its options")
    quant: QuantConfig = QuantConfig()
    head: HeadConfig = HeadConfig()
    train: TrainConfig = TrainConfig()
    data: DataConfig = DataConfig()
    rag: Annotated[RagConfig, BeforeValidator(_of_index)] = RagConfig()
    eval: EvalConfig = EvalConfig()
    decoding: Decoding = Decoding()
    seed: int = Field(0, ge=0, lt=2**31, description="of initialization, batches and dropout")
    threads: int | None = Field(None, ge=1, description="CPU threads; none: one per core")
    run_dir: str | None = Field(None, description="none: runs/<task>/<time>")
    name: str | None = Field(None, description="of the bundle; none: the task's name")


def presets(group: str) -> list[str]:
    """Names of the presets of `model`, `quant` or `train`."""
    folder = files("appkit") / "presets" / group
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def _preset(group: str, name: str) -> dict[str, Any]:
    known = presets(group)
    if name not in known:
        raise ConfigError(f"no {group} preset {name!r}; {did_you_mean(name, known)}")
    return {"name": name} | _read_yaml(files("appkit") / "presets" / group / f"{name}.yaml")


def _read_yaml(path: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    try:
        loaded = OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8")), resolve=False)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # the YAML library raises many kinds
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} must hold keys and values, got {type(loaded).__name__}")
    return {str(key): value for key, value in loaded.items()}


def model_config(word: str) -> ModelConfig:
    """A preset's name, a directory, or a hub id (`org/name` or `org/name@revision`)."""
    return ModelConfig.model_validate(_model_values(word))


def _model_values(word: str) -> dict[str, Any]:
    if word in presets("model"):
        return _preset("model", word)
    path = Path(word).expanduser()
    if path.is_dir():
        return {"name": word, "source": "directory", "id": str(path.resolve())}
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", word) and not word.startswith("."):
        hub_id, _, revision = word.partition("@")
        return {"name": word, "source": "hub", "id": hub_id, "revision": revision or None}
    raise ConfigError(
        f"no model {word!r}: neither a preset ({did_you_mean(word, presets('model'))}), nor a directory, "
        "nor a hub id (org/name or org/name@revision)"
    )


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """`key=value` words -> nested values; YAML rules for the value (`true`, `1e-3`, `[a, b]`)."""
    from omegaconf import OmegaConf

    merged: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[a-z_]\w*(\.[\w-]+)*", key):
            raise ConfigError(f"expected key=value, got {word!r}; for instance task=nl2fol method.rank=16")
        try:
            # interpolation is a surprise in a path or a sentence: take "${" literally
            plain: Any = OmegaConf.to_container(OmegaConf.create(f"v: {value}"), resolve=False)["v"]  # type: ignore[call-overload, index]
        except Exception:  # not YAML: a bare string such as "a: b"
            plain = value
        if isinstance(plain, str) and " #" in value:
            plain = value  # YAML would cut a comment off; on a command line it is text
        if type(plain) in (int, float) and str(plain) != value:
            plain = _as_written(plain, value)
        node = merged
        *parents, leaf = key.split(".")
        for parent in parents:
            inner = node.setdefault(parent, {})
            if not isinstance(inner, dict):  # "method=lora method.rank=8": the word is the group's name
                inner = node[parent] = {"name": inner}
            node = inner
        if isinstance(node.get(leaf), dict) and not isinstance(plain, dict):
            node[leaf]["name"] = plain
        else:
            node[leaf] = plain
    return merged


def rag_words(words: Sequence[str]) -> tuple[RagConfig, list[str]]:
    """What the words `rag=INDEX` and `rag.KEY=VALUE` among others say of documents, and the others.

    Raises ConfigError for a value that does not fit, or settings without an index.
    """
    own = [word for word in words if re.match(r"rag(\.\w+)?=", word)]
    found: RagConfig = _validate(RagConfig, _of_index(parse_overrides(own).get("rag", {})), "rag")
    if own and found.index is None:
        raise ConfigError(
            f"{own[0]} has no effect without an index; add rag=INDEX (appkit rag index makes one)"
        )
    return found, [word for word in words if word not in own]


def _as_written(number: float, text: str) -> Any:
    """The number, which a field of text takes as it was written: revision 0.10 is not 0.1."""
    kind = type(number)
    return type(kind.__name__, (kind,), {"__str__": lambda self: text})(number)


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"task": "nl2fol"}` -> `{"task": {"name": "nl2fol"}}` for the groups that presets fill; rag has an index."""
    named = {
        key: {"name": value} if key in GROUPS and isinstance(value, (str, int, float)) else value
        for key, value in values.items()
    }
    return named | {"rag": _of_index(named["rag"])} if "rag" in named else named


def merge_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values with others laid over them; a bare word replaces a whole group (`model=...`)."""
    over = _named(above)
    kept = {
        key: value for key, value in below.items() if key not in GROUPS or "name" not in (over.get(key) or {})
    }
    return _merge(_named(kept), over)


def _merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win; nested values are merged key by key, everything else is replaced.

    Not by OmegaConf: it would take "${" in a user's text for an interpolation.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            both = isinstance(below, Mapping) and isinstance(value, Mapping)
            merged[key] = _merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def load_run_config(words: Sequence[str] = (), file: Path | None = None) -> RunConfig:
    """The configuration that command-line words, over a file, over presets, over defaults, describe.

    Raises ConfigError with one line for the first key or value that does not fit.
    """
    given = merge_over(_read_yaml(file) if file else {}, parse_overrides(words))
    return build_run_config(given)


def build_run_config(given: Mapping[str, Any]) -> RunConfig:
    """The same from nested values, such as a saved `config.yaml` or the keyword arguments of `appkit.train`."""
    given = _named(given)
    for group in GROUPS:
        if group in given and not isinstance(given[group], Mapping):
            raise ConfigError(f"{group} must be a name or hold keys, got {given[group]!r}")
    if not given.get("task", {}).get("name"):
        from appkit.plugins import modules

        raise ConfigError(
            f"task is missing; choose one: {', '.join(f'task={t}' for t in modules('appkit.tasks'))}"
        )
    task = load_task(str(given["task"]["name"]))
    method = load_method(str(given.get("method", {}).get("name", "lora")))
    model_word = str(given.get("model", {}).get("name", "smollm2-135m"))
    model = given["model"] if "source" in given.get("model", {}) else _model_values(model_word)
    base = {
        "task": {"name": task.name},
        "model": model,
        "method": {"name": method.name},
        "quant": _preset("quant", str(given.get("quant", {}).get("name", "nf4"))),
        "train": _preset("train", str(given.get("train", {}).get("name", "quick"))),
        "decoding": task.decoding.model_dump(),
    }
    values = _merge(base, task.defaults, given)
    # options of the pack and the method are validated by their own schemas
    values["task"] = _validate(task.config, values["task"], "task")
    values["method"] = _validate(method.config, values["method"], "method")
    config: RunConfig = _validate(RunConfig, values, "")
    return config


def _validate(schema: type[BaseModel], values: Mapping[str, Any], where: str) -> Any:
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, schema, values, where)) from None


def _explain(error: ValidationError, schema: type[BaseModel], values: Mapping[str, Any], where: str) -> str:
    """The first fault as one line: key, value, what was expected."""
    fault, *others = error.errors()
    path = _user_path(fault, values)
    key = ".".join(([where] if where else []) + path)
    if fault["type"] == "extra_forbidden":
        owner = schema
        for part in path[:-1]:
            inner = owner.model_fields[part].annotation
            owner = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else owner
        fields = list(owner.model_fields)
        close = difflib.get_close_matches(path[-1], fields, n=1, cutoff=0.5)
        prefix = key.rpartition(".")[0]
        hint = (
            f"did you mean {prefix + '.' if prefix else ''}{close[0]}?"
            if close
            else f"known: {', '.join(fields)}"
        )
        return f"unknown key {key!r}; {hint}"
    # of a value that may be one thing or another, each refusal is a fault of its own
    expected = [_expected(fault)]
    if len(path) < len(fault["loc"]):
        expected += [
            _expected(other).removeprefix("input should be ")
            for other in others
            if _user_path(other, values) == path
        ]
    if not path:  # the values are many; the message names those that do not fit
        return f"{key}: {' or '.join(expected)}" if key else " or ".join(expected)
    return f"{key}: {' or '.join(expected)}, got {fault['input']!r}"


def _user_path(fault: ErrorDetails, values: Mapping[str, Any]) -> list[str]:
    """Where the fault is by the user's keys: pydantic's own names for what a value may be are left out."""
    path: list[str] = []
    at: Any = values
    if not fault["loc"]:  # of the options as a whole
        return path
    *parents, last = fault["loc"]
    for part in parents:
        if isinstance(part, int) or (isinstance(at, Mapping) and part in at):
            path.append(str(part))
            at = at[part]
    if isinstance(last, int) or (isinstance(at, Mapping) and (last in at or fault["type"] == "missing")):
        path.append(str(last))
    return path


def _expected(fault: ErrorDetails) -> str:
    if fault["type"] == "tuple_type":
        return "input should be a list"
    message = fault["msg"].removeprefix("Value error, ").partition(", unable to parse")[0]
    return message[0].lower() + message[1:]


def to_yaml(config: RunConfig) -> str:
    """The whole configuration; `--config` reads it back to the same value."""
    import yaml

    return str(yaml.safe_dump(to_values(config), sort_keys=False, allow_unicode=True))


def to_values(config: RunConfig) -> dict[str, Any]:
    """Plain values of the whole configuration, the pack's and the method's options included."""
    values: dict[str, Any] = json.loads(config.model_dump_json())
    values["task"] = json.loads(config.task.model_dump_json())
    values["method"] = json.loads(config.method.model_dump_json())
    return values
