"""Masks secrets in code (keys, tokens, passwords), found by detect-secrets and a few patterns of ours."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from math import log2
from typing import Any

__all__ = ["MASK", "mask"]

MASK = "<secret>"

BLOCK = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?)-----.*?(?:-----END (?P=kind)-----|\Z)",
    re.DOTALL,
)
"""a private key, over lines; a hunk may end before it does"""

TOKENS = re.compile(
    r"\b(?:glpat-[\w-]{20,}|AIza[\w-]{35}|sk-(?:[a-z]+-)?[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}|gh[pousr]_\w{36,}|"
    r"github_pat_\w{22,}|pypi-[\w-]{32,}|dop_v1_[0-9a-f]{64}|xox[abeprs]-[\w-]{10,}|ya29\.[\w-]{20,}|"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}|\d{8,10}:AA[\w-]{32,})"
)
"""of GitLab, Google, OpenAI and those who write theirs alike, Hugging Face, GitHub, PyPI, DigitalOcean, Slack, AWS,
Telegram: newer than the detectors, or worded more loosely"""

URL = re.compile(r"(?<=://)[^\s/:@'\"]{1,100}:(?P<password>[^\s/@'\"]{3,200})(?=@)")
QUOTED = re.compile(r"""(?P<quote>["'`])(?P<value>[A-Za-z0-9+/=_-]{20,200})(?P=quote)""")
HEX = re.compile(r"[0-9a-fA-F-]+")
LIMIT_BASE64, LIMIT_HEX = 4.5, 3.0
"""bits of a character from which a quoted text looks drawn at random, as detect-secrets has them"""

NO_SECRET = re.compile(
    r"""["']?(?:<secret>|\*+|\.+|x{3,}|none|null|true|false|password|passwd|secret|token|example|your[\w-]*|<[^>]*>|
    \$\{?\w+\}?|%\w+%|\{\{?[^}]*\}?\}|.{0,2})["']?""",
    re.IGNORECASE | re.VERBOSE,
)
"""what stands in the place of a secret, or is too short to be one"""

NO_KEYWORD = re.compile(r"\w*(?:tokeni[sz]|tokens)\w*", re.IGNORECASE)
"""words about the tokens of texts, which the detector of keywords takes for credentials"""

WORDS = re.compile(r"[A-Za-z]?[a-z]{3,}")

LONGEST = 2000
"""characters of a line; longer ones are data, and are looked at in pieces"""


@cache
def _detectors() -> list[Any]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    found = get_mapping_from_secret_type_to_class()
    return [kind() for name, kind in sorted(found.items()) if "Entropy" not in name and "IP" not in name]


@lru_cache(maxsize=1024)
def mask(text: str) -> tuple[str, int]:
    """Masks the secrets in a text; returns it with `<secret>` in their place, and how many there were."""
    count = 0
    if "PRIVATE KEY" in text:
        text, count = _mask_blocks(text)
    lines = text.split("\n")
    for place, line in enumerate(lines):
        if len(line) < 8:
            continue
        for secret in sorted(_find(line), key=len, reverse=True):
            if secret in line:
                line = line.replace(secret, MASK)
                count += 1
        lines[place] = line
    return "\n".join(lines), count


def _mask_blocks(text: str) -> tuple[str, int]:
    """Masks private keys line by line, so that a diff's lines keep their signs and number."""
    count = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        _, *others = match[0].split("\n")
        signs = [line[:1] if line[:1] in "+- " else "" for line in others]
        return "\n".join([MASK, *(f"{sign}{MASK}" for sign in signs)])

    return BLOCK.sub(replace, text), count


def _find(line: str) -> set[str]:
    """Finds the secrets of a line."""
    found: set[str] = set()
    for start in range(0, len(line), LONGEST):
        piece = line[start : start + LONGEST]
        found.update(match[0] for match in TOKENS.finditer(piece))
        found.update(match["password"] for match in URL.finditer(piece))
        found.update(match["value"] for match in QUOTED.finditer(piece) if _is_random(match["value"]))
        piece = NO_KEYWORD.sub("", piece)
        for detector in _detectors():
            found.update(str(secret) for secret in detector.analyze_string(piece))
    return {secret for secret in found if not NO_SECRET.fullmatch(secret)}


def _is_random(text: str) -> bool:
    """Tells whether a text looks drawn at random: it has digits and letters, few words, and an even spread."""
    if text.isdigit() or not any(map(str.isdigit, text)):
        return False
    if 2 * sum(map(len, WORDS.findall(text))) > len(text):
        return False
    limit = LIMIT_HEX if HEX.fullmatch(text) else LIMIT_BASE64
    shares = [text.count(character) / len(text) for character in set(text)]
    return -sum(share * log2(share) for share in shares) > limit
