"""The installed methods, the fixture package's among them, and what `tests/adapters` trains of each.

A method's folder says it in `tests/case.py`: `CASES`, a `Case` by name.
"""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from appkit.plugins import modules

PACKAGE = Path(__file__).parent / "plugin_package"


@dataclass(frozen=True)
class Case:
    """Options of a method, and what comes of them."""

    options: Mapping[str, Any]
    form: str = "lora"
    """of the export"""
    rank: int | None = None
    """of the export"""
    t0: bool = True
    """before training it computes what the base does"""
    bf16: bool = True
    """a base in bf16 can be trained"""
    nf4: bool = True
    """a base that is kept in 4 bits can be trained"""


def folders() -> dict[str, Path]:
    """The folder of each method by its name."""
    specs = {name: find_spec(path) for name, path in modules("appkit.methods").items()}
    found = {name: Path(spec.origin).parent for name, spec in specs.items() if spec and spec.origin}
    fixtures = (PACKAGE / "appkit_fixture" / "methods").glob("*/__init__.py")
    return found | {file.parent.name: file.parent for file in fixtures}


def cases(form: str | None = None) -> list[Any]:
    """(method, case) of every case, or of those with one form, as pytest's parameters."""
    params = []
    for method, folder in sorted(folders().items()):
        spec = spec_from_file_location(f"case_of_{method}", folder / "tests" / "case.py")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        params += [
            pytest.param(method, case, id=f"{method}-{name}")
            for name, case in module.CASES.items()
            if form in (None, case.form)
        ]
    return params


KINDS = {
    "lora": "plain parameters",
    "norms": "weights of the base",
    "turns": "parameters that freeze and thaw",
    "eva": "shapes that the data decided, and state",
    "lora_ga": "a start from gradients, and state",
}
"""A method of each kind of resumption, for tests of whole runs; `test_methods.py` resumes every method."""


def firsts(form: str | None = None, names: Mapping[str, Any] | None = None) -> list[Any]:
    """The first case of each method, or of those named."""
    by_name = {param.values[0]: param for param in reversed(cases(form))}
    return [param for name, param in by_name.items() if names is None or name in names]


def write_entry_points(site: Path) -> None:
    """The fixture package is found where `site`, an empty directory, is in Python's path."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    folder = site / "appkit_fixture-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: appkit-fixture\nVersion: 0.1.0\n")
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")


@contextmanager
def installed(site: Path) -> Iterator[None]:
    """The fixture package can be imported and is found, by its entry points in `site`, an empty directory."""
    write_entry_points(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.syspath_prepend(str(PACKAGE))
        modules.cache_clear()
        yield
    modules.cache_clear()
