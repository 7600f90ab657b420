"""Makes packages with packs in them, sound and broken ones, and runs the command line on them."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appkit.cli import main
from appkit.cli.daily import list_commands
from appkit.plugins import modules

PACK = """
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from appkit.task import Build, Built, Command, Outcome
from appkit_tasks.nl2fol import TASK as OTHER
"""


RECORD = """
TASK = replace(OTHER, name={name!r}, commands={commands}, build={build})
"""


class Packs:
    """Makes packages with packs in them, which are found by entry points."""

    def __init__(self, site: Path, patch: pytest.MonkeyPatch) -> None:
        self.site = site
        patch.syspath_prepend(str(site))

    def add(self, name: str, code: str = "", commands: str = "{}", build: str = "None") -> None:
        """Adds a package packs_NAME with a pack NAME; commands: Python of its record's, whose names its file has."""
        folder = self.site / f"packs_{name}" / name
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").touch()
        record = RECORD.format(name=name, commands=commands, build=build)
        (folder / "__init__.py").write_text(PACK + textwrap.dedent(code) + record)
        names = re.findall(r'"([\w-]+)":', commands)
        self.say(name, "".join(f"{command}: Count words.\n" for command in names))
        self.register(name, f"packs_{name}")

    def say(self, name: str, text: str | bytes) -> None:
        """Writes the file that names a pack's commands."""
        path = self.site / f"packs_{name}" / name / "commands.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    def break_one(self, name: str, code: str, *, around: bool = False) -> None:
        """Adds a package with a pack of that code alone, or with that code around the pack."""
        self.add(name)
        self.say(name, f"{name}-command: Break.\n")
        folder = self.site / f"packs_{name}"
        (folder / ("" if around else name) / "__init__.py").write_text(code)

    def register(self, name: str, package: str) -> None:
        folder = self.site / f"{name}_pack-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-pack\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[appkit.tasks]\n{name} = {package}\n")
        clear()


def clear() -> None:
    modules.cache_clear()
    list_commands.cache_clear()


@contextmanager
def making_packs(site: Path) -> Iterator[Packs]:
    """Packages that are made in a folder are found; afterwards they are forgotten."""
    site.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        yield Packs(site, patch)
    clear()
    for name in [name for name in sys.modules if name.startswith("packs_")]:
        del sys.modules[name]


def run_appkit(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Runs the command line in this process; returns its exit code and what it prints."""
    sys.path_importer_cache.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["appkit", *words])
        patch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main.main()
    code = ended.value.code
    out, err = capfd.readouterr()
    return (code if isinstance(code, int) else 0), out, err


BROKEN = {
    "syntax": "def f(:\n",
    "package": "import no_such_package_at_all\n",
    "name": "from appkit.task import NoSuchName\n",
    "crash": "raise RuntimeError('no licence')\n",
    "no_record": "x = 1\n",
    "odd_record": "from types import SimpleNamespace\nTASK = SimpleNamespace(name='odd_record')\n",
    "ends": "1 / 0\n",
}
