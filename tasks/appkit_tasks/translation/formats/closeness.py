"""Compares the language codes of files with those that are asked for."""

from __future__ import annotations

from functools import lru_cache

from appkit_tasks.translation.languages import normalize

__all__ = ["closeness"]


@lru_cache(maxsize=1024)
def closeness(code: str, wanted: str) -> int:
    """Says how well a file's language code fits the wanted one: 2 the same, 1 one more general, 0 another language.

    `en` and `en-US` fit in either direction; `pt-PT` and `pt-BR` do not, nor does a code that is none.
    """
    try:
        ours, theirs = normalize(code).split("-"), normalize(wanted).split("-")
    except ValueError:
        return 0
    if ours == theirs:
        return 2
    shared = min(len(ours), len(theirs))
    return int(ours[:shared] == theirs[:shared])
