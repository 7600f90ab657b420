"""Defines the head protocol, which covers all that differs between answering in words and choosing labels.

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
    """Holds what a caller may ask for beyond the answer."""

    constrain: bool = False
    """keep to the pack's grammar"""
    confidence: bool = False
    """say how likely the answer is right"""
    threshold: float | None = None
    """abstain below this confidence, 0 to 1"""
    base: bool = False
    """answer with the base alone"""


class Question(Protocol):
    """Holds a row as an engine reads it."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """All tokens that the engine reads."""

    @property
    def longest(self) -> int:
        """Tokens of the longest single request."""

    @property
    def requests(self) -> int:
        """Requests to the engine that it takes."""

    @property
    def cap(self) -> int:
        """The most tokens that the engine may write; 0 for labels."""

    def limited(self, cap: int) -> Self:
        """Copies the question with at most `cap` tokens to write."""


class Reply(NamedTuple):
    """Pairs a prediction with what it cost."""

    prediction: Prediction
    written: int
    """tokens that the engine generated for it"""


class Head(Protocol):
    """Turns a task's rows into examples, and what a model computes into predictions."""

    @property
    def task(self) -> Task:
        """The task, with the metrics that apply to this head."""

    @property
    def options(self) -> Any:
        """The pack's options."""

    @property
    def chat(self) -> Chat:
        """The base's tokenizer and template."""

    @property
    def role(self) -> Role:
        """The role of the engine that answers."""

    @property
    def spec(self) -> HeadSpec | None:
        """The outputs of a label head, as the manifest keeps them; None for words."""

    @property
    def cap(self) -> int:
        """The most tokens that an answer has; 0 where none are written."""

    @property
    def constrains(self) -> bool:
        """Whether its answers can be kept to a grammar."""

    @property
    def serving_note(self) -> str:
        """A note on what it costs to serve this head; empty if there is nothing to note."""

    # --- training

    def encode(
        self, records: Sequence[Record], max_length: int, on_long: str
    ) -> tuple[list[Any], list[Record], list[str]]:
        """Makes training examples, the record of each, and a line for rows left out or cut. Raises DataError."""

    def audit(self, examples: Sequence[Any], records: Sequence[Record]) -> None:
        """Checks every row's supervision. Raises DataError."""

    def render(self, examples: Sequence[Any], records: Sequence[Record]) -> str:
        """Renders a few rows in Markdown, with what is learned of them marked."""

    def fitted(self, examples: Sequence[Any]) -> Self:
        """Copies the head with what the training examples decide, such as the cap."""

    def attach(self, base: Any) -> Any:
        """Makes the model to put an adapter on."""

    def collate(self, examples: Sequence[Any], device: Any) -> Batch:
        """Lays examples end to end."""

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """Sums the losses over the examples' `targets` (tokens, words or rows), in nats."""

    def losses(self, model: Any, batch: Batch) -> torch.Tensor:
        """Computes the loss of each target, (L,) in the order of the examples, in nats."""

    def calibrate(self, model: Any, dev: Sequence[Record]) -> Self:
        """Copies the head with temperature and thresholds chosen on the dev rows after training."""

    def rivals(self, baselines: str) -> tuple[str, ...]:
        """Names the predictors that the adapter is compared with, by `eval.baselines`."""

    # --- answering in this process

    def answering(
        self, *, batch_rows: int | None = None, confidence: bool = False, constrain: bool = False
    ) -> Self:
        """Copies the head for `batch_rows` rows at once.

        confidence: it keeps what a confidence needs. constrain: it keeps answers to the grammar, which only a head that
        `constrains` has.
        """

    def shown(self, rows: Sequence[Any], count: int) -> Self:
        """Copies the head with `count` answered rows shown before each question."""

    def measured_as(self, config: RunConfig, train: Sequence[Record]) -> Self:
        """Copies the head with the decoding of `config`."""

    def answer(
        self, model: Any, rows: Sequence[Any], *, title: str = "answering", show: bool = True
    ) -> list[Prediction]:
        """Answers rows (values of the pack's schema; their targets are not read)."""

    def reread(self, entry: Mapping[str, Any]) -> Prediction:
        """Reads a prediction that `Evaluation.write` stored, with the pack's current code."""

    def confidence(
        self,
        metric: Metric,
        statistics: Any,
        test: Sequence[Record],
        predictions: Sequence[Prediction],
        dev_rows: int,
    ) -> Calibration | LabelCalibration | Uncalibrated:
        """Measures how far the confidence of test answers is right, or says why they have none.

        statistics: (N, K), the primary metric's, of each prediction.
        """

    # --- bundles and certificates

    def reference(self, model: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """Computes the live trained model on the pack's examples: tensors and facts of reference.safetensors."""

    def facts(self) -> dict[str, Any]:
        """Lists what a manifest records, enough for `choose.head_of_bundle`."""

    def served(self, matrix: Matrix | None, *, folded: bool) -> Self:
        """Copies the head as served: by a `matrix` on this side of the engine, or folded into a generating engine."""

    def check_files(self, recorded: Recorded) -> Iterator[Check]:
        """Compares with the record what can be compared before any engine starts."""

    def check_engine(
        self, engine: Checked, adapter: str, recorded: Recorded, *, exact: bool
    ) -> AsyncIterator[Check]:
        """Compares what the engine computes with the record. exact: both in fp32."""

    # --- asking an engine

    def refusal(self, wishes: Wishes, ref: str) -> str | None:
        """Says why the bundle `ref` cannot do what a caller wishes; None: it can."""

    def question(self, row: Any, wishes: Wishes) -> Question:
        """Makes an engine's question from a row. Raises DataError for a row that holds nothing to read."""

    async def ask(self, engine: Asked, adapter: str, question: Any) -> Reply:
        """Asks the engine and reads its answer."""

    def stream(self, engine: Asked, adapter: str, question: Any) -> AsyncGenerator[str | Reply]:
        """Yields text as it comes, where there is any, and the reply at the end."""
