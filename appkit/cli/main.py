"""Puts the commands together. Nothing heavy is imported until a command needs it."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
import typer.core

from appkit.cli import apps, daily, documents, machine, packs, rag, serving, training
from appkit.cli.terminal import outlive_reader
from appkit.errors import AppkitError, ConfigError, Interrupted

__all__ = ["app", "main"]


class _Commands(typer.core.TyperGroup):
    """Refuses empty arguments, turns ctrl-C into `Interrupted` (Typer would end with an empty line, or none), and
    knows the packs' commands.
    """

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or daily.find_command(cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        return [*own, *(name for name in daily.list_commands() if name not in own)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _refuse_empty(self, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("stopped") from None


def _refuse_empty(group: Any, words: Sequence[str]) -> None:
    """Raises ConfigError for an empty value; as a path it would mean the working directory."""
    command = group
    for before, word in zip(["", *words], words, strict=False):
        command = getattr(command, "commands", {}).get(word, command)
        option, equals, value = word.partition("=")
        if word.strip() and not (equals and option.startswith("--") and not value.strip()):
            continue
        takes_value = any(
            before.startswith("-") and before in param.opts and not getattr(param, "is_flag", False)
            for param in command.params
        )
        name = option if equals else before if takes_value else "an argument"
        raise ConfigError(f"{name} is empty (a shell variable that is not set?); fill it in, or leave it out")


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turn a base model and rows into a specialist adapter, with the evidence.",
)
# without a name: their commands stand at this level
app.add_typer(training.app)
app.add_typer(packs.app)
app.add_typer(machine.app)
app.add_typer(machine.models, name="models")
app.add_typer(packs.methods, name="methods")
app.add_typer(packs.tasks, name="tasks")
app.add_typer(packs.data, name="data")
app.add_typer(machine.runs, name="runs")
app.add_typer(machine.cache, name="cache")
app.add_typer(serving.app)
app.add_typer(apps.app)
app.add_typer(rag.app)
app.add_typer(documents.app)


def main() -> None:
    """Runs the command line; an error that a user can cause becomes one line and exit code 2."""
    outlive_reader()
    with _report_errors():
        app()


@contextmanager
def _report_errors() -> Iterator[None]:
    try:
        yield
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        raise SystemExit(130) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except AppkitError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:  # `appkit ... | head`
        sys.stderr.close()
        raise SystemExit(141) from None
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("appkit"):
            raise
        print(f"error: {error.name} is not installed; pip install 'appkit[train]'", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        where = f" {error.filename}" if error.filename else ""
        print(
            f"error: cannot write{where}: {error.strerror}; free space or choose another directory. "
            "What was saved before is kept: appkit train --resume RUN",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
