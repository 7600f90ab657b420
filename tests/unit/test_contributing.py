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
        PACKAGE / "appkit_fixture" / folder for folder in ("tasks/shout", "methods/lora_plus", "apps/shout")
    ]
    code = [file for folder in folders for file in folder.glob("*.py")]
    assert len(code) == 10
    missing = {str(file.relative_to(PACKAGE)) for file in code} - SHOWN.keys()
    assert (missing, "pyproject.toml" in SHOWN) == (set(), True)
