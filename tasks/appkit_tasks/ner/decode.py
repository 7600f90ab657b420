"""Reads entities from the probabilities of words' tags: the likeliest tags that are legal together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from appkit_tasks.ner.load import NerRow, word_spans
from appkit_tasks.ner.tags import entities_of

if TYPE_CHECKING:
    from appkit.task import HeadSpec

__all__ = ["best_tags", "read"]

NONE = "(none)"


def read(
    row: NerRow, probabilities: np.ndarray, head: HeadSpec
) -> tuple[str, list[dict[str, Any]], float | None]:
    """Reads the entities of a row from probabilities (W, C) of its W words.

    Returns the entities as a line for people, the entities as data, and None: a row has no confidence of its own. An
    entity has text, type, start, end (characters of the row's text, end exclusive) and confidence: the geometric mean
    of its words' probabilities of the chosen tags.

    Raises ValueError if the probabilities are not of these words and labels.
    """
    words = word_spans(row)
    if probabilities.shape != (len(words), len(head.labels)):
        raise ValueError(
            f"probabilities must be {(len(words), len(head.labels))}, a row for each word and a column for each "
            f"label, got {probabilities.shape}"
        )
    # a probability of 0 has no logarithm, but must stay comparable
    logs = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    chosen = best_tags(logs, head.labels)
    of_word = logs[np.arange(len(words)), chosen]
    entities: list[dict[str, Any]] = []
    # entities in numbers of words: each word stands for itself
    for first, end, kind in entities_of(
        [head.labels[column] for column in chosen], [(place, place + 1) for place in range(len(words))]
    ):
        start, stop = words[first][0], words[end - 1][1]
        confidence = round(float(np.exp(of_word[first:end].mean())), 4)
        entities.append(
            {
                "text": row.text[start:stop],
                "type": kind,
                "start": start,
                "end": stop,
                "confidence": confidence,
            }
        )
    line = " · ".join(f"{' '.join(entity['text'].split())} [{entity['type']}]" for entity in entities)
    return line or NONE, entities, None


def best_tags(scores: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Finds the legal IOB2 sequence with the largest sum of scores (Viterbi): (W, C), finite -> (W,) columns.

    labels: O and B- and I- tags in any order. I-x may only follow B-x or I-x.
    """
    column = {label: place for place, label in enumerate(labels)}
    kinds = sorted({label[2:] for label in labels if label != "O"})
    # states: O, then B- of each type, then I- of each; -1 is the column of tags that the head lacks
    order = [column["O"], *(column.get(f"{prefix}-{kind}", -1) for prefix in "BI" for kind in kinds)]
    lacking = np.full((len(scores), 1), -np.inf)
    arranged = np.concatenate([scores, lacking], axis=1)[:, order]
    likeliest = arranged.argmax(1)
    # legal or not, no sequence has a larger sum
    states = likeliest if _is_legal(likeliest, len(kinds)) else _viterbi(arranged, len(kinds))
    columns: np.ndarray = np.asarray(order)[states]
    return columns


def _is_legal(states: np.ndarray, kinds: int) -> bool:
    """Tells whether each I- state follows a B- or I- state of its type."""
    before = np.concatenate([[0], states[:-1]])
    inside = states > kinds
    follows = (before == states) | (before == states - kinds)
    return bool(np.all(~inside | follows))


def _viterbi(scores: np.ndarray, kinds: int) -> np.ndarray:
    """Finds the best legal states: scores (W, 1 + 2 kinds) -> (W,) states. Each word costs O(kinds), not its square.

    O and B- may follow any tag, so the best before them is the best of all; I- may follow two tags only.
    """
    total = len(scores)
    free = 1 + kinds  # states that may follow anything
    score = scores[0].copy()
    score[free:] = -np.inf
    begins, insides = score[1:free], score[free:]  # views: they follow `score`
    entered = np.empty(kinds)
    previous = np.zeros(total, dtype=np.int64)  # (W,) the best state before O and B-
    stayed = np.zeros((total, kinds), dtype=bool)  # whether I- follows I-, else B-
    for place in range(1, total):
        top = score.argmax()
        best = score[top]
        previous[place] = top
        np.greater(insides, begins, out=stayed[place])
        np.maximum(insides, begins, out=entered)
        np.add(scores[place, :free], best, out=score[:free])
        np.add(scores[place, free:], entered, out=insides)
    states = np.empty(total, dtype=np.int64)
    states[-1] = score.argmax()
    for place in range(total - 1, 0, -1):
        state = states[place]
        if state < free:
            states[place - 1] = previous[place]
        else:
            states[place - 1] = state if stayed[place, state - free] else state - kinds
    return states
