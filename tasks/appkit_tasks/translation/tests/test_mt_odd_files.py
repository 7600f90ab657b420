"""Every odd file: what a translator sees in it, that it comes back byte for byte, and that it takes translations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from appkit_tasks.translation.formats import Document, Translation, open_document
from appkit_tasks.translation.tests.builders import Odd
from appkit_tasks.translation.tests.odd_files import FILES

MARKED = (".po", ".pot", ".tmx", ".xlf", ".xliff", ".sdlxliff")

each = pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.file}: {file.name}")


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[Odd], Document]:
    def open_file(file: Odd) -> Document:
        path = tmp_path / file.file
        path.write_bytes(file.content)
        return open_document(path, *file.languages)

    return open_file


def translated(source: str) -> str:
    """The source with a word before it, inside its white space."""
    inner = source.strip()
    return source.replace(inner, f"zz {inner}", 1)


def test_the_table_is_wide() -> None:
    assert len(FILES) >= 70
    assert len({(file.file, file.name) for file in FILES}) == len(FILES)


@each
def test_what_a_translator_sees(file: Odd, opened: Callable[[Odd], Document]) -> None:
    document = opened(file)
    assert tuple(segment.source for segment in document.segments) == file.sources
    targets = file.targets or ("",) * len(file.sources)
    assert tuple(segment.target for segment in document.segments) == targets
    assert document.counts.left_out == file.left_out


@each
def test_untouched_it_keeps_its_bytes(file: Odd, opened: Callable[[Odd], Document], tmp_path: Path) -> None:
    output = tmp_path / "output"
    written = opened(file).write(output, {})
    assert output.read_bytes() == file.content
    assert (written.translated, written.doubts, written.counts.left_out) == (0, (), {})


@each
@pytest.mark.parametrize("doubtful", [False, True])
def test_translated_it_is_read_again(
    file: Odd, doubtful: bool, opened: Callable[[Odd], Document], tmp_path: Path
) -> None:
    document = opened(file)
    wanted = [translated(source) for source in file.sources]
    written = document.write(
        document.path, {index: Translation(text, doubtful, "why") for index, text in enumerate(wanted)}
    )
    assert written.translated == len(wanted)
    assert written.counts.left_out == {}
    assert [doubt.reason for doubt in written.doubts] == ["why"] * len(wanted) * doubtful
    again = open_document(document.path, *file.languages)
    assert again.counts.left_out == file.left_out
    if file.file.endswith(MARKED):
        assert [segment.source for segment in again.segments] == list(file.sources)
        assert [segment.target for segment in again.segments] == wanted
        assert {segment.state for segment in again.segments} <= {"doubtful" if doubtful else "translated"}
    else:
        assert [segment.source for segment in again.segments] == wanted


@each
def test_one_translation_changes_no_other_segment(file: Odd, opened: Callable[[Odd], Document]) -> None:
    for index in range(len(file.sources)):
        document = opened(file)
        document.write(document.path, {index: Translation(translated(file.sources[index]))})
        again = open_document(document.path, *file.languages)
        others = [segment for place, segment in enumerate(document.segments) if place != index]
        assert [
            (segment.source, segment.target) for place, segment in enumerate(again.segments) if place != index
        ] == [(segment.source, segment.target) for segment in others]
        lines, before = document.path.read_bytes().splitlines(True), file.content.splitlines(True)
        if file.file.endswith((".po", ".md", ".txt")) and b"\0" not in file.content:
            # comments, markup and all but the lines of the one segment
            assert (Counter(before) - Counter(lines)).total() <= 4
