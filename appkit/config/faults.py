"""Faults explains a value that does not fit in one line, by the user's own keys."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from appkit.config.words import read_words
from appkit.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["validate"]


def validate(schema: type[BaseModel], values: Mapping[str, Any], where: str) -> Any:
    """Validate values; where: the key that holds them, "" for all. Raises ConfigError with the first fault."""
    values = read_words(schema, values)
    try:
        config = schema.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, schema, values, where)) from None
    for key, number in _list_infinite(config.model_dump(), where):
        raise ConfigError(f"{key}: input should be a finite number, got {number!r}")
    return config


def _list_infinite(value: Any, key: str) -> Iterator[tuple[str, float]]:
    """List the numbers that are infinite or NaN, by their keys: pydantic takes them, and JSON has none."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _list_infinite(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from _list_infinite(item, f"{key}.{place}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield key, value


def _explain(error: ValidationError, schema: type[BaseModel], values: Mapping[str, Any], where: str) -> str:
    """Explain the first fault in one line: key, value, what was expected."""
    fault, *others = error.errors()
    path = _find_user_path(fault, values)
    key = ".".join(([where] if where else []) + path)
    if fault["type"] == "extra_forbidden":
        owner = schema
        for part in path[:-1]:
            if part in owner.model_fields:  # else a place in a list, or a name in a mapping
                owner = _find_model(owner.model_fields[part].annotation) or owner
        fields = list(owner.model_fields)
        near = _correct_key(owner, path[-1].split("."))
        if near is None:
            return f"unknown key {key!r}; known: {', '.join(fields)}"
        corrected = ".".join([*([where] if where else []), *path[:-1], *near])
        if "." not in path[-1]:
            return f"unknown key {key!r}; did you mean {corrected}?"
        outer, *below = corrected.split(".")  # a key of the command line, given as one of Python
        written = "".join(f'{{"{name}": ' for name in below) + "..." + "}" * len(below)
        return f"unknown key {key!r}; did you mean {outer}={written}? On a command line it is {corrected}=..."
    # a value of a union type gives a fault for each of its alternatives
    expected = [_say_expected(fault)]
    if len(path) < len(fault["loc"]):
        expected += [
            _say_expected(alternative).removeprefix("input should be ")
            for alternative in others
            if _find_user_path(alternative, values) == path
        ]
    if not path:  # the values are many; the message names those that do not fit
        return f"{key}: {' or '.join(expected)}" if key else " or ".join(expected)
    return f"{key}: {' or '.join(expected)}, got {fault['input']!r}"


def _find_model(annotation: Any) -> type[BaseModel] | None:
    """Find the model that a field holds, also in a list or mapping of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _find_model(inner))), None)


def _correct_key(schema: type[BaseModel], parts: Sequence[str]) -> list[str] | None:
    """Correct the parts of a dotted key to a key that the schema has; None where no key is near."""
    first, *inner = parts
    close = difflib.get_close_matches(first, schema.model_fields, n=1, cutoff=0.5)
    if not close or not inner:
        return close or None
    below = schema.model_fields[close[0]].annotation
    if isinstance(below, type) and issubclass(below, BaseModel):
        near = _correct_key(below, inner)
        return [*close, *near] if near else None
    return [*close, *inner] if below is Any or get_origin(below) is dict else None


def _find_user_path(fault: ErrorDetails, values: Mapping[str, Any]) -> list[str]:
    """Find the user's keys that lead to a fault, without pydantic's own names for alternatives of a union."""
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


def _say_expected(fault: ErrorDetails) -> str:
    if fault["type"] == "tuple_type":
        return "input should be a list"
    message = fault["msg"].removeprefix("Value error, ").partition(", unable to ")[0]
    return message[0].lower() + message[1:]
