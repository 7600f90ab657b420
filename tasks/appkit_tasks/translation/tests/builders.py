"""Builds files of every format, and rows of the table of odd files."""

from __future__ import annotations

from dataclasses import dataclass, field

HEADER = (
    'msgid ""\nmsgstr ""\n"Language: fr\\n"\n"Content-Type: text/plain; charset={charset}\\n"\n'
    '"Plural-Forms: {plural}\\n"\n\n'
)
FRENCH = "nplurals=2; plural=(n > 1);"


def po(body: str, charset: str = "UTF-8", plural: str = FRENCH) -> str:
    return HEADER.format(charset=charset, plural=plural) + body


def xliff1(body: str, languages: str = 'source-language="en" target-language="fr"', start: str = "") -> str:
    return (
        f'{start}<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">\n'
        f'  <file original="a.c" {languages} datatype="plaintext">\n    <body>\n{body}\n    </body>\n'
        f"  </file>\n</xliff>\n"
    )


def xliff2(body: str, languages: str = 'srcLang="en" trgLang="fr"', version: str = "2.0") -> str:
    return (
        f'<?xml version="1.0"?>\n<xliff xmlns="urn:oasis:names:tc:xliff:document:2.0" '
        f'version="{version}" {languages}>\n'
        f' <file id="f1">\n{body}\n </file>\n</xliff>'
    )


def tmx(body: str, header: str = 'srclang="en"') -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n<tmx version="1.4">\n'
        f'<header {header} segtype="sentence" datatype="plaintext" adminlang="en" o-tmf="x"/>\n<body>\n{body}\n'
        "</body>\n</tmx>\n"
    )


@dataclass(frozen=True)
class Odd:
    """A file and what is in it."""

    name: str
    file: str
    content: bytes
    sources: tuple[str, ...]
    targets: tuple[str, ...] = ()
    """of the same segments; () where none is translated"""
    left_out: dict[str, int] = field(default_factory=dict)
    """of the opened document"""
    languages: tuple[str, str] = ("en", "fr")


def odd(name: str, file: str, content: str | bytes, *sources: str, **more: object) -> Odd:
    data = content.encode() if isinstance(content, str) else content
    return Odd(name, file, data, sources, **more)  # type: ignore[arg-type]


UNIT = '<trans-unit id="1"><source>Save</source></trans-unit>'


def tu(*variants: tuple[str, str], inside: str = "") -> str:
    return (
        f"<tu>{inside}"
        + "".join(f'<tuv xml:lang="{code}"><seg>{text}</seg></tuv>' for code, text in variants)
        + "</tu>"
    )
