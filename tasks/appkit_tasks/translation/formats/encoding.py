"""Reads files into text and back to the same bytes: encodings, byte order marks, line ends, one-step replacement.

Everywhere in this room a file's text is UTF-8 without byte order mark, and places are bytes of that text.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from appkit.errors import shortened

__all__ = [
    "HEAD",
    "LONGEST",
    "LONGEST_LINE",
    "Encoding",
    "Raw",
    "detect",
    "line_end",
    "read_chunks",
    "read_lines",
    "unwritable",
    "write_atomically",
]

LONGEST = 10_000_000
"""characters of a segment; a file that has a longer one is none for translation"""

LONGEST_LINE = LONGEST
"""characters"""

CHUNK = 1 << 20
HEAD = 1 << 16
"""bytes in which a file must name its encoding"""

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: it begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
UNMARKED = ((re.compile(rb"(?:[^\0]\0){2}"), "utf-16-le"), (re.compile(rb"(?:\0[^\0]){2}"), "utf-16-be"))

XML_DECLARATION = re.compile(rb"\A\s*<\?xml\s[^>]*?encoding\s*=\s*[\"']([^\"'<>\s]*)")
PO_CHARSET = re.compile(rb"(?m:^)\"[^\r\n]*?Content-Type:[^\r\n]*?charset=([^\s\\\";]+)", re.IGNORECASE)

WIDE = re.compile(r"(?:utf|ucs|unicode)[-_]?(?:2|4|16|32)", re.IGNORECASE)

LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")

NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""characters that XML 1.0 cannot hold, not even as references"""


class Encoding(NamedTuple):
    """How a file's bytes are read."""

    name: str
    """of Python's codec, without byte order mark"""
    mark: bytes
    """the byte order mark, if there is one"""


def detect(head: bytes, declaration: re.Pattern[bytes] | None = None) -> Encoding:
    """Finds the encoding from the first bytes: the byte order mark, UTF-16 without one, what the file declares, UTF-8.

    Raises ValueError for a declared encoding that Python does not know.
    """
    for mark, name in MARKS:
        if head.startswith(mark):
            return Encoding(name, mark)
    for pattern, name in UNMARKED:
        if pattern.match(head):
            return Encoding(name, b"")
    match = declaration.search(head) if declaration else None
    declared = match[1].decode("ascii", "replace") if match else ""
    # a declaration that can be read as ASCII is not in UTF-16, whatever it says; CHARSET is gettext's placeholder
    if not declared or declared == "CHARSET" or WIDE.match(declared):
        return Encoding("utf-8", b"")
    try:
        "a".encode(declared)  # refuses codecs that are not of text, such as rot13
        name = codecs.lookup(declared).name
    except (LookupError, UnicodeError, ValueError):
        raise ValueError(
            f"the file says that its encoding is {shortened(declared)}, which Python does not know; convert it to UTF-8"
        ) from None
    return Encoding("utf-8" if name == "utf-8-sig" else name, b"")


@dataclass(frozen=True)
class Raw:
    """A file in memory that can be written again to the same bytes."""

    data: bytes
    """its text in UTF-8, without byte order mark"""
    encoding: Encoding

    @classmethod
    def read(cls, path: Path, declaration: re.Pattern[bytes] | None = None) -> Raw:
        """Reads a file. Raises ValueError for bytes that are not text in its encoding, or not the only such bytes."""
        content = path.read_bytes()
        encoding = detect(content[:HEAD], declaration)
        content = content[len(encoding.mark) :]
        try:
            text = content.decode(encoding.name)
        except UnicodeDecodeError as error:
            line = content[: error.start].decode(encoding.name, "replace").count("\n") + 1
            raise _not_text(encoding, f"at byte {error.start + len(encoding.mark)}, line {line}") from None
        if encoding.name != "utf-8":
            if text.encode(encoding.name, "replace") != content:  # such as needless escapes of ISO-2022
                raise ValueError(
                    f"its bytes are not those that {encoding.name} gives for its text, so that the rest of the file "
                    "could not be left as it is; convert it to UTF-8"
                )
            content = text.encode()
        return cls(content, encoding)

    def lines(self) -> list[bytes]:
        """Splits the text into lines, each with its line end: LF, CRLF or CR, nothing else."""
        return LINE.findall(self.data)

    def encode(self, data: bytes, references: bool = False) -> bytes:
        """Turns UTF-8 text into the bytes of a file in this encoding.

        references: write characters that the encoding lacks as XML's `&#8364;`, else they raise UnicodeEncodeError.
        """
        if self.encoding.name != "utf-8":
            errors = "xmlcharrefreplace" if references else "strict"
            data = data.decode().encode(self.encoding.name, errors)
        return self.encoding.mark + data


def _not_text(encoding: Encoding, where: str) -> ValueError:
    return ValueError(
        f"it is not {encoding.name} {where}; convert it to UTF-8, or correct the encoding that it names"
    )


def read_chunks(path: Path, declaration: re.Pattern[bytes]) -> Iterator[bytes]:
    """Reads a file as UTF-8 without byte order mark, a megabyte at a time. Raises ValueError as `Raw.read` does."""
    with path.open("rb") as stream:
        head = stream.read(HEAD)
        encoding = detect(head, declaration)
        decoder = codecs.getincrementaldecoder(encoding.name)()
        chunk, position = head[len(encoding.mark) :], len(encoding.mark)
        while chunk:
            yield _decode(decoder, chunk, encoding, position).encode()
            position += len(chunk)
            chunk = stream.read(CHUNK)
        _decode(decoder, b"", encoding, position)


def _decode(decoder: codecs.IncrementalDecoder, chunk: bytes, encoding: Encoding, position: int) -> str:
    try:
        return decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError as error:
        # the decoder counts from bytes that it had kept of the chunk before
        start = position + error.start - (len(error.object) - len(chunk))
        raise _not_text(encoding, f"at byte {start}") from None


def read_lines(
    path: Path, declaration: re.Pattern[bytes] | None = None, newline: Literal["", "\n", "\r"] = ""
) -> Iterator[str]:
    """Reads a file line by line, each with its line end: LF, CRLF or CR, or `newline` alone.

    Raises ValueError as `Raw.read` does, and for a line of more than LONGEST_LINE characters.
    """
    with path.open("rb") as stream:
        encoding = detect(stream.read(HEAD), declaration)
        stream.seek(len(encoding.mark))
        number = 0
        with io.TextIOWrapper(stream, encoding.name, newline=newline) as lines:
            try:
                while line := lines.readline(LONGEST_LINE + 2):
                    number += 1
                    if len(line) > LONGEST_LINE + 1:
                        raise ValueError(
                            f"line {number} has more than {LONGEST_LINE} characters; is the file one of text?"
                        )
                    yield line
            except UnicodeDecodeError:
                raise _not_text(encoding, f"soon after line {number}") from None


def line_end(data: bytes) -> str:
    """Finds the first line end of a text: what new lines get."""
    match = re.search(rb"\r\n|\r|\n", data)
    return match[0].decode() if match else "\n"


def unwritable(text: str, encoding: str, in_xml: bool) -> str:
    """Says why a file in `encoding` cannot hold a text; "" if it can. XML has references for what it lacks."""
    if "\0" in text or (in_xml and NOT_XML.search(text)):
        return "the translation holds a control character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "the translation is not valid Unicode"
    try:
        text.encode("utf-8" if in_xml else encoding)
    except UnicodeEncodeError:
        return (
            f"the translation has characters that the file's encoding lacks ({encoding}); convert it to UTF-8"
        )
    return ""


def write_atomically(path: Path, content: bytes, like: Path) -> None:
    """Writes a file by renaming a finished one in the same folder; its permissions are those of `like`.

    A symbolic link stays, and what it points to is replaced. Raises OSError.
    """
    path = path.resolve()
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        shutil.copymode(like, name)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
