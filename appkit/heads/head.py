"""The head protocol: all that differs between answering in words and choosing labels.

A run, an evaluation, a loaded bundle, a certificate and the gateway go through a `Head`; nothing else in the core asks
which one it is. A new head is one folder beside `lm` and `label`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    import torch

    from appkit.config import RunConfig
    from appkit.data.rows import Record
    from appkit.heads.checks import Check
    from appkit.heads.reference import Recorded
    from appkit.heads.roles import Asked, Checked, Matrix, Role
    from appkit.models.batch import Batch
    from appkit.models.chat import Chat
    from appkit.stats.confidence import Calibration, LabelCalibration, Uncalibrated
    from appkit.task import HeadSpec, Metric, Prediction, Task

__all__ = ["Head", "Question", "Reply", "Wishes"]


@dataclass(frozen=True)
class Wishes:
    """What a caller may want of answers beyond the answer."""

    constrain: bool = False
    """keep to the pack's grammar"""
    confidence: bool = False
    """say how likely the answer is right"""
    threshold: float | None = None
    """abstain below this confidence, 0 to 1"""
    base: bool = False
    """answer with the base alone"""


class Question(Protocol):
    """A row as an engine is asked for it."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """All that is read."""

    @property
    def longest(self) -> int:
        """Tokens of the longest single request."""

    @property
    def requests(self) -> int:
        """How many requests to the engine it takes."""

    @property
    def cap(self) -> int:
        """The most tokens that are written; 0 where none are."""

    def limited(self, cap: int) -> Self:
        """The same with at most `cap` tokens written."""


class Reply(NamedTuple):
    """A prediction, and how many tokens an engine wrote for it."""

    prediction: Prediction
    written: int


class Head(Protocol):
    """How a task's rows become examples, and what a model computes becomes predictions."""

    @property
    def task(self) -> Task:
        """With the metrics that apply."""

    @property
    def chat(self) -> Chat:
        """The base's tokenizer and template."""

    @property
    def role(self) -> Role:
        """Of the engine that answers."""

    @property
    def spec(self) -> HeadSpec | None:
        """Of a label head: its outputs, as the manifest keeps it."""

    @property
    def cap(self) -> int:
        """The most tokens that an answer has; 0 where none are written."""

    @property
    def serving_note(self) -> str:
        """What it costs to serve this head, if that is worth a word; else empty."""

    # --- training

    def encode(
        self, records: Sequence[Record], max_length: int, on_long: str
    ) -> tuple[list[Any], list[Record], list[str]]:
        """Training examples, the record of each, and a line for what was left out or cut. Raises DataError."""

    def audit(self, examples: Sequence[Any], records: Sequence[Record]) -> None:
        """Checks every row's supervision. Raises DataError."""

    def render(self, examples: Sequence[Any], records: Sequence[Record]) -> str:
        """A few rows in Markdown, with what is learned of them."""

    def fitted(self, examples: Sequence[Any]) -> Self:
        """The same with what the training examples decide."""

    def attach(self, base: Any) -> Any:
        """The model to put an adapter on."""

    def collate(self, examples: Sequence[Any], device: Any) -> Batch:
        """Examples laid end to end."""

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The sum of the losses over the examples' `targets` (tokens, words or rows), in nats."""

    def calibrate(self, model: Any, dev: Sequence[Record]) -> Self:
        """The same with what is chosen on the dev rows once training is over."""

    def rivals(self, baselines: str) -> tuple[str, ...]:
        """Names of what the adapter has to beat, by `eval.baselines`."""

    # --- answering in this process

    def answering(self, *, batch_rows: int | None = None, confidence: bool = False) -> Self:
        """The same for so many rows at once, and with what a confidence needs."""

    def shown(self, rows: Sequence[Any], count: int) -> Self:
        """The same with `count` answered rows before each question."""

    def measured_as(self, config: RunConfig, train: Sequence[Record]) -> Self:
        """The same, decoded as `config` asks."""

    def answer(
        self, model: Any, rows: Sequence[Any], *, title: str = "answering", show: bool = True
    ) -> list[Prediction]:
        """Predictions for rows (values of the pack's schema; their targets are not looked at)."""

    def reread(self, entry: Mapping[str, Any]) -> Prediction:
        """A prediction that `Evaluation.write` kept, read by the pack of today."""

    def confidence(
        self,
        metric: Metric,
        statistics: Any,
        test: Sequence[Record],
        predictions: Sequence[Prediction],
        dev_rows: int,
    ) -> Calibration | LabelCalibration | Uncalibrated:
        """How far the confidence of test answers is right, or why they have none.

        statistics: (N, K), the primary metric's, of each prediction.
        """

    # --- bundles and certificates

    def reference(self, model: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """What the live trained model gives for the pack's examples: tensors and facts of reference.safetensors."""

    def facts(self) -> dict[str, Any]:
        """What a manifest records, enough for `choose.head_of_bundle`."""

    def served(self, matrix: Matrix | None, *, folded: bool) -> Self:
        """The same as it is served: by a `matrix` on this side of the engine, or folded into a generating engine."""

    def check_files(self, recorded: Recorded) -> Iterator[Check]:
        """What can be compared with the record before any engine starts."""

    def check_engine(
        self, engine: Checked, adapter: str, recorded: Recorded, *, exact: bool
    ) -> AsyncIterator[Check]:
        """What the engine computes, against the record. exact: both in fp32."""

    # --- asking an engine

    def refusal(self, wishes: Wishes, ref: str) -> str | None:
        """Why the bundle `ref` cannot do what a caller wishes; None: it can."""

    def question(self, row: Any, wishes: Wishes) -> Question:
        """What an engine is asked for a row. Raises DataError for a row that holds nothing to read."""

    async def ask(self, engine: Asked, adapter: str, question: Any) -> Reply:
        """The engine's answer, read."""

    def stream(self, engine: Asked, adapter: str, question: Any) -> AsyncGenerator[str | Reply]:
        """Text as it comes, where there is any, and the reply at the end."""
