"""Defines the commands of daily use that packs add to `appkit`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer
import typer.core
from pydantic import BaseModel, ValidationError

from appkit.errors import ConfigError, DataError, shortened
from appkit.plugins import did_you_mean, load_task, modules

if TYPE_CHECKING:
    from appkit.task import AnswerInputs, Command, Prediction

__all__ = ["FILE", "find_command", "list_commands", "read_options", "read_words"]

PLAIN = (bool, int, float, str, Path)
"""types that the command line reads itself; any other value is text until the model reads it"""

ANSWERER: dict[str, tuple[Any, Any]] = {
    "bundle": (
        Annotated[Path | None, typer.Option(help="Bundle or run directory; loaded here.")],
        None,
    ),
    "gateway": (
        Annotated[str | None, typer.Option(help="URL of a gateway that serves it, in place of --bundle.")],
        None,
    ),
    "alias": (Annotated[str | None, typer.Option(help="Of the gateway; none: the task's name.")], None),
    "key": (Annotated[str | None, typer.Option(help="Of the gateway; none: $APPKIT_KEY.")], None),
}
"""options by which every such command finds who answers"""

LATER = "answerer"
"""field of a command's options that takes the words of these options"""

FILE = "commands.yaml"
"""file beside a pack's record that names its commands with a line on each, so that --help imports no pack"""


@cache
def list_commands() -> dict[str, tuple[str, str]]:
    """Lists the packs' commands: name -> task, and a line on it. A pack whose file cannot be read has none.

    Raises ConfigError when two packs have a command of one name.
    """
    commands: dict[str, tuple[str, str]] = {}
    try:
        tasks = sorted(modules("appkit.tasks").items())
    except Exception:  # a package is gone, or cannot be imported: the core's own commands still work
        return {}
    for task, path in tasks:
        for name, summary in _read_commands(path).items():
            if commands.setdefault(name, (task, summary))[0] != task:
                raise ConfigError(
                    f"the tasks {commands[name][0]!r} and {task!r} both have a command {name!r}; uninstall one of them"
                )
    return commands


def _read_commands(module: str) -> dict[str, str]:
    try:
        spec = find_spec(module)
    except Exception:  # whatever the package around a pack raises; --help is the core's
        return {}
    for folder in (spec and spec.submodule_search_locations) or ():
        file = Path(folder) / FILE
        if file.is_file():
            import yaml

            try:
                found = yaml.safe_load(file.read_text(encoding="utf-8"))
            except (yaml.YAMLError, ValueError, OSError):
                return {}
            return {str(name): str(line) for name, line in found.items()} if isinstance(found, dict) else {}
    return {}


class _Later(typer.core.TyperCommand):
    """A command that is made when it is asked for more than its line."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        command = _make_command(str(self.name))
        return command.make_context(info_name, args, parent=parent, **extra)


def find_command(name: str) -> Any:
    """Returns the click command of that name; None where no pack has it."""
    task, summary = list_commands().get(name, (None, ""))
    return None if task is None else _Later(name, help=summary)


def _make_command(name: str) -> Any:
    """Makes the command of a pack. Raises ConfigError where the pack's record lacks it, or cannot be loaded."""
    task, summary = list_commands()[name]
    command = load_task(task).commands.get(name)
    if command is None:
        raise ConfigError(f"task {task!r} names a command {name!r} in its {FILE}, and its record has none")
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command(name, help=summary)(_make_function(task, name, command))
    return typer.main.get_command(app)


def _make_function(task: str, name: str, command: Command) -> Any:
    """Makes a function whose signature is the command's options, which Typer reads.

    Raises ConfigError for an option that is called as one of the core's.
    """
    if clash := sorted(ANSWERER.keys() & command.options.model_fields):
        raise ConfigError(
            f"task {task!r}: --{clash[0]} of its command {name!r} is the core's; rename the field"
        )
    asking = ANSWERER if command.asks else {}

    def function(**values: Any) -> None:
        answerer = {key: values.pop(key, None) for key in ANSWERER}
        values = {field: value for field, value in values.items() if value is not None}
        if LATER in command.options.model_fields:
            values[LATER] = _spell(**answerer)
        _run(task, command, read_options(command.options, values, dashes=True), **answerer)

    fields = {
        field: (_annotate(field, info, field in command.arguments), _default(info))
        for field, info in command.options.model_fields.items()
        if field != LATER
    }
    ordered = {field: fields[field] for field in (*command.arguments, *fields)} | asking
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for field, (annotation, default) in ordered.items()
        ]
    )
    function.__annotations__ = {field: annotation for field, (annotation, _) in ordered.items()}
    function.__name__ = name.replace("-", "_")
    return function


def _spell(bundle: Path | None, gateway: str | None, alias: str | None, key: str | None) -> tuple[str, ...]:
    """Spells who answers as words of the command line; without the key, which would be readable where they are kept.

    Raises ConfigError for words that would fail later, where nobody may see why.
    """
    if bundle and gateway:
        from appkit.cli.answerer import check_answerer

        check_answerer(bundle, gateway)
    if bundle and not bundle.exists():
        raise ConfigError(f"no bundle {str(bundle)!r}; name the directory of a bundle or a run")
    named = {"--bundle": bundle and bundle.resolve(), "--gateway": gateway, "--alias": alias}
    return tuple(str(word) for name, value in named.items() if value for word in (name, value))


def _annotate(field: str, info: Any, argument: bool) -> Any:
    """Annotates a field as Typer wants it, with its description as help."""
    kind = _kind(info)
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    shown: Any = kind if kind in PLAIN else str
    described = (info.description or field).rstrip(".") + (f": {', '.join(choices)}" if choices else "") + "."
    described = described[0].upper() + described[1:]
    parameter = typer.Argument(help=described) if argument else typer.Option(help=described)
    return Annotated[shown if info.is_required() else shown | None, parameter]


def _kind(info: Any) -> Any:
    """Returns a field's type; of one that may be None, its other one."""
    kinds = [kind for kind in get_args(info.annotation) if kind is not type(None)]
    union = get_origin(info.annotation) in (Union, UnionType)
    return kinds[0] if union and len(kinds) == 1 else info.annotation


def _default(info: Any) -> Any:
    """Returns what the command line shows as a field's default; None: the model has it, in no form to be typed."""
    if info.is_required():
        return ...
    default = info.get_default(call_default_factory=True)
    return default if isinstance(default, PLAIN) else None


def read_options(model: type[BaseModel], values: dict[str, Any], *, dashes: bool = False) -> Any:
    """Validates options. Raises ConfigError that names the first wrong one. dashes: as --options, not as key=value."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"unknown key {name!r}; {did_you_mean(name, list(model.model_fields))}"
            ) from None
        shown = f"--{name.replace('_', '-')}" if dashes else f"{name}="
        received = f", got {shortened(first['input'])}" if name and first["type"] != "missing" else ""
        raise ConfigError(
            f"{shown if name else 'options'}: {reason[0].lower()}{reason[1:]}{received}"
        ) from None


def _run(
    task: str,
    command: Command,
    options: Any,
    bundle: Path | None,
    gateway: str | None,
    alias: str | None,
    key: str | None,
) -> None:
    """Runs a command, prints what it gives, and ends with its exit code where that is not 0.

    Raises DataError for what the pack says cannot be done, ConfigError for a bundle of another task.
    """
    try:
        command.before(options)
        if not command.asks or command.alone(options):
            pack = _read_pack(task, bundle) if command.asks and bundle else None
            outcome = command.run(options, pack, None)
        else:
            outcome = command.run(options, *_find_answerer(task, bundle, gateway, alias, key))
    except ValueError as error:
        raise DataError(" ".join(str(error).split())) from error
    for note in outcome.notes:
        print(f"note: {note}", file=sys.stderr)
    if outcome.text:
        print(outcome.text)
    if outcome.exit_code:
        raise SystemExit(outcome.exit_code)


def _find_answerer(
    task: str, bundle: Path | None, gateway: str | None, alias: str | None, key: str | None
) -> tuple[Any, AnswerInputs]:
    """Returns the pack's options of who answers, and what answers rows.

    A bundle's weights are loaded with the first question: nobody waits for them to hear that nothing is staged.
    Raises ConfigError for who answers another task.
    """
    from appkit.cli import answerer

    answerer.check_answerer(bundle, gateway)
    find = cache(partial(answerer.find_answerer, bundle, gateway, alias or task, key))
    if not bundle:
        remote = find()
        _require_task(remote.task.name, task)
        return remote.options, remote.answer_all

    def answer(
        rows: Sequence[Mapping[str, Any]], *, constrain: bool = False
    ) -> Sequence[tuple[Prediction, float | None]]:
        return find().answer_all(rows, constrain=constrain)

    return _read_pack(task, bundle), answer


def _read_pack(task: str, bundle: Path) -> Any:
    """Reads the pack's options of a bundle, and not its weights. Raises ConfigError for one of another task."""
    from appkit.bundles.manifest import find, read_manifest
    from appkit.config import build_run_config

    manifest = read_manifest(find(bundle), verify=False)
    _require_task(manifest["config"]["task"]["name"], task)
    return build_run_config(manifest["config"]).task


def _require_task(name: str, needed: str) -> None:
    if name != needed:
        raise ConfigError(f"the bundle answers task {name!r}; this command needs one of task {needed!r}")


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """Reads key=value words. Raises ConfigError for one that is none, or given twice."""
    values: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is no key=value; write for instance repo=PATH")
        if key in values:
            raise ConfigError(f"{key}= is given twice; leave one out")
        values[key] = value
    return values
