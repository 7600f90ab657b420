"""The house keeps its size: no function above 80 lines, no file above 450, and one public surface."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import appkit

ROOT = Path(__file__).parents[2]
ROOMS = ("appkit", "tasks", "apps")
FUNCTION, FILE = 80, 450


def modules() -> list[Path]:
    """Every module of the house but its tests."""
    found = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return [path for path in found if "tests" not in path.relative_to(ROOT).parts]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function of a module, nested ones too, with its lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_function_and_no_file_is_longer_than_it_may_be() -> None:
    paths = modules()
    assert len(paths) > 150
    long = [
        f"{path.relative_to(ROOT)}: {name} has {lines} lines, at most {FUNCTION}"
        for path in paths
        for name, lines in functions(path)
        if lines > FUNCTION
    ]
    for path in paths:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > FILE:
            long.append(f"{path.relative_to(ROOT)} has {lines} lines, at most {FILE}")
    assert not long, "\n".join(long)


def test_functions_are_measured_nested_ones_too(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "class C:\n    def outer(self):\n        async def inner():\n            pass\n        return inner\n"
    )
    assert dict(functions(module)) == {"outer": 4, "inner": 2}


def test_the_public_surface_is_what_it_is_documented_to_be() -> None:
    assert appkit.__all__ == ["Comparison", "Specialist", "TrainResult", "evaluate", "load", "train"]
    for name in appkit.__all__:
        assert callable(getattr(appkit, name)), name
