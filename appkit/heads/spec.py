"""What a label head gives: its outputs' names, how they are read, and what the engines have to do for it.

Nothing here needs torch: the gateway turns logits into probabilities with it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

__all__ = ["HeadSpec"]


class HeadSpec(BaseModel):
    """A trained label head, as the manifest keeps it.

    The head is a linear layer on final hidden states of width d: (C, d), without bias for a sequence, with one for
    tokens, as transformers' own classes have it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sequence", "token"]
    problem: Literal["single", "multi", "regression"] = Field(
        "single", description="one label, any number of labels, or a number"
    )
    labels: tuple[str, ...] = Field((), description="in the order of the head's outputs; a number has none")
    attention: Literal["causal", "unmasked"] = "causal"
    pooling: Literal["last", "mean", "max", "none"] = Field(
        "last", description="which hidden states a sequence head sees; none: tokens"
    )
    max_length: int = Field(512, ge=1, description="tokens that the model reads at once")
    overlap: int = Field(0, ge=0, description="tokens that two windows of a long document share; token heads")
    temperature: float = Field(1.0, gt=0, description="logits are divided by it (Guo et al. 2017)")
    threshold: float | None = Field(
        None, ge=0, le=1, description="multi: least probability of a label; with oos: of the best label"
    )
    oos: str | None = Field(None, description="answered where the best label is below the threshold")
    shift: float = Field(0.0, description="regression: mean of the training targets")
    scale: float = Field(1.0, gt=0, description="regression: their standard deviation")

    @property
    def outputs(self) -> int:
        """C, the rows of the head's matrix."""
        return 1 if self.problem == "regression" else len(self.labels)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(..., C) logits -> (..., C) probabilities; of a regression the number itself, (..., 1)."""
        z = np.asarray(logits, dtype=np.float64)
        if self.problem == "regression":
            return z * self.scale + self.shift
        z = z / self.temperature
        if self.problem == "multi":
            return np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), 1 - 1 / (1 + np.exp(-np.abs(z))))
        powers = np.exp(z - z.max(-1, keepdims=True))
        shares: np.ndarray = powers / powers.sum(-1, keepdims=True)
        return shares
