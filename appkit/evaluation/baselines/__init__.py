"""What a label task reaches without a language model: simple predictors, fitted on the same rows, beside every result.

Each gives probabilities in the order of a head's outputs, so that the pack's `read` and metrics take them as they take
the head's own. All are deterministic.
"""

from appkit.evaluation.baselines.sequence import SEQUENCE, Target, predict_sequence
from appkit.evaluation.baselines.tokens import TOKEN, predict_tokens

__all__ = ["SEQUENCE", "TOKEN", "Target", "predict_sequence", "predict_tokens"]
