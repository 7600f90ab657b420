"""The walk-throughs of CONTRIBUTING.md are the files of the fixture package, which other tests install and train."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests" / "plugin_package"
BLOCK = re.compile(r"^\*\*`([\w./]+)`\*\*([^\n]*)\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = {
    name: (text, more) for name, more, text in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8"))
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_block_is_its_file(name: str) -> None:
    text, more = SHOWN[name]
    whole = (PACKAGE / name).read_text(encoding="utf-8")
    assert whole.startswith(text) if more == " begins:" else whole == text


def test_every_file_of_pack_and_method_is_shown() -> None:
    folders = [
        PACKAGE / "appkit_fixture" / folder for folder in ("tasks/shout", "methods/fast_b", "apps/shout")
    ]
    code = [file for folder in folders for file in folder.glob("*.py")]
    assert len(code) == 9
    missing = {str(file.relative_to(PACKAGE)) for file in code} - SHOWN.keys()
    assert (missing, "pyproject.toml" in SHOWN) == (set(), True)


def test_the_map_names_every_file_in_six_words() -> None:
    """Files of one method, of the stores and of the routes stand for their folder."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    map_ = text[text.index("    appkit/  ") : text.index("    tasks/appkit_tasks/")]
    paths, folders = set(), [ROOT / "appkit"]
    for line in map_.splitlines()[1:]:
        if not line.strip():
            continue
        name, _, words = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip()) - 4) // 2
        folders[depth:] = [folders[depth - 1] / name]
        assert len(words.split()) <= 6, line
        if name.endswith(".py"):
            paths.add(folders[depth])
    ours = {
        path
        for path in (ROOT / "appkit").rglob("*.py")
        if path.name != "__init__.py"
        and not {"stores", "routes", "tests"} & set(path.parts)
        and path.parent.parent.name != "adapters"
    }
    assert {str(path.relative_to(ROOT)) for path in paths} == {str(path.relative_to(ROOT)) for path in ours}
