"""Reads translated segments from files, and opens files that are to be translated and written in their own format.

`read_pairs` streams: files of gigabytes are read in constant memory. `open_document` holds the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from appkit.errors import shortened
from appkit_tasks.translation.formats.segments import (
    Counts,
    Document,
    Doubt,
    Pairs,
    Segment,
    State,
    Translation,
    Written,
)
from appkit_tasks.translation.languages import normalize

__all__ = [
    "Counts",
    "Document",
    "Doubt",
    "Pairs",
    "Segment",
    "State",
    "Translation",
    "Written",
    "open_document",
    "read_pairs",
]

XLIFF = (".xlf", ".xliff", ".sdlxliff", ".mqxliff", ".mxliff")
READERS = {".po": "po", ".pot": "po", ".tmx": "tmx", **dict.fromkeys(XLIFF, "xliff")}
"""suffix -> module with read_pairs(path, source_language, target_language, counts)"""

OPENERS = {
    ".po": ("po_write", "open_po"),
    ".pot": ("po_write", "open_po"),
    ".tmx": ("tmx", "open_tmx"),
    **dict.fromkeys(XLIFF, ("xliff_write", "open_xliff")),
    ".txt": ("text", "open_text"),
    ".md": ("markdown", "open_markdown"),
    ".markdown": ("markdown", "open_markdown"),
}
"""suffix -> module and function(path, source_language, target_language)"""


def read_pairs(path: Path, source_language: str, target_language: str) -> Pairs:
    """Yields the translated segments of a PO, TMX or XLIFF file, or of parallel files such as corpus.en, corpus.fr.

    What is left out stands in `Pairs.counts`. Raises ValueError, while it is read, for a file that cannot be read or
    is not of these languages; the message says what is wrong, where, and what to do.
    """
    source_language, target_language = normalize(source_language), normalize(target_language)
    counts = Counts()
    with _naming(path):
        module = _reader(path, source_language)
    reader = import_module(f"{__name__}.{module}").read_pairs
    segments = reader(path, source_language, target_language, counts)
    return Pairs(_named(path, segments), counts)


def open_document(path: Path, source_language: str, target_language: str) -> Document:
    """Opens a PO, TMX, XLIFF, Markdown or text file, or one side of parallel files, to be translated.

    Raises ValueError for a file that cannot be read or is not of these languages.
    """
    source_language, target_language = normalize(source_language), normalize(target_language)
    with _naming(path):
        module, function = _opener(path, source_language)
        opener: Callable[[Path, str, str], Document] = getattr(
            import_module(f"{__name__}.{module}"), function
        )
        return opener(path, source_language, target_language)


def _reader(path: Path, source_language: str) -> str:
    suffix = path.suffix.lower()
    if suffix in READERS:
        return READERS[suffix]
    if suffix == ".tbx":
        raise ValueError("a TBX file is a glossary, not pairs of segments; give it as the glossary")
    return _parallel(path, source_language, READERS)


def _opener(path: Path, source_language: str) -> tuple[str, str]:
    return OPENERS.get(path.suffix.lower()) or (_parallel(path, source_language, OPENERS), "open_lines")


def _parallel(path: Path, source_language: str, known: Iterable[str]) -> str:
    from appkit_tasks.translation.formats.parallel import is_parallel

    if not is_parallel(path, source_language):
        raise ValueError(
            f"its suffix is {shortened(path.suffix)}, which is neither one of {', '.join(known)} nor the source "
            f"language {source_language}, as in corpus.{source_language}; convert it, or rename it"
        )
    return "parallel"


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Puts the file's name before a message."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except OSError as error:
        raise ValueError(f"{path}: it cannot be read ({error.strerror}); check the path") from error


def _named(path: Path, segments: Iterator[Segment]) -> Iterator[Segment]:
    with _naming(path):
        yield from segments
