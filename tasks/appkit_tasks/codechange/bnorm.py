"""Computes B-Norm, the BLEU of commit messages that agrees best with people (Tao et al., ICSME 2021).

It is the smoothed sentence BLEU of Moses that CodeXGLUE also has, after punctuation is split from words.
sacreBLEU cannot compute it: only orders above 1 are smoothed, in matches and totals, and the brevity penalty
adds 1 to both lengths.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Sequence

__all__ = ["ORDER", "count_matches", "count_ngrams", "sentence_b_norm", "split_words"]

ORDER = 4
"""the longest n-grams, in words"""

_WORD = re.compile(r"[^\W_]+|[^\w\s]|_")


def split_words(text: str) -> list[str]:
    """Splits a text into lower-case words, signs and underscores, one by one: `run_it()` is `run _ it ( )`.

    That is what two steps of the published code come to: punctuation is split off, then NIST's mteval-v11a
    tokenizes; the latter still splits underscores, and finds no entity, number or hyphen left to treat.
    """
    return _WORD.findall(text.lower())


def count_ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """Counts the n-grams of one order in tokens."""
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def count_matches(answer: Sequence[str], reference: Sequence[str], order: int) -> int:
    """Counts the n-grams of one order in an answer that the reference has, each as often as there at most."""
    return (count_ngrams(answer, order) & count_ngrams(reference, order)).total()


def sentence_b_norm(answer: str, reference: str) -> float:
    """Computes B-Norm of one answer, 0 to 1; a corpus has the mean of its answers, times 100.

    With m_n matches of n-grams and t_n n-grams in the answer it is the 4th root of
    (m_1 / t_1) · Π_{n=2..4} (m_n + 1) / (t_n + 1), times exp(min(0, 1 - (r + 1) / (a + 1))) for r words of
    the reference and a of the answer. An answer without words has exp(-r), as in the published code: that is
    not quite nothing if the reference is short.
    """
    predicted, gold = split_words(answer), split_words(reference)
    tiny = sys.float_info.min  # the published code adds it everywhere: it makes 0 / 0 one
    log = 0.0
    for order in range(1, ORDER + 1):
        plus = (0.0 if order == 1 else 1.0) + tiny
        total = max(len(predicted) - order + 1, 0)
        log += math.log(count_matches(predicted, gold, order) + plus) - math.log(total + plus)
    brevity = min(0.0, 1 - (len(gold) + 1) / (len(predicted) + 1))
    return math.exp(log / ORDER + brevity)
