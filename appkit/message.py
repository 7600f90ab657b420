"""Messages are what a model reads; targets and predictions are what it is to answer, and what it answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Audio", "Image", "Labels", "Message", "Parsed", "Part", "Prediction", "Text", "TokenLabels"]


@dataclass(frozen=True)
class Text:
    """A piece of text: of a message, or the target of a task that answers in words."""

    value: str


@dataclass(frozen=True)
class Image:
    """A picture in a message: the content of its file (PNG, JPEG)."""

    data: bytes


@dataclass(frozen=True)
class Audio:
    """Sound in a message: the content of its file (WAV, FLAC)."""

    data: bytes


Part = Text | Image | Audio
"""a typed piece of a message"""


@dataclass(frozen=True)
class Message:
    """One turn of the chat: who speaks, and what, in parts."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, role: Literal["system", "user", "assistant"], text: str) -> Message:
        """Make a message of one text."""
        return cls(role, (Text(text),))

    @property
    def text(self) -> str:
        """The message's text. Raises TypeError for a message with media, which its text alone does not represent."""
        if media := [type(part).__name__ for part in self.parts if not isinstance(part, Text)]:
            raise TypeError(f"a message with a part of type {media[0]} has no text alone")
        return "".join(part.value for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True)
class Labels:
    """The target of a sequence task: one label, any number of them, or a number."""

    values: str | tuple[str, ...] | float


@dataclass(frozen=True)
class TokenLabels:
    """The target of a token task: one label for each word."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Parsed:
    """A pack's reading of the model's text: a value, or the reason why there is none."""

    value: Any
    error: str | None = None


@dataclass(frozen=True)
class Prediction:
    """One answer of the model."""

    text: str
    """decoded, without the end-of-turn token; of labels, what a person reads"""
    parsed: Parsed
    """the pack's reading of the text"""
    tokens: int
    """generated, the end of turn included; of labels, read"""
    truncated: bool
    """the length cap was reached; of labels, the input was cut"""
    log_probabilities: tuple[float, ...] = ()
    """of each generated token, in nats; empty unless requested"""
    confidence: float | None = None
    """calibrated, 0 to 1; None where there is no single one, or it was not requested"""
    logits: tuple[float, ...] = ()
    """of a sequence task, the head's outputs in the order of its labels"""

    @property
    def whole(self) -> bool:
        """Whether it parsed and was not cut off."""
        return self.parsed.error is None and not self.truncated

    @property
    def answer(self) -> str:
        """The text to show: the pack's reading if it is a text, else the raw text."""
        return self.parsed.value if isinstance(self.parsed.value, str) else self.text
