"""Baselines of label tasks: simple predictors without a language model, fitted on the same rows.

Each returns probabilities in the order of a head's outputs, so that the pack's `read` and metrics treat them like the
head's own. All are deterministic.
"""

from appkit.evaluation.baselines.sequence import SEQUENCE, Target, predict_sequence
from appkit.evaluation.baselines.tokens import TOKEN, predict_tokens

__all__ = ["SEQUENCE", "TOKEN", "Target", "predict_sequence", "predict_tokens"]
