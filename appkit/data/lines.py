"""Lines are what text files consist of: found, unpacked, decoded and split, whatever their line ends are."""

from __future__ import annotations

import difflib
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from appkit.data.limits import CountedFile
from appkit.data.tables import Fault, Format, codec_of
from appkit.errors import DataError, shortened

__all__ = [
    "CONLL",
    "PACKABLE",
    "SUFFIXES",
    "decode_lines",
    "find_bad_byte",
    "open_file",
    "read_lines",
    "resolve_path",
    "suffix_of",
]

CONLL = (".conll", ".bio", ".iob", ".iob2")
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", *CONLL)
PACKABLE = tuple(f"{suffix}.gz" for suffix in SUFFIXES if suffix != ".parquet")
"""suffixes of packed files"""
PACKED = {
    b"\x1f\x8b": "is packed with gzip; name it {name}.gz",
    b"PK\x03\x04": "is a zip archive, as Excel's files are; unpack it, or save the sheet as CSV",
    b"BZh": "is packed with bzip2; unpack it: bunzip2",
    b"\xfd7zXZ": "is packed with xz; unpack it: unxz",
    b"\x28\xb5\x2f\xfd": "is packed with zstd; unpack it: unzstd",
    b"PAR1": "is a Parquet file; name it .parquet",
}
"""first bytes -> what such a file is"""
WIDE = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
WORD = re.compile(r"[\w'\x80-\x9f\udc80-\udcff]+")
"""with the bytes that could not be decoded, and those that Latin-1 reads as control characters"""


def suffix_of(path: Path) -> str:
    """Return the suffix that says what a file holds: `.jsonl` of rows.jsonl and of rows.JSONL.gz."""
    return (Path(path.stem) if path.suffix.lower() == ".gz" else path).suffix.lower()


def resolve_path(source: str) -> Path:
    """Resolve the file; DataError if it is missing, not a file, empty, or of a kind that cannot be read."""
    path = Path(source).expanduser()
    if not os.path.exists(path):  # unlike Path.exists, False too for a name that is too long or not permitted
        names = [p.name for p in path.parent.glob("*") if suffix_of(p) in SUFFIXES]
        close = difflib.get_close_matches(path.name, names, n=1)
        hint = (
            f"did you mean {str(path.parent / close[0])!r}?"
            if close
            else "check the path and its permissions"
        )
        raise DataError(f"no file {source!r} (seen from {Path.cwd()}); {hint}")
    if path.is_dir():
        names = sorted(p.name for p in path.glob("*") if suffix_of(p) in SUFFIXES)
        raise DataError(
            f"{source!r} is a directory; name one file in it, such as {path / (names or ['train.jsonl'])[0]}"
        )
    if suffix_of(path) not in SUFFIXES:
        raise DataError(
            f"{source!r} has the suffix {path.suffix!r}; known: {', '.join(SUFFIXES)}; convert or rename it"
        )
    if path.stat().st_size == 0:
        raise DataError(f"{source!r} is empty (0 bytes); write rows to it or name another file")
    return path


def open_file(path: Path) -> IO[bytes]:
    """Open a file to read its bytes. Raises DataError if it cannot be opened."""
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(
            f"cannot read {str(path)!r}: {error.strerror}; check the path and its permissions"
        ) from error


def read_lines(path: Path, form: Format) -> Iterator[str]:
    """Yield the physical lines of a file, as `decode_lines` does; .gz is unpacked.

    Raises DataError for a file that is larger than the limits of `form`.
    """
    with open_file(path) as file:
        unpacked: Any = gzip.GzipFile(fileobj=file) if path.suffix.lower() == ".gz" else file
        if form.limits.bytes is not None:
            unpacked = CountedFile(unpacked, str(path), form.limits)
        try:
            for number, line in enumerate(decode_lines(unpacked, path, form), 1):
                form.limits.check_lines(str(path), number)
                yield line
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{str(path)!r} is not a sound gzip file: {error}; pack it again") from error


def decode_lines(raw: Any, path: Path, form: Format) -> Iterator[str]:
    """Yield physical lines with their ends: LF, CRLF or CR, one file may mix them.

    raw: open, gives bytes. path: its name, for messages.

    A byte that is not of the encoding becomes a lone surrogate, so that only its row is lost. Raises DataError for
    something else than text.
    """
    buffered = io.BufferedReader(raw)
    _require_text(path, buffered.peek(8)[:8], form)
    encoding = codec_of(form.encoding or "utf-8")
    text = io.TextIOWrapper(
        buffered, "utf-8-sig" if encoding == "utf-8" else encoding, "surrogateescape", newline=""
    )
    try:
        yield from _join_ends(text)
    except UnicodeError as error:
        raise DataError(
            f"{str(path)!r} is not {form.encoding or 'UTF-8'}: {error}; name its encoding: data.encoding="
        ) from error


def _require_text(path: Path, first: bytes, form: Format) -> None:
    for magic, what in PACKED.items():
        if first.startswith(magic):
            raise DataError(f"{str(path)!r} {what.format(name=path.name)}")
    if form.encoding is None and first[:2] in WIDE:
        raise DataError(
            f"{str(path)!r} is UTF-16; convert it: iconv -f UTF-16 -t UTF-8, or say so: data.encoding=utf-16"
        )


def _join_ends(lines: Iterator[str]) -> Iterator[str]:
    """Make one line end of `\\r\\r\\n`, which a file has whose ends were made twice on Windows."""
    before = ""
    for line in lines:
        if line == "\r\n" and before.endswith("\r"):
            before += line
            continue
        if before:
            yield before
        before = line
    if before:
        yield before


def find_bad_byte(source: str, line: int, text: str, form: Format) -> Fault | None:
    """Find the first NUL or wrongly encoded byte of `text`, which begins on `line`; None if there is none."""
    at = text.find("\0")
    reason = "is NUL"
    if not text.isascii():
        encoding = codec_of(form.encoding or "utf-8")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            at = error.start
            reason = f"0x{ord(text[at]) - 0xDC00:02x} is not {form.encoding or 'UTF-8'} ({_guess(text, at, encoding)})"
        else:
            if _reads_any_byte(encoding) and (wrong := _find_misread(text, encoding)):
                at, reason = wrong
    if at < 0:
        return None
    start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    byte = len(text[start:at].encode(form.encoding or "utf-8", "surrogateescape")) + 1
    before = text[:start]
    return Fault(
        source,
        line + before.count("\n") + before.replace("\r\n", "").count("\r"),
        None,
        f"byte {byte} of the line {reason}",
        shortened(text[start:]),
    )


@lru_cache
def _reads_any_byte(encoding: str) -> bool:
    """Whether an encoding makes a sign of each byte by itself: it then reads any bytes, UTF-8 too, as some text."""
    signs = bytes(range(256)).decode(encoding, "replace")
    return len(signs) == 256 and any(sign != "\ufffd" for sign in signs[128:])


def _guess(text: str, at: int, encoding: str) -> str:
    """Say how Windows-1252 reads the word at a wrong byte, and the remedy; only a reader can tell if that is right."""
    word = next((match[0] for match in WORD.finditer(text) if match.start() <= at < match.end()), text[at])
    try:
        guess = word.encode(encoding, "surrogateescape").decode("cp1252")
    except UnicodeError:
        return "name the encoding that wrote it: data.encoding="
    return f"perhaps Windows-1252, which reads {shortened(guess)}; if that is the word: data.encoding=cp1252"


def _find_misread(text: str, encoding: str) -> tuple[int, str] | None:
    """Find what an encoding that reads any bytes made of other ones: UTF-8, or Windows-1252 read as Latin-1."""
    at = next(place for place, sign in enumerate(text) if not sign.isascii())
    raw = text.encode(encoding)
    try:
        raw.decode()
    except UnicodeError:
        pass
    else:
        return (
            at,
            f"begins a character of UTF-8, not of {encoding}; leave data.encoding= out, or convert the other rows",
        )
    controls = (place for place, sign in enumerate(text) if "\x80" <= sign <= "\x9f" and sign != "\x85")
    if (at := next(controls, -1)) >= 0:
        byte = text[at].encode(encoding)[0]
        return at, f"0x{byte:02x} is a control character in {encoding} ({_guess(text, at, encoding)})"
    return None
