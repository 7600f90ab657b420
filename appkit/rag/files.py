"""Reads documents from text, Markdown, HTML, PDF and JSONL files, and cuts them into passages."""

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
    """Raises AppkitError with the pip command if an import inside the block fails; `name` is the extra to install."""
    try:
        yield
    except ImportError as error:
        raise AppkitError(f"{error.name} is not installed; pip install 'appkit[{name}]'") from None


def find(paths: Sequence[Path], to: Path | None = None, skipped: dict[str, str] | None = None) -> list[Path]:
    """List the files among `paths`, and the files of a known kind below the directories among them, in order.

    to: the index's directory. Files in it, and in any other index below a directory, are no documents. skipped: gets
    the links that lead out of a directory, with the reason: whoever made the folder does not choose what is read.
    Raises DataError for a missing path, a file of an unknown kind, or when there is no file at all.
    """
    documents: list[Path] = []
    for path in paths:
        if path.is_dir():
            excluded = _find_indexes(path) | ({to.resolve()} if to else set())
            files = sorted(
                file
                for file in path.rglob("*")
                if file.suffix.lower() in KINDS
                and file.is_file()
                and not _is_hidden(file, path)
                and excluded.isdisjoint(file.resolve().parents)
            )
            outside = [file for file in files if path.resolve() not in file.resolve().parents]
            documents += [file for file in files if file not in set(outside)]
            if skipped is not None:
                skipped |= {
                    str(file): f"{file} is a link out of {path}; name the file itself, or copy it"
                    for file in outside
                }
        elif not path.exists():
            raise DataError(f"no file or directory {str(path)!r}; name what is to be indexed")
        elif path.suffix.lower() not in KINDS:
            raise DataError(f"{path.name} is of no kind that can be read; known: {', '.join(KINDS)}")
        else:
            documents.append(path)
    if not documents:
        shown = ", ".join(map(str, paths))
        raise DataError(f"no document below {shown}; known kinds: {', '.join(KINDS)}")
    return list(dict.fromkeys(documents))


def _is_hidden(file: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(below).parts)


def _find_indexes(below: Path) -> set[Path]:
    """Find the directories below `below` that are an index of documents: they hold `current` and versions."""
    return {
        marker.parent.resolve()
        for marker in below.rglob("current")
        if any(marker.parent.glob("*/index.json"))
    }


@contextmanager
def unreadable_told(file: Path) -> Iterator[None]:
    """Raises DataError for a file that cannot be read, whatever the cause, so that the others can be indexed."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror or error}); check it") from None
    except UnicodeError:
        raise DataError(f"{file} has half a surrogate pair in its text or name; take it out") from None
    except RecursionError:
        raise DataError(f"{file} is nested too deeply; flatten it") from None


def passages(file: Path, *, size: int, overlap: int) -> list[Passage]:
    """Cut a document into passages of up to `size` characters that share up to `overlap`, at natural boundaries.

    Raises DataError for a file that cannot be read, AppkitError if the packages that read it are not installed.
    """
    splitter = _make_splitter(file, size, overlap)
    pieces = []
    for place, text in _read_texts(file):
        for piece in splitter.create_documents([text]):
            start = piece.metadata["start_index"]
            named = f"{file}\0{place}\0{start}\0{piece.page_content}"
            name = hashlib.sha256(named.encode()).hexdigest()[:16]
            pieces.append(Passage(name, piece.page_content, str(file), place, start))
    return pieces


def _make_splitter(file: Path, size: int, overlap: int) -> Any:
    with of_extra():
        from langchain_text_splitters import Language, RecursiveCharacterTextSplitter
    markdown = file.suffix.lower() in (".md", ".markdown")
    separators = (
        RecursiveCharacterTextSplitter.get_separators_for_language(Language.MARKDOWN) if markdown else None
    )
    return RecursiveCharacterTextSplitter(
        separators, is_separator_regex=markdown, chunk_size=size, chunk_overlap=overlap, add_start_index=True
    )


def _read_texts(file: Path) -> Iterator[tuple[str, str]]:
    """Yield (page or row, text) of a document; the place is "" for a document without pages or rows."""
    if file.stat().st_size > LARGEST:
        raise DataError(f"{file} has {file.stat().st_size:,} bytes, the limit is {LARGEST:,}; split it")
    match file.suffix.lower():
        case ".pdf":
            yield from _read_pdf(file)
        case ".html" | ".htm":
            yield "", _extract_text(_read_text(file))
        case ".jsonl":
            yield from _read_jsonl(file)
        case _:
            yield "", _read_text(file)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 (byte {error.start}); convert it") from None


def _extract_text(text: str) -> str:
    """Extract the visible text of an HTML page: no script, style or comment; a line for each block."""
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


def _read_pdf(file: Path) -> Iterator[tuple[str, str]]:
    with of_extra():
        from pypdf import PdfReader
    try:
        for number, page in enumerate(PdfReader(file).pages, 1):
            yield f"page {number}", page.extract_text()
    # pypdf raises TypeError, KeyError, DependencyError and others, depending on the file's content
    except Exception as error:
        raise DataError(
            f"{file} cannot be read as PDF ({error}); save it again, without a password"
        ) from None


def _read_jsonl(file: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_read_text(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text, names = row["text"], (row.get("pid"), row.get("id"), number)
            text.encode()  # half a surrogate pair, which JSON can hold, cannot be written
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise DataError(f"{file}:{number} is no JSON object with a text") from None
        yield next(str(name) for name in names if name not in (None, "")), text
