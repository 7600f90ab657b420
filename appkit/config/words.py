"""Words keeps a value as it was typed until the field that takes it is known: text, or what YAML reads.

A text field gets the text: `no`, `#`, `0.10` and a blank are words. Fields that take a number, a truth value or a list
get what YAML reads, but a truth value is no number. Only `null` is none. A value in quotes of its own is what the
quotes enclose.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel

__all__ = ["ListWord", "MapWord", "Word", "read_file_text", "read_word", "read_words"]

TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
INTEGER = re.compile(r"[-+]?\d+(_\d+)*")
FLOAT = re.compile(r"[-+]?(\d[\d_]*\.?|\.\d)[\d_]*([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class Word(str):
    """A value without quotes, as it was typed."""

    @property
    def value(self) -> Any:
        """The number, truth value or None that it stands for; else the text itself."""
        if self == "null":
            return None
        if self.lower() in TRUTH:
            return TRUTH[self.lower()]
        if INTEGER.fullmatch(self):
            try:
                return int(self)
            except ValueError:  # thousands of digits
                return str(self)
        if FLOAT.fullmatch(self):
            return float(self.replace("_", "").replace(".inf", "inf").replace(".nan", "nan").lower())
        return str(self)


class ListWord(list[Any]):
    """A list as YAML reads it, and its text."""

    text: str


class MapWord(dict[str, Any]):
    """Keys and values as YAML reads them, and their text."""

    text: str


class _Loader(yaml.SafeLoader):
    """Reads the structure of YAML; a scalar without quotes stays a Word."""

    yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", re.compile(r"^(?:<<)$"))]}  # noqa: RUF012

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        counts = Counter(str(key.value) for key, _ in node.value)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise yaml.YAMLError(f"duplicate key {twice[0]}")
        return super().construct_mapping(node, deep)


class _WordLoader(_Loader):
    """Reads no references, of which a few words could make a structure without end."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("a reference")
        return super().compose_node(parent, index)


def _construct_scalar(loader: Any, node: Any) -> str:
    return Word(node.value) if node.style is None else str(node.value)


_Loader.add_constructor("tag:yaml.org,2002:str", _construct_scalar)


def read_file_text(text: str) -> Any:
    """Read the text of a YAML file; raises yaml.YAMLError."""
    return yaml.load(text, _Loader)


def read_word(text: str) -> Any:
    """Read what stands after `key=`: a list, keys with values, the content of quotes, or else the text as it is."""
    if text.strip()[:1] not in ("[", "{", '"', "'"):
        return Word(text)
    try:
        value = yaml.load(text, _WordLoader)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        return Word(text)
    whole = text.strip()[-1] == {"[": "]", "{": "}"}.get(text.strip()[0], text.strip()[0])
    if isinstance(value, (list, dict)) and whole:  # no comment behind it
        typed = ListWord(value) if isinstance(value, list) else MapWord(value)
        typed.text = text
        return typed
    return value if type(value) is str and whole else Word(text)


def read_words(annotation: Any, value: Any) -> Any:
    """Turn the words in a value into what the annotated type takes; values that are no words stay as they are."""
    types = _list_types(annotation)
    typed = value
    if isinstance(value, Word):
        value = str(value) if _takes_text(types) and value != "null" else value.value
    if isinstance(value, bool) and _takes_numbers_alone(types):
        return str(typed)  # the field refuses this text; pydantic would read a truth value as 1 or 0
    if isinstance(value, (list, tuple)):
        items = [kind for kind in types if get_origin(kind) in (list, tuple, set, frozenset)]
        if not items and isinstance(value, ListWord) and _takes_text(types):
            return value.text
        item = get_args(items[0])[0] if items and get_args(items[0]) else Any
        return [read_words(item, element) for element in value]
    if isinstance(value, Mapping):
        models = [kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)]
        maps = [kind for kind in types if get_origin(kind) is dict]
        if not models and not maps and isinstance(value, MapWord) and _takes_text(types):
            return value.text
        fields = models[0].model_fields if models else {}
        other = get_args(maps[0])[1] if maps else Any
        return {
            str(key): read_words(fields[key].annotation if key in fields else other, element)
            for key, element in value.items()
        }
    return value


def _list_types(annotation: Any) -> list[Any]:
    """List the alternatives of a type, without None."""
    if get_origin(annotation) is Annotated:
        return _list_types(get_args(annotation)[0])
    arguments = get_args(annotation)
    if get_origin(annotation) in (list, tuple, set, frozenset, dict, Literal) or not arguments:
        return [] if annotation in (None, NoneType) else [annotation]
    return [kind for alternative in arguments for kind in _list_types(alternative)]


def _takes_numbers_alone(types: list[Any]) -> bool:
    """Whether numbers are taken, and truth values are not."""
    return (int in types or float in types) and bool not in types


def _takes_text(types: list[Any]) -> bool:
    """Whether a value of these types is text: one of them is, or they are choices that are all texts."""
    texts = [
        kind is str
        or (get_origin(kind) is Literal and all(isinstance(choice, str) for choice in get_args(kind)))
        for kind in types
    ]
    return str in types or (bool(texts) and all(texts))
