"""Checks overrides of remote callers: only listed keys, and choices that are on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from appkit.config import GROUPS, parse_overrides, presets
from appkit.errors import AppkitError, ConfigError
from appkit.models.sources import known
from appkit.plugins import did_you_mean, load_method, load_task, modules
from appkit.serving.gateway.faults import Fault
from appkit.serving.gateway.registry import NAME

__all__ = ["check_overrides", "list_choices", "local_models"]

KEYS = re.compile(
    r"(task|method|quant|train|head|eval|decoding)(\.\w+)+"
    r"|model\.(name|dtype)|data\.(on_error|on_long|max_length|dev_share|test_share|encoding|delimiter|near|columns\.[\w-]+)|seed|name"
)
"""keys that may be set; none names a path of this machine, or another machine"""
REFUSED = ("train.trackers",)
PATHLIKE = re.compile(r"[/~\\].+|(.*[/\\])?\.\.([/\\].*)?|\w+:.*//.*", re.DOTALL)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""characters that no text needs, tabs and line ends excepted; with NUL no command can be started"""


def local_models() -> list[str]:
    """Lists the presets whose weights are on this machine."""
    return [name for name, (_, path) in known().items() if path is not None]


def check_overrides(words: Sequence[str]) -> str:
    """Checks the words of a run; returns the task. Raises Fault 400 for an unknown word, or one that names a path."""
    for word in words:
        if CONTROL.search(word):
            raise Fault(400, f"a word has a control character, got {word[:80]!r}; leave it out")
    try:
        values = parse_overrides(words)
    except ConfigError as error:
        raise Fault(400, str(error)) from None
    # the nested values, not the words: data={train: /etc/passwd} is one of them too
    try:
        flat = dict(_flatten(values))
    except RecursionError:
        raise Fault(400, "a word has too many levels; name a key of the configuration") from None
    choices = {
        "task.name": list(modules("appkit.tasks")),
        "method.name": list(modules("appkit.methods")),
        "model.name": local_models(),
        "train.name": presets("train"),
        "quant.name": presets("quant"),
    }
    for key, names in choices.items():
        if key in flat and flat[key] not in names:
            raise Fault(
                400,
                f"no {key.split('.')[0]} {str(flat[key])[:80]!r} here; {did_you_mean(str(flat[key]), names)}",
            )
    for key, value in flat.items():
        if key in choices:
            continue
        if not KEYS.fullmatch(key) or key.startswith(REFUSED):
            raise Fault(
                400, f"{key[:80]} cannot be set from here; leave it out, or train on the command line"
            )
        for text in _find_texts(value):
            if PATHLIKE.fullmatch(text):
                raise Fault(400, f"{key[:80]} names a place, got {text[:80]!r}; leave it out")
    if "task.name" not in flat:
        raise Fault(400, f"task is missing; choose one: {', '.join(choices['task.name'])}")
    if "name" in flat and not NAME.fullmatch(str(flat["name"])):
        raise Fault(
            400, f"a name is made of letters, digits, '.', '_' and '-', got {str(flat['name'])[:80]!r}"
        )
    return str(flat["task.name"])


def _flatten(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yields dotted keys with their values; a group's bare word is its name."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{above}{key}.")
        else:
            yield (f"{key}.name" if not above and key in GROUPS else f"{above}{key}"), value


def _find_texts(value: Any) -> Iterator[str]:
    """Yields all texts in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _find_texts(list(pair))
    elif isinstance(value, list):
        for item in value:
            yield from _find_texts(item)


def list_choices() -> dict[str, Any]:
    """Lists what can be chosen on this machine: tasks, models, methods, presets."""
    tasks = []
    for name in sorted(modules("appkit.tasks")):
        try:
            task = load_task(name)
            ships = task.load(task.config()) is not None
        except (
            AppkitError,
            ValidationError,
        ):  # a package that it needs is not installed, or an option is needed
            continue
        fields = [
            {"name": field, "required": info.is_required(), "description": info.description or ""}
            for field, info in task.row.model_fields.items()
        ]
        tasks.append({"name": name, "summary": task.summary, "ships": ships, "fields": fields})
    methods = []
    for name in sorted(modules("appkit.methods")):
        with suppress(AppkitError):
            methods.append({"name": name, "summary": load_method(name).summary})
    return {"tasks": tasks, "models": local_models(), "methods": methods, "presets": presets("train")}
