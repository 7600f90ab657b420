"""Reads answers in words: the one place where tokens become a prediction, whoever computed them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from appkit.heads.roles import Job
from appkit.models.generate import cut_loop
from appkit.stats.confidence import confidence
from appkit.task import Parsed, Prediction

if TYPE_CHECKING:
    from appkit.models.chat import Chat
    from appkit.stats.confidence import Calibration
    from appkit.task import TextHead

__all__ = ["TextQuestion", "parse_text", "read_tokens"]


@dataclass(frozen=True)
class TextQuestion:
    """Holds a prompt for an engine to continue."""

    job: Job
    confidence: bool = False
    """the reply says how likely it is right"""

    @property
    def tokens(self) -> tuple[int, ...]:
        return self.job.tokens

    @property
    def longest(self) -> int:
        return len(self.job.tokens)

    @property
    def requests(self) -> int:
        return 1

    @property
    def cap(self) -> int:
        return self.job.max_tokens

    def limited(self, cap: int) -> TextQuestion:
        return replace(self, job=replace(self.job, max_tokens=cap))


def parse_text(head: TextHead, text: str) -> Parsed:
    """Reads an answer's text as the pack does; an answer on which the pack's code fails is one that cannot be read."""
    try:
        return head.parse(text)
    except Exception as error:  # the answers of a whole evaluation would be lost with it
        return Parsed(
            None, f"the pack failed to read it: {type(error).__name__}: {' '.join(str(error).split())}"
        )


def read_tokens(
    head: TextHead,
    chat: Chat,
    tokens: Sequence[int],
    *,
    ended: bool,
    loop: int | None = None,
    log_probabilities: Sequence[float] = (),
    calibration: Calibration | None = None,
) -> Prediction:
    """Reads an answer's tokens into the pack's prediction.

    tokens: without the one that ended the answer; ended: there was one, the answer was not cut. loop: of `Decoding`.
    log_probabilities: in nats, of each token and of the one that ended it. calibration: what a confidence goes by;
    None: the prediction has none.
    """
    whole = cut_loop(tokens, loop)
    truncated = not ended or len(whole) < len(tokens)
    text = chat.decode(whole).strip()
    prediction = Prediction(
        text, parse_text(head, text), len(whole) + (not truncated), truncated, tuple(log_probabilities)
    )
    if calibration is None:
        return prediction
    return replace(prediction, confidence=confidence(calibration, log_probabilities, prediction.whole))
