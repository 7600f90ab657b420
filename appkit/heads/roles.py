"""Which engine role answers a label head, and what engines cannot take, known when the configuration is read."""

from __future__ import annotations

from typing import Literal

from appkit.task import HeadSpec

__all__ = ["MOST_LABELS", "Role", "role_of"]

Role = Literal["generate", "classify", "embed", "embed-unmasked"]
"""What an engine is started for, and cannot change: answers; logits of sequence heads at the last token; final hidden
states of every token, causal or unmasked."""

MOST_LABELS = 1000
"""rows of a sequence head in the classifying engine: it reserves as many for each adapter in a batch"""


def role_of(head: HeadSpec | None) -> Role:
    """None: an answer in words. vLLM's classifiers pool the last causal state only; the rest is pooled by us."""
    if head is None:
        return "generate"
    if head.attention == "unmasked":
        return "embed-unmasked"
    if head.kind == "sequence" and head.pooling == "last" and head.outputs <= MOST_LABELS:
        return "classify"
    return "embed"
