"""Masks secrets in code (keys, tokens, passwords), found by detect-secrets and patterns of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from math import log2
from typing import Any

__all__ = ["MASK", "mask"]

MASK = "<secret>"

BEGIN = re.compile(r"BEGIN [A-Z0-9 ]{0,40}?PRIVATE KEY(?: BLOCK)?-----(?P<value>[A-Za-z0-9+/=\\ ]{16,})?")
"""a private key, or the whole of one with \\n for its line ends"""
KEY_LINE = re.compile(
    r"(?P<sign>[+\- ]?)\s*[^\w\s+/=]{0,3}(?P<value>[A-Za-z0-9+/=]{2,200})(?:\\[nr]|[\"'`+\\,;)\s])*"
)
"""a line of Base64 alone: of a private key, in a diff or in a string"""
KEY_HEADER = re.compile(r"[+\- ]?\s*(?:(?:Proc-Type|DEK-Info|Version|Comment): .*)?", re.DOTALL)
KEY_BODY, KEY_START = 40, 16
"""characters of a line of Base64 that is masked anywhere, and behind the first line of a key"""

TOKENS = re.compile(
    r"\b(?:glpat-[\w-]{20,}|AIza[\w-]{35,}|sk-(?:[a-z]+-)?[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}|gh[pousr]_\w{36,}|"
    r"github_pat_\w{22,}|pypi-[\w-]{32,}|dop_v1_[0-9a-f]{64,}|xox[abeprs]-[\w-]{10,}|ya29\.[\w-]{20,}|"
    r"(?:AKIA|ASIA)[0-9A-Z]{16,}|\d{8,10}:AA[\w-]{32,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|"
    r"whsec_[A-Za-z0-9]{24,})[\w-]*"
)
"""of GitLab, Google, OpenAI and those who write theirs alike, Hugging Face, GitHub, PyPI, DigitalOcean, Slack, AWS,
Telegram, Stripe: newer than the detectors, or worded more loosely; with what stands behind one in the same word, which
could else begin another"""
WORD_END = re.compile(r"[\w-]*")

NAME = (
    r"(?:passw(?:or)?d|passphrase|pwd|secret(?:[_-]?key)?|(?P<weak>token)|"
    r"(?:api|access|auth|private|account|client|master|encryption|signing)[_-]?(?:key|secret))"
)
"""how the name of a credential ends; `token` is also a word of parsers"""
ASSIGNED = re.compile(
    rf"""{NAME}["'\]]{{0,2}}\s{{0,9}}(?::\s?[\w.?|\[\]]{{1,40}}\s?=|:=|=>|={{1,3}}|!=|:)\s{{0,9}}[a-z]{{0,2}}"""
    r"""(?P<quote>["'`])(?P<value>(?:(?!(?P=quote))[^\\]|\\.){3,200})(?P=quote)""",
    re.IGNORECASE,
)
ELEMENT = re.compile(
    rf"""<[\w:.-]{{0,40}}?{NAME}>(?P<value>[^<>\s]{{3,200}})</|"""
    rf"""{NAME.replace("<weak>", "<weak_name>")}["']\s{{1,9}}value=["'](?P<named>[^"']{{3,200}})["']""",
    re.IGNORECASE,
)
CALL = re.compile(
    rf"""\w\(\s?["'][\w.-]{{0,40}}?{NAME}["']\s?,\s?["'](?P<value>[^"'\s]{{6,200}})["']""", re.IGNORECASE
)
BEARER = re.compile(r"\b(?:bearer|basic)\s(?P<value>[\w.~+/-]{16,}={0,2})", re.IGNORECASE)
URL = re.compile(r"(?<=://)[^\s/:@'\"]{0,100}:(?P<value>[^\s/@'\"]{3,200})(?=@)")
QUOTED = re.compile(r"""(?P<quote>["'`])(?P<value>[A-Za-z0-9+/=_-]{20,200})(?=(?P=quote))""")

BARE = re.compile(
    rf"""[+\- ]?\s*(?:[-*]\s+)?(?:(?:export|set|env|arg)\s+)?["']?(?P<name>[\w.-]{{0,60}}?{NAME})["']?"""
    r"""(?P<assign>\s{0,9}[=:]\s{0,9})(?P<value>[^\s"'`()\[\]{},;<$&*!][^\s"'`()\[\]{},;<]{4,199})\s*(?:\#.*)?""",
    re.IGNORECASE | re.DOTALL,
)
"""a whole line of YAML, .env, .properties, or a header"""
ATTRIBUTE = re.compile(r"[A-Za-z_]\w*(?:(?:\.|::|->)\w+)+")

HEX = re.compile(r"[0-9a-fA-F-]+")
LIMIT_BASE64, LIMIT_HEX = 4.5, 3.0
"""bits of a character from which a quoted text looks drawn at random, as detect-secrets has them"""
ALPHABET = re.compile(r"abcdefgh|qrstuvwx|ABCDEFGH|QRSTUVWX")

NO_SECRET = re.compile(
    r"""["']?(?:\*+|\.+|x{3,}|none|null|nil|true|false|undefined|pass|password|passwd|secret|token|string|text|
    (?:u?int|float|sha|utf-?|base|md|x)\d+(?:_t)?|example|your[\w-]*|change-?me|<[^>]*>|\$\{?[\w.:-]+\}?|%\w+%|
    \{\{?[^}]*\}?\}|\.{0,2}/[\w./-]*|.{0,2})["']?""",
    re.IGNORECASE | re.VERBOSE,
)
"""what stands in the place of a secret, or is too short to be one"""

WORDS = re.compile(r"[A-Za-z]?[a-z]{3,}")
ABOUT = re.compile(
    rf"\s.*{NAME.replace('(?P<weak>', '(?:')}|{NAME.replace('(?P<weak>', '(?:')}.*\s|[.!?…:]$", re.I
)
"""a sentence, such as a label of a form, rather than a password with spaces"""

BLANKS = re.compile(r"\s{4,}")

PIECE, OVERLAP = 4000, 1000
"""characters of a line that are looked at together, and how many again with the next: longer lines are data"""

LEFT_OUT = ("Entropy", "IP", "Keyword", "Private")
"""detectors in place of which there are patterns here: they take ordinary names, or a line of a parser, for secrets"""

Span = tuple[int, int]
"""first character, one past the last"""


@cache
def _detectors() -> list[Any]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    found = get_mapping_from_secret_type_to_class()
    return [kind() for name, kind in sorted(found.items()) if not any(word in name for word in LEFT_OUT)]


def mask(text: str) -> tuple[str, int]:
    """Masks the secrets in a text; returns it with `<secret>` in their place, and how many there were.

    The number of lines and the signs of a diff stay. A private key counts once; a masked text has no secret.
    """
    lines, count = _mask_keys(text.split("\n"))
    for place, line in enumerate(lines):
        if len(line) >= 8:
            lines[place], found = _mask_line(line)
            count += found
    return "\n".join(lines), count


def _mask_keys(lines: list[str]) -> tuple[list[str], int]:
    """Masks private keys, line by line; a hunk may begin or end within one."""
    count, least, running = 0, KEY_BODY, False
    for place, line in enumerate(lines):
        if matches := list(BEGIN.finditer(line)):
            least, running = KEY_START, False
            spans = [match.span("value") for match in matches if match["value"]]
            lines[place] = _replace(line, spans)
            count += len(spans)
            continue
        match = KEY_LINE.fullmatch(line)
        # short lines end a key; outside of one only what looks drawn at random is masked
        if match and (
            len(match["value"]) >= (2 if running and least == KEY_START else least)
            and (least == KEY_START or _is_random(match["value"]))
        ):
            lines[place] = _replace(line, [match.span("value")])
            count += not running
            running = True
        elif least == KEY_BODY or not KEY_HEADER.fullmatch(line):
            least, running = KEY_BODY, False
    return lines, count


def _mask_line(line: str) -> tuple[str, int]:
    spans: list[Span] = []
    for start in range(0, max(1, len(line) - OVERLAP), PIECE - OVERLAP):
        piece = line[start : start + PIECE]
        spans += [(start + first, start + last) for first, last in _find(piece)]
    if (match := BARE.fullmatch(line)) and _is_bare(match):
        spans.append(match.span("value"))
    spans = [span for span in spans if MASK not in line[slice(*span)]]
    merged = _merge(spans)
    return _replace(line, merged), len(merged)


def _find(piece: str) -> Iterator[Span]:
    """Yields where secrets are; spans may overlap."""
    for match in TOKENS.finditer(piece):
        yield match.span()
    for match in QUOTED.finditer(piece):
        if _is_random(match["value"]):
            yield match.span("value")
    for match in BEARER.finditer(piece):
        if any(map(str.isdigit, match["value"])):
            yield match.span("value")
    for pattern in (ASSIGNED, URL, ELEMENT, CALL):
        for match in pattern.finditer(piece):
            group = "value" if match["value"] else "named"
            if _is_value(match[group], match.groupdict(), digits=pattern is CALL):
                yield match.span(group)
    # some detectors take time cubic in the length of a run of blanks
    narrow = BLANKS.sub(" ", piece)
    for detector in _detectors():
        for secret in detector.analyze_string(narrow):
            if not NO_SECRET.fullmatch(secret):
                yield from _locate(str(secret).strip("\"'`"), piece)


def _locate(secret: str, piece: str) -> Iterator[Span]:
    at = piece.find(secret)
    while at >= 0:
        # a sign of a diff is no part of a secret
        end = at + len(secret)
        if match := WORD_END.match(piece, end):
            end = match.end()
        yield max(at, 1 if piece[0] in "+-" else 0), end
        at = piece.find(secret, end)


def _is_value(value: str, groups: dict[str, str | None], *, digits: bool = False) -> bool:
    """Tells whether what is assigned to the name of a credential is one."""
    if NO_SECRET.fullmatch(value) or (" " in value and ABOUT.search(value)):
        return False
    has_digit = any(map(str.isdigit, value))
    if groups.get("weak") or groups.get("weak_name"):
        return has_digit and len(value) >= 8 and " " not in value
    return has_digit or not digits


def _is_bare(match: re.Match[str]) -> bool:
    """Tells whether a value without quotes is a credential, not a name or a type."""
    name, value = match["name"], match["value"]
    if NO_SECRET.fullmatch(value) or ATTRIBUTE.fullmatch(value) or re.search(NAME, value, re.I):
        return bool(name.isupper() and match["assign"] == "=" and re.search(r"[a-z].*\d|\d.*[a-z]", value))
    if name.isupper() and match["assign"] == "=":
        return not value.isupper() or any(map(str.isdigit, value))
    has_both = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    return has_both and (len(value) >= 8 or not match["weak"])


def _is_random(text: str) -> bool:
    """Tells whether a text looks drawn at random: it has digits and letters, few words, and an even spread."""
    if text.isdigit() or not any(map(str.isdigit, text)) or ALPHABET.search(text):
        return False
    if 2 * sum(map(len, WORDS.findall(text))) > len(text):
        return False
    limit = LIMIT_HEX if HEX.fullmatch(text) else LIMIT_BASE64
    shares = [text.count(character) / len(text) for character in set(text)]
    return -sum(share * log2(share) for share in shares) > limit


def _merge(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _replace(line: str, spans: Iterable[Span]) -> str:
    """Writes the mask in the place of each span; they do not overlap."""
    parts, at = [], 0
    for start, end in spans:
        parts += [line[at:start], MASK]
        at = end
    return "".join([*parts, line[at:]])
