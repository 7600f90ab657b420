"""Whatever bytes a file holds and whatever a model says: a ValueError or a file that is right, never anything else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from appkit_tasks.translation.formats import Translation, open_document, read_pairs
from appkit_tasks.translation.formats.text import has_words
from appkit_tasks.translation.tests.builders import Odd
from appkit_tasks.translation.tests.odd_files import FILES
from hypothesis import given, settings
from hypothesis import strategies as st

SMALL = [file for file in FILES if len(file.content) < 5000]
MARKED = (".po", ".pot", ".tmx", ".xlf", ".xliff", ".sdlxliff")
PIECES = st.binary(max_size=6) | st.sampled_from(
    [
        b"<",
        b">",
        b"&",
        b'"',
        b"\\",
        b"\r",
        b"\n",
        b"\n\n",
        b"]]>",
        b"<!--",
        b"msgstr",
        b"#, fuzzy\n",
        b"|",
        b"```\n",
        b"> ",
        b"- ",
    ]
)
CHANGES = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 30), PIECES), min_size=1, max_size=3)


def refusal(read: Callable[[], object]) -> str:
    """The message of a ValueError, the only error that there may be; "" if there is none."""
    try:
        read()
    except ValueError as error:
        return str(error)
    return ""


@settings(max_examples=150, deadline=None)
@given(file=st.sampled_from(SMALL), changes=CHANGES)
def test_a_damaged_file_is_refused_or_keeps_its_bytes(
    file: Odd, changes: list[tuple[int, int, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / file.file
    content = file.content
    for start, length, piece in changes:
        start %= len(content) + 1
        content = content[:start] + piece + content[start + length :]
    path.write_bytes(content)
    message = refusal(lambda: list(read_pairs(path, *file.languages)))
    assert message.startswith(f"{path}: ") or not message
    if message := refusal(lambda: open_document(path, *file.languages)):
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        return
    document = open_document(path, *file.languages)
    document.write(path, {})
    assert path.read_bytes() == content
    document.write(path, {place: Translation("zz") for place in range(len(document.segments))})
    open_document(path, *file.languages)


@settings(max_examples=150, deadline=None)
@given(
    file=st.sampled_from([file for file in SMALL if file.sources]),
    text=st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [*"ab \n\r\t|`#-<>&\"'\\[](){}", '<x id="1"/>', "</g>", '<g id="1">', "&amp;", "]]>"]
        ),
        max_size=12,
    ).map("".join),
    place=st.integers(0, 50),
    doubtful=st.booleans(),
)
def test_whatever_a_model_says_is_read_back_as_it_was_said(
    file: Odd, text: str, place: int, doubtful: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / file.file
    path.write_bytes(file.content)
    document = open_document(path, *file.languages)
    place %= len(document.segments)
    written = document.write(path, {place: Translation(text, doubtful, "why")})
    again = open_document(path, *file.languages)
    assert written.translated + sum(written.counts.left_out.values()) == 1
    if not written.translated:
        assert path.read_bytes() == file.content
    elif file.file.endswith(MARKED):
        before = [(part.source, part.target) for part in document.segments]
        before[place] = (before[place][0], text)
        assert [(part.source, part.target) for part in again.segments] == before
        if text.strip():
            assert again.segments[place].state == ("doubtful" if written.doubts else "translated")
    elif file.file.endswith(".txt"):
        # a long line may make those below it look wrapped
        whole = " ".join(part.source for part in again.segments)
        assert all(part.source in whole for index, part in enumerate(document.segments) if index != place)
    else:
        sources = [part.source for part in document.segments]
        is_parallel = not file.file.endswith((".md", ".markdown"))
        sources[place : place + 1] = [text.strip()] if is_parallel or has_words(text) else []
        # other signs of a line's end than the file's own are blanks of a paragraph
        expected = [" ".join(source.split()) for source in sources if source.strip()]
        assert [" ".join(part.source.split()) for part in again.segments] == expected
