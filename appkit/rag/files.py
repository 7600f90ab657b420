"""Documents are read from text, Markdown, HTML, PDF and JSONL files, and cut into passages."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appkit.errors import AppkitError, DataError
from appkit.task import Passage

__all__ = ["KINDS", "find", "of_extra", "passages", "unreadable_told"]

KINDS = (".txt", ".md", ".markdown", ".html", ".htm", ".pdf", ".jsonl")
BLOCKS = re.compile(
    r"^(h[1-6]|p|div|li|tr|br|hr|pre|table|section|article|header|footer|blockquote|d[td]|title)$"
)
LARGEST = 50_000_000
"""bytes of one file"""


@contextmanager
def of_extra(name: str = "rag") -> Iterator[None]:
    """Around imports of what only that extra installs. Raises AppkitError with the command that does."""
    try:
        yield
    except ImportError as error:
        raise AppkitError(f"{error.name} is not installed; pip install 'appkit[{name}]'") from None


def find(given: Sequence[Path], to: Path | None = None) -> list[Path]:
    """List the files named, and those of a known kind below the directories named, in order.

    to: where the index is to be. Nothing in it is a document, nor in an index that lies below a directory.
    Raises DataError for what is missing or of no known kind, or when there is no file at all.
    """
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            left = _indexes(path) | ({to.resolve()} if to else set())
            found += sorted(
                file
                for file in path.rglob("*")
                if file.suffix.lower() in KINDS
                and file.is_file()
                and not _hidden(file, path)
                and left.isdisjoint(file.resolve().parents)
            )
        elif not path.exists():
            raise DataError(f"no file or directory {str(path)!r}; name what is to be indexed")
        elif path.suffix.lower() not in KINDS:
            raise DataError(f"{path.name} is of no kind that can be read; known: {', '.join(KINDS)}")
        else:
            found.append(path)
    if not found:
        shown = ", ".join(map(str, given))
        raise DataError(f"no document below {shown}; known kinds: {', '.join(KINDS)}")
    return list(dict.fromkeys(found))


def _hidden(file: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(below).parts)


def _indexes(below: Path) -> set[Path]:
    """Directories that are an index of documents: a version in use, and versions."""
    return {one.parent.resolve() for one in below.rglob("current") if any(one.parent.glob("*/index.json"))}


@contextmanager
def unreadable_told(file: Path) -> Iterator[None]:
    """Whatever one file can be or hold as a DataError, so that the others can be indexed without it."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror or error}); check it") from None
    except UnicodeError:
        raise DataError(f"{file} has half a surrogate pair in its text or name; take it out") from None
    except RecursionError:
        raise DataError(f"{file} is nested too deeply; flatten it") from None


def passages(file: Path, *, size: int, overlap: int) -> list[Passage]:
    """Cut a document into pieces of up to `size` characters that share up to `overlap`; split where it is natural.

    Raises DataError for a file that cannot be read, AppkitError without the packages that read it.
    """
    splitter = _splitter(file, size, overlap)
    found = []
    for place, text in _texts(file):
        for piece in splitter.create_documents([text]):
            start = piece.metadata["start_index"]
            named = f"{file}\0{place}\0{start}\0{piece.page_content}"
            name = hashlib.sha256(named.encode()).hexdigest()[:16]
            found.append(Passage(name, piece.page_content, str(file), place, start))
    return found


def _splitter(file: Path, size: int, overlap: int) -> Any:
    with of_extra():
        from langchain_text_splitters import Language, RecursiveCharacterTextSplitter
    markdown = file.suffix.lower() in (".md", ".markdown")
    separators = (
        RecursiveCharacterTextSplitter.get_separators_for_language(Language.MARKDOWN) if markdown else None
    )
    return RecursiveCharacterTextSplitter(
        separators, is_separator_regex=markdown, chunk_size=size, chunk_overlap=overlap, add_start_index=True
    )


def _texts(file: Path) -> Iterator[tuple[str, str]]:
    """(page or row, text) of a document; "" for one that is a whole."""
    if file.stat().st_size > LARGEST:
        raise DataError(f"{file} has {file.stat().st_size:,} bytes, the limit is {LARGEST:,}; split it")
    match file.suffix.lower():
        case ".pdf":
            yield from _pdf(file)
        case ".html" | ".htm":
            yield "", _html(_read(file))
        case ".jsonl":
            yield from _rows(file)
        case _:
            yield "", _read(file)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 (byte {error.start}); convert it") from None


def _html(text: str) -> str:
    """Extract what a reader sees: no script, no style, no comment; a line for each block."""
    with of_extra():
        from bs4 import BeautifulSoup
        from bs4.element import PreformattedString
    page = BeautifulSoup(text, "html.parser")
    for hidden in page(["script", "style", "template", "noscript"]):
        hidden.decompose()
    for string in page.find_all(string=True):
        # replaced, a comment or a doctype would be text; a line break in the source is a space but in <pre>
        if not isinstance(string, PreformattedString) and not string.find_parent("pre"):
            string.replace_with(re.sub(r"\s+", " ", string))
    for block in page.find_all(BLOCKS):
        block.insert(0, "\n")
        block.append("\n")
    lines = (line.strip() for line in page.get_text().splitlines())
    return "\n".join(line for line in lines if line)


def _pdf(file: Path) -> Iterator[tuple[str, str]]:
    with of_extra():
        from pypdf import PdfReader
    try:
        for number, page in enumerate(PdfReader(file).pages, 1):
            yield f"page {number}", page.extract_text()
    # pypdf raises TypeError, KeyError, DependencyError and more of what is in a file
    except Exception as error:
        raise DataError(
            f"{file} cannot be read as PDF ({error}); save it again, without a password"
        ) from None


def _rows(file: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_read(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text, names = row["text"], (row.get("pid"), row.get("id"), number)
            text.encode()  # half a surrogate pair, which JSON can hold, cannot be written
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise DataError(f"{file}:{number} is no JSON object with a text") from None
        yield next(str(name) for name in names if name not in (None, "")), text
