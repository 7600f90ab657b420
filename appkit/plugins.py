"""Plugins finds packs, methods and apps by entry point.

An entry point of group `appkit.tasks`, `appkit.methods` or `appkit.apps` names a *package to scan*: every
folder in it whose `__init__` defines the record (TASK, METHOD, APP) is a plug-in. A folder is imported only
when its plug-in is asked for by name, so listing names costs no imports.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from appkit.errors import ConfigError

if TYPE_CHECKING:
    from appkit.method import Method
    from appkit.task import Task

__all__ = ["did_you_mean", "load_app", "load_method", "load_task", "modules"]

RECORD = {"appkit.tasks": "TASK", "appkit.methods": "METHOD", "appkit.apps": "APP"}
KIND = {"appkit.tasks": "task", "appkit.methods": "method", "appkit.apps": "app"}


def did_you_mean(word: str, choices: list[str]) -> str:
    """Suggest the nearest choice ("did you mean 'nl2fol'?"), or list the choices."""
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(sorted(choices)) or 'none'}"


@cache
def modules(group: str) -> dict[str, str]:
    """Find the plug-ins of every installed package of the group: name (of its folder) -> module path.

    Raises ConfigError when two packages hold the same name, naming both.
    """
    paths: dict[str, str] = {}
    for entry in entry_points(group=group):
        try:
            spec = find_spec(entry.value)
        except ModuleNotFoundError:  # the package around it is gone too
            spec = None
        if spec is None or spec.submodule_search_locations is None:
            raise ConfigError(
                f"entry point {entry.name!r} of {group} names {entry.value!r}, which is not an importable "
                f"package; reinstall {entry.dist.name if entry.dist else 'it'} or remove it"
            )
        for module in pkgutil.iter_modules(list(spec.submodule_search_locations)):
            if not module.ispkg or module.name.startswith("_") or module.name == "tests":
                continue
            path = f"{entry.value}.{module.name}"
            if paths.setdefault(module.name, path) != path:
                raise ConfigError(
                    f"two {KIND[group]}s are called {module.name!r}: {paths[module.name]} and {path}; "
                    "uninstall one of the packages or rename its folder"
                )
    return paths


def _load(group: str, name: str) -> Any:
    known = modules(group)
    if name not in known:
        raise ConfigError(f"no {KIND[group]} named {name!r}; {did_you_mean(name, list(known))}")
    try:
        record = getattr(importlib.import_module(known[name]), RECORD[group], None)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == known[name].partition(".")[0]:
            raise ConfigError(
                f"{known[name]} imports {error.name!r}, which does not exist; "
                "correct the import or reinstall its package"
            ) from error
        raise ConfigError(
            f"{KIND[group]} {name!r} needs the package {error.name!r}; "
            f"{_suggest_extra(known[name], name)}pip install {error.name}"
        ) from error
    if record is None:
        raise ConfigError(f"{known[name]} defines no {RECORD[group]}; see CONTRIBUTING.md")
    if record.name != name:
        raise ConfigError(
            f"{known[name]} calls its {KIND[group]} {record.name!r}, its folder says {name!r}; use one name"
        )
    return record


def _suggest_extra(module: str, name: str) -> str:
    """Write the pip command of one of our own packs, whose extra has its name; "" for other packages' plug-ins."""
    return f"pip install 'appkit[{name}]' or " if module.startswith("appkit_tasks.") else ""


def load_task(name: str) -> Task:
    """Load the task pack of a name. Raises ConfigError with "did you mean" if there is none."""
    task: Task = _load("appkit.tasks", name)
    return task


def load_app(name: str) -> Any:
    """Load the app of a name; its record is not typed here. Raises ConfigError with "did you mean" if there is none."""
    return _load("appkit.apps", name)


def load_method(name: str) -> Method:
    """Load the adapter method of a name. Raises ConfigError with "did you mean" if there is none."""
    method: Method = _load("appkit.methods", name)
    return method
