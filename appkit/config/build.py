"""Builds a configuration: parses words and keys, merges them over presets and defaults, and validates the result."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from appkit.arguments import list_words
from appkit.config.faults import validate
from appkit.config.sections import (
    DataConfig,
    ModelConfig,
    RagConfig,
    RunConfig,
    TrainConfig,
    index_of_word,
)
from appkit.config.words import MapWord, read_file_text, read_word
from appkit.errors import ConfigError, shortened
from appkit.plugins import did_you_mean, load_method, load_task

__all__ = [
    "GROUPS",
    "build_run_config",
    "load_run_config",
    "merge_over",
    "model_config",
    "parse_overrides",
    "presets",
    "rag_words",
    "require_alone",
    "to_values",
    "to_yaml",
]

GROUPS = ("task", "model", "method", "quant", "train")


def presets(group: str) -> list[str]:
    """List the presets of `model`, `quant` or `train`."""
    folder = files("appkit") / "presets" / group
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def _read_preset(group: str, name: str) -> dict[str, Any]:
    known = presets(group)
    if name not in known:
        raise ConfigError(f"no {group} preset {name!r}; {did_you_mean(name, known)}")
    return {"name": name} | _read_yaml(files("appkit") / "presets" / group / f"{name}.yaml")


def _read_yaml(path: Any) -> dict[str, Any]:
    import yaml

    try:
        loaded = read_file_text(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict | None):
        raise ConfigError(f"{path} must hold keys and values, got {type(loaded).__name__}")
    return {str(key): value for key, value in (loaded or {}).items()}


def model_config(word: str) -> ModelConfig:
    """Resolve a preset's name, a directory, or a hub id (`org/name` or `org/name@revision`)."""
    model: ModelConfig = validate(ModelConfig, _model_values(word), "model")
    return model


def _model_values(word: str) -> dict[str, Any]:
    if word in presets("model"):
        return _read_preset("model", word)
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
    """Parse `key=value` words into nested values. What is neither a list, keys nor quoted stays a `Word`, as typed."""
    merged: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not re.fullmatch(r"[a-z_]\w*(\.[\w-]+)*", key):
            raise ConfigError(f"expected key=value, got {word!r}; for instance task=nl2fol method.rank=16")
        value = read_word(text)
        node = merged
        *parents, leaf = key.split(".")
        for parent in parents:
            inner = node.setdefault(parent, {})
            if not isinstance(inner, dict):  # "method=lora method.rank=8": the word is the group's name
                inner = node[parent] = {"name": inner}
            node = inner
        if isinstance(node.get(leaf), dict) and not isinstance(value, dict):
            node[leaf]["name"] = value
        else:
            node[leaf] = value
    return merged


def rag_words(words: Sequence[str]) -> tuple[RagConfig, list[str]]:
    """Split words into the settings of retrieval (`rag=INDEX`, `rag.KEY=VALUE`) and the others.

    Raises ConfigError for a value that does not fit, or settings without an index.
    """
    own = [word for word in words if re.match(r"rag(\.\w+)?=", word)]
    config: RagConfig = validate(RagConfig, index_of_word(parse_overrides(own).get("rag", {})), "rag")
    if own and config.index is None:
        raise ConfigError(
            f"{own[0]} has no effect without an index; add rag=INDEX (appkit rag index makes one)"
        )
    return config, [word for word in words if word not in own]


def _name_groups(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `{"task": "nl2fol"}` into `{"task": {"name": "nl2fol"}}` for the preset groups; rag's word is its index."""
    named = {
        key: {"name": value} if key in GROUPS and isinstance(value, (str, int, float)) else value
        for key, value in _write_paths(values).items()
    }
    return named | {"rag": index_of_word(named["rag"])} if "rag" in named else named


def _write_paths(value: Any) -> Any:
    """Turn paths, as Python code gives them, into text, however deep they lie."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping) and not isinstance(value, MapWord):
        return {key: _write_paths(item) for key, item in value.items()}
    return [_write_paths(item) for item in value] if type(value) in (list, tuple) else value


def merge_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested values over others; a bare word replaces a whole group (`model=...`)."""
    over = _name_groups(above)
    remaining = {
        key: value for key, value in below.items() if key not in GROUPS or "name" not in (over.get(key) or {})
    }
    return _merge(_name_groups(remaining), over)


def _merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge layers, later ones over earlier ones: nested values key by key, everything else replaced.

    Not by OmegaConf: it would take "${" in a user's text for an interpolation.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            both = isinstance(below, Mapping) and isinstance(value, Mapping)
            merged[key] = _merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def load_run_config(words: str | Sequence[str] = (), file: Path | None = None) -> RunConfig:
    """Build the configuration of command-line words over a file, over presets, over defaults.

    Raises ConfigError with one line for the first key or value that does not fit.
    """
    values = merge_over(_read_yaml(file) if file else {}, parse_overrides(list_words(words)))
    return build_run_config(values)


def build_run_config(values: Mapping[str, Any]) -> RunConfig:
    """Build the configuration from nested values, such as a saved `config.yaml` or the keywords of `appkit.train`."""
    values = _name_groups(values)
    for group in GROUPS:
        if group in values and not isinstance(values[group], Mapping):
            raise ConfigError(f"{group} must be a name or hold keys, got {values[group]!r}")
    if not values.get("task", {}).get("name"):
        from appkit.plugins import modules

        raise ConfigError(
            f"task is missing; choose one: {', '.join(f'task={t}' for t in modules('appkit.tasks'))}"
        )
    task = load_task(str(values["task"]["name"]))
    method = load_method(str(values.get("method", {}).get("name", "lora")))
    model_word = str(values.get("model", {}).get("name", "smollm2-135m"))
    model = values["model"] if "source" in values.get("model", {}) else _model_values(model_word)
    base = {
        "task": {"name": task.name},
        "model": model,
        "method": {"name": method.name},
        "quant": _read_preset("quant", str(values.get("quant", {}).get("name", "nf4"))),
        "train": _read_preset("train", str(values.get("train", {}).get("name", "quick"))),
        "decoding": task.decoding.model_dump(),
    }
    merged = _merge(base, task.defaults, values)
    # options of the pack and the method are validated by their own schemas
    merged["task"] = validate(task.config, merged["task"], "task")
    merged["method"] = validate(method.config, merged["method"], "method")
    if merged.get("stages"):
        merged |= _fill_stages(merged)
    config: RunConfig = validate(RunConfig, merged, "")
    return _settle(config)


STAGE = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def _order_stages(stages: Any) -> dict[str, Any]:
    """Order the stages: as they are written, or as `stages=[general,domain]` names them."""
    if isinstance(stages, (list, tuple)):
        stages = {"name": stages}
    if not isinstance(stages, Mapping) or not isinstance(stages.get("name", []), (list, tuple)):
        raise ConfigError(
            f"stages must hold names with train and data, such as stages.general.data.train=rows.jsonl, got {stages!r}"
        )
    named = [str(name) for name in stages.get("name", [])]
    rest = {name: stage for name, stage in stages.items() if name != "name"}
    if len(set(named)) < len(named):
        raise ConfigError(f"stages names one twice: {', '.join(named)}; give each a name of its own")
    if named and (lost := [name for name in rest if name not in named]):
        raise ConfigError(
            f"stages.{lost[0]} is none of the stages {', '.join(named)}; {did_you_mean(lost[0], named)}"
        )
    return {name: rest.get(name, {}) for name in named or rest}


def _fill_stages(merged: Mapping[str, Any]) -> dict[str, Any]:
    """Fill each stage with what it does not say itself; train and data of the run become those of the last stage."""
    whole = {}
    for name, stage in _order_stages(merged["stages"]).items():
        if not STAGE.fullmatch(name):
            raise ConfigError(
                f"stages.{name}: a stage's name has lower-case letters, digits, _ and -, 32 at most, and begins with a "
                "letter"
            )
        if not isinstance(stage, Mapping):
            raise ConfigError(f"stages.{name} must hold train and data, got {stage!r}")
        if unknown := [key for key in stage if key not in ("train", "data")]:
            raise ConfigError(f"unknown key 'stages.{name}.{unknown[0]}'; known: train, data")
        train, data = stage.get("train", {}), stage.get("data", {})
        if isinstance(train, (str, int, float)):
            train = {"name": train}
        preset = _read_preset("train", str(train["name"])) if "name" in train else {}
        below = {"train": merged["train"], "data": merged.get("data", {})}
        filled = _merge(below, {"train": preset}, {"train": train, "data": data})
        whole[name] = {
            "train": validate(TrainConfig, filled["train"], f"stages.{name}.train"),
            "data": validate(DataConfig, filled["data"], f"stages.{name}.data"),
        }
    last = list(whole.values())[-1]
    return {"stages": whole, "train": last["train"], "data": last["data"]}


def require_alone(config: Any, values: Mapping[str, Any]) -> None:
    """Check a ready configuration of Python code, or None.

    Raises ConfigError for what is no RunConfig, and for keywords beside one, which would have no effect.
    """
    if config is None:
        return
    if not isinstance(config, RunConfig):
        raise ConfigError(
            f"config is a RunConfig, got {type(config).__name__} {shortened(config)}; give its values by keyword "
            "(task=...), or what appkit.config.load_run_config(words, file) returns"
        )
    for key, value in values.items():
        raise ConfigError(
            f"{key} has no effect beside a ready configuration, got {shortened(value)}; leave it out, or give all "
            "values by keyword"
        )


def _settle(config: RunConfig) -> RunConfig:
    """Make a configuration what its saved form is read back as: pydantic leaves a default 32 where 32.0 is meant."""
    parts = {
        name: type(part).model_validate_json(part.model_dump_json())
        for name in RunConfig.model_fields
        if isinstance(part := getattr(config, name), BaseModel)
    }
    return config.model_copy(update=parts)


def to_yaml(config: RunConfig) -> str:
    """Write the whole configuration; `--config` reads it back to the same value."""
    import yaml

    return str(yaml.safe_dump(to_values(config), sort_keys=False, allow_unicode=True))


def to_values(config: RunConfig) -> dict[str, Any]:
    """Return the whole configuration as plain values, the pack's and the method's options included."""
    values: dict[str, Any] = json.loads(config.model_dump_json())
    values["task"] = json.loads(config.task.model_dump_json())
    values["method"] = json.loads(config.method.model_dump_json())
    return values
